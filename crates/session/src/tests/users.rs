//! Users as a listener has them, and who asks for them.

use std::sync::Arc;

use portcullis_acl::{CommandPlan, CommandRules};
use portcullis_resp::limits::RequestLimits;

use super::pair::HELD_COMMAND;
use crate::inject::Preamble;
use crate::{Attempt, Auth, Plan};

#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
    /// The upstream's.
    pub(crate) login: Option<(&'static str, &'static str)>,
    pub(crate) acl: Option<&'static str>,
}

/// A listener's users, and what was asked about them.
#[derive(Debug, Default)]
pub(crate) struct Users {
    all: Vec<(User, Arc<Plan>)>,
    pub(crate) attempts: u64,
    /// After so many failures nobody is heard.
    pub(crate) patience: Option<u64>,
}

impl Users {
    pub(crate) fn new(users: &[User]) -> Self {
        Self { all: users.iter().map(|user| (*user, user.plan().into())).collect(), ..Self::default() }
    }

    /// What holds for one of them, or for nobody.
    pub(crate) fn plan_of(&self, name: Option<&str>) -> Option<Arc<Plan>> {
        match name {
            None => Some(nobody().into()),
            Some(name) => {
                self.all.iter().find(|(user, _)| user.name == name).map(|(_, plan)| Arc::clone(plan))
            }
        }
    }

    pub(crate) fn authenticate(&mut self, user: Option<&[u8]>, password: &[u8]) -> Attempt {
        self.attempts += 1;
        if self.patience == Some(0) {
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
                self.patience = self.patience.map(|left| left - 1);
                Attempt::Refused
            }
        }
    }
}

impl User {
    pub(crate) fn plan(&self) -> Plan {
        let preamble = self.login.map(|(name, password)| Preamble::auth(Some(name), password));
        let plan = Plan::new(Auth::Users, preamble, "main", RequestLimits::default(), HELD_COMMAND);
        plan.for_user(self.name).with_rules(rules(self.acl))
    }
}

pub(crate) fn nobody() -> Plan {
    Plan::new(Auth::Users, None, "main", RequestLimits::default(), HELD_COMMAND)
}

pub(crate) fn rules(acl: Option<&str>) -> Arc<CommandPlan> {
    let rules = acl.map(|acl| Arc::new(CommandRules::parse(acl).expect("rules")));
    CommandPlan::new(rules.as_ref(), None).into()
}
