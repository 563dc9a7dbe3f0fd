//! Users of a listener, and their authenticator.

use std::sync::Arc;

use portcullis_acl::{CommandPlan, CommandRules};
use portcullis_resp::limits::RequestLimits;

use super::pair::HELD_COMMAND;
use crate::link::Preamble;
use crate::{Attempt, Auth, Face, Plan};

#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
    /// The gate's login at the upstream.
    pub(crate) login: Option<(&'static str, &'static str)>,
    pub(crate) acl: Option<&'static str>,
}

/// A listener's users, and the number of attempts to log in.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    all: Vec<(User, Arc<Plan>)>,
    anonymous: Arc<Plan>,
    pub(crate) attempts: u64,
    /// The number of further failures before every attempt is blocked.
    pub(crate) failures_left: Option<u64>,
}

impl Users {
    pub(crate) fn new(users: &[User]) -> Self {
        let all = users.iter().map(|user| (*user, user.plan().into())).collect();
        Self { all, anonymous: anonymous_plan().into(), attempts: 0, failures_left: None }
    }

    /// Creates the users of a listener that shares upstream connections.
    pub(crate) fn of_shared(users: &[User]) -> Self {
        let all = users.iter().map(|user| (*user, user.plan().shared().into())).collect();
        Self { all, anonymous: anonymous_plan().shared().into(), attempts: 0, failures_left: None }
    }

    /// Creates the users of a listener with this face.
    pub(crate) fn presented(users: &[User], face: &Arc<Face>) -> Self {
        let presented = |plan: Plan| plan.presented_as(Arc::clone(face)).into();
        let all = users.iter().map(|user| (*user, presented(user.plan()))).collect();
        Self { all, anonymous: presented(anonymous_plan()), attempts: 0, failures_left: None }
    }

    /// Creates the users with new logins, under the same rules as in `old`.
    pub(crate) fn renewed(users: &[User], old: &Self) -> Self {
        let mut new = Self::new(users);
        for ((user, plan), (_, old)) in new.all.iter_mut().zip(&old.all) {
            *plan = Arc::new(user.plan().with_rules(old.shared_rules()));
        }
        new
    }

    /// Returns the plan of a user, or the plan without a user.
    pub(crate) fn plan_of(&self, name: Option<&str>) -> Option<Arc<Plan>> {
        match name {
            None => Some(Arc::clone(&self.anonymous)),
            Some(name) => {
                self.all.iter().find(|(user, _)| user.name == name).map(|(_, plan)| Arc::clone(plan))
            }
        }
    }

    pub(crate) fn authenticate(&mut self, user: Option<&[u8]>, password: &[u8]) -> Attempt {
        self.attempts += 1;
        if self.failures_left == Some(0) {
            return Attempt::Blocked;
        }
        let password = String::from_utf8_lossy(password).into_owned();
        let (name, password) = match (user, password.split_once(':')) {
            (Some(user), _) => (String::from_utf8_lossy(user).into_owned(), password),
            (None, Some((user, within))) => (user.to_owned(), within.to_owned()),
            (None, None) => ("default".to_owned(), password),
        };
        match self.all.iter().find(|(user, _)| user.name == name && user.password == password) {
            Some((_, plan)) => Attempt::Granted(Arc::clone(plan)),
            None => {
                self.failures_left = self.failures_left.map(|left| left - 1);
                Attempt::Refused
            }
        }
    }
}

impl Default for Users {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl User {
    pub(crate) fn plan(&self) -> Plan {
        let preamble = self.login.map(|(name, password)| Preamble::auth(Some(name), password));
        let plan = Plan::new(Auth::Users, preamble, "main", RequestLimits::default(), HELD_COMMAND);
        plan.for_user(self.name).with_rules(rules(self.acl))
    }
}

pub(crate) fn anonymous_plan() -> Plan {
    Plan::new(Auth::Users, None, "main", RequestLimits::default(), HELD_COMMAND)
}

pub(crate) fn rules(acl: Option<&str>) -> Arc<CommandPlan> {
    let rules = acl.map(|acl| Arc::new(CommandRules::parse(acl).expect("rules")));
    CommandPlan::new(rules.as_ref(), None).into()
}
