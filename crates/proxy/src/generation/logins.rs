//! The users of a listener and their rules, compiled with the configuration.

use std::sync::Arc;

use portcullis_acl::user::{User, UserId, Users};
use portcullis_acl::{ClientAddr, CommandPlan, ListId, Permit, Policy, UnixSeconds};
use portcullis_config::{Acl, Auth, Config, Connections, Credentials, Listener};
use portcullis_resp::limits::RequestLimits;
use portcullis_session::{self as session, Face, Plan, Preamble};
use secrecy::ExposeSecret;

/// The users of one listener, and the rules for clients without a user.
#[derive(Debug)]
pub(crate) struct Logins {
    /// The rules of a client without a user: it has not logged in, or the listener has no users.
    nobody: Identity,
    users: Users,
    /// The users, in the order of [`UserId::index`].
    identities: Box<[Identity]>,
}

/// The rules of a user, or of clients without a user.
#[derive(Debug)]
struct Identity {
    name: Option<String>,
    plan: Arc<Plan>,
    /// The list of sources from which the user may log in. `None` if the user may log in from each admitted source.
    from: Option<ListId>,
    /// The texts from which the rules were compiled: of the listener and of the user. The same texts give the same
    /// rules; with `@public` the cost limits must be the same too.
    texts: [Option<Vec<String>>; 2],
    rules: Arc<CommandPlan>,
}

impl Logins {
    /// Compiles the logins of `listener`. Rules that have not changed since `before` are reused.
    pub(crate) fn of(config: &Config, listener: &Listener, before: Option<&Self>) -> Self {
        let upstream = listener.upstream();
        let face = face(listener).map(Arc::new);
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
            let plan = match &face {
                Some(face) => plan.presented_as(Arc::clone(face)),
                None => plan,
            };
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
            // Validation has refused duplicate names. If there were any, no user could log in.
            users: Users::new(known).unwrap_or_default(),
        }
    }

    /// Returns the plan of a client without a user, for example before its login.
    pub(crate) fn nobody(&self) -> &Arc<Plan> {
        &self.nobody.plan
    }

    /// Returns the plan of `user`, or of clients without a user. `None` if the listener has no such user.
    pub(crate) fn plan(&self, user: Option<&str>) -> Option<&Arc<Plan>> {
        self.identity(user).map(|identity| &identity.plan)
    }

    /// Returns the command rules of `user`, or of clients without a user. `None` if the listener has no such user.
    pub(crate) fn rules(&self, user: Option<&str>) -> Option<&CommandPlan> {
        self.identity(user).map(|identity| &*identity.rules)
    }

    /// Checks whether `user` may connect from this source. Returns the permit of the user's own list, or `None` if
    /// the user has no list.
    ///
    /// # Errors
    /// [`NotFromThere`]: the user is unknown, or may not connect from this source.
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

    /// Returns the plan of the user with these credentials. `None` if the credentials are wrong or the user may not
    /// log in from this source.
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

/// The error for a user that is unknown or may not connect from this source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown user, or the user may not log in from this source")]
pub(crate) struct NotFromThere;

fn plan(listener: &Listener, credentials: Option<&Credentials>) -> Plan {
    let sentinel_only = listener.presentation().is_sentinel_only();
    let auth = match listener.auth() {
        // A sentinel answers every client alike, and has no upstream connection to log in to.
        _ if sentinel_only => session::Auth::Trust,
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
    let plan = if upstream.sentinel().is_some() { plan.asking_role() } else { plan };
    let plan = if upstream.failover_wait().is_some() { plan.carried() } else { plan };
    match upstream.connections() {
        Connections::Shared if !sentinel_only => plan.shared(),
        Connections::Shared | Connections::Dedicated => plan,
    }
}

/// Returns the server that the listener presents itself as. `None` if its clients may see the upstream's own address.
fn face(listener: &Listener) -> Option<Face> {
    let presentation = listener.presentation();
    let upstream = listener.upstream();
    if presentation.is_standalone_only() && !upstream.is_sentinel() && !upstream.is_cluster() {
        return None;
    }
    let mut face = Face::standalone();
    if !presentation.is_standalone() {
        face = face.not_standalone();
    }
    if presentation.is_cluster() {
        face = face.with_cluster();
    }
    if presentation.is_sentinel() {
        face = face.with_sentinel(presentation.masters().iter().map(String::as_str));
    }
    if let Some(announced) = presentation.announce() {
        face = face.announcing(announced.host(), announced.port());
    }
    if listener.tls().is_some() {
        face = face.over_tls();
    }
    Some(face)
}
