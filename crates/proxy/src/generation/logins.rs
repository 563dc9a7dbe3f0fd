//! The possible users of a listener and their rules, compiled with the configuration.

use std::sync::Arc;

use portcullis_acl::user::{User, UserId, Users};
use portcullis_acl::{ClientAddr, CommandPlan, ListId, Permit, Policy, UnixSeconds};
use portcullis_config::{Acl, Auth, Config, Connections, Credentials, Listener};
use portcullis_resp::limits::RequestLimits;
use portcullis_session::{self as session, Plan, Preamble};
use secrecy::ExposeSecret;

/// The identities of one listener.
#[derive(Debug)]
pub(crate) struct Logins {
    /// The plan of a client that has not logged in, or need not.
    nobody: Identity,
    users: Users,
    /// By [`UserId::index`].
    identities: Box<[Identity]>,
}

/// The rules of a client.
#[derive(Debug)]
struct Identity {
    name: Option<String>,
    plan: Arc<Plan>,
    /// The sources of the user, if they are restricted.
    from: Option<ListId>,
    /// The input of the rules: the same texts, and under `@public` the same cost limits, make the same rules.
    texts: [Option<Vec<String>>; 2],
    rules: Arc<CommandPlan>,
}

impl Logins {
    /// Compiles the logins of `listener`. Rules that have not changed since `before` are kept.
    pub(crate) fn of(config: &Config, listener: &Listener, before: Option<&Self>) -> Self {
        let upstream = listener.upstream();
        let make = |user: Option<&portcullis_config::User>| {
            let texts = [listener.acl(), user.and_then(|user| user.acl())]
                .map(|acl| acl.map(|acl| acl.text().to_vec()));
            let known = before.and_then(|before| before.identity(user.map(|user| user.name())));
            let costs = listener.limits().costs();
            let is_same = |known: &&Identity| {
                known.texts == texts && known.rules.costs().is_none_or(|before| *before == costs)
            };
            let rules = known.filter(is_same).map_or_else(
                || {
                    let user = user.and_then(|user| user.acl()).map(Acl::rules);
                    Arc::new(CommandPlan::new(listener.acl().map(Acl::rules), user).with_costs(costs))
                },
                |known| Arc::clone(&known.rules),
            );
            let own = user.and_then(|user| user.upstream_credentials(upstream.name()));
            let credentials = own.or_else(|| upstream.credentials());
            let plan = plan(listener, credentials).with_rules(Arc::clone(&rules));
            let plan = match user {
                Some(user) => plan.for_user(user.name()),
                None => plan,
            };
            Identity {
                name: user.map(|user| user.name().to_owned()),
                plan: Arc::new(plan),
                from: user.and_then(|user| user.from()),
                texts,
                rules,
            }
        };
        let users: Vec<_> = listener
            .users()
            .iter()
            .filter_map(|name| config.users().iter().find(|user| user.name() == name))
            .collect();
        let known = users.iter().map(|user| User::new(user.name(), user.secrets().to_vec())).collect();
        Self {
            nobody: make(None),
            identities: users.iter().map(|user| make(Some(user))).collect(),
            // A configuration has no two users of one name; if it had, neither could log in.
            users: Users::new(known).unwrap_or_default(),
        }
    }

    /// Returns the rules for a client that has not sent a command yet.
    pub(crate) fn nobody(&self) -> &Arc<Plan> {
        &self.nobody.plan
    }

    /// Returns the rules for a user, or for a client without one; `None`: there is no such user.
    pub(crate) fn plan(&self, user: Option<&str>) -> Option<&Arc<Plan>> {
        self.identity(user).map(|identity| &identity.plan)
    }

    /// Returns the command rules for a user, or for a client without one; `None`: there is no such user.
    pub(crate) fn rules(&self, user: Option<&str>) -> Option<&CommandPlan> {
        self.identity(user).map(|identity| &*identity.rules)
    }

    /// Whether a user may come from there: `Ok` with the entry that says so, where the user has a list.
    ///
    /// # Errors
    /// There is no such user, or not from there.
    pub(crate) fn admits(
        &self,
        user: Option<&str>,
        policy: &Policy,
        from: &ClientAddr,
        now: UnixSeconds,
    ) -> Result<Option<Permit>, NotFromThere> {
        let identity = self.identity(user).ok_or(NotFromThere)?;
        match identity.from {
            None => Ok(None),
            Some(list) => policy.admits(list, from, now).map(Some).ok_or(NotFromThere),
        }
    }

    /// Returns the plan of the user with these credentials, if that user may log in from this address.
    pub(crate) fn authenticate(
        &self,
        name: Option<&[u8]>,
        password: &[u8],
        policy: &Policy,
        from: &ClientAddr,
        now: UnixSeconds,
    ) -> Option<Arc<Plan>> {
        let id: UserId = self.users.authenticate(name, password)?;
        let identity = self.identities.get(usize::try_from(id.index()).ok()?)?;
        self.admits(identity.name.as_deref(), policy, from, now).ok()?;
        Some(Arc::clone(&identity.plan))
    }

    fn identity(&self, user: Option<&str>) -> Option<&Identity> {
        match user {
            None => Some(&self.nobody),
            Some(_) => self.identities.iter().find(|identity| identity.name.as_deref() == user),
        }
    }
}

/// The user is not known, or may not come from that source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown user, or the user may not log in from this source")]
pub(crate) struct NotFromThere;

fn plan(listener: &Listener, credentials: Option<&Credentials>) -> Plan {
    let auth = match listener.auth() {
        Auth::Passthrough => session::Auth::Passthrough,
        Auth::Trust => session::Auth::Trust,
        Auth::Users => session::Auth::Users,
    };
    let preamble = credentials
        .map(|credentials| Preamble::auth(credentials.username(), credentials.password().expose_secret()));
    let limits = listener.limits();
    let grammar = RequestLimits {
        bulk: limits.bulk(),
        arguments: limits.arguments(),
        inline: limits.inline(),
        inline_commands: listener.inline_commands(),
        ..RequestLimits::default()
    };
    let upstream = listener.upstream();
    let plan = Plan::new(auth, preamble, upstream.name(), grammar, limits.held_command());
    match upstream.connections() {
        Connections::Shared => plan.shared(),
        Connections::Dedicated => plan,
    }
}
