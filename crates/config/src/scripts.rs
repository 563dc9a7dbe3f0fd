//! Scripts under `@public-scripts`: the Redis user whose ACL must restrict them.

use portcullis_acl::command_rule::{ByName, RedisUser};
use portcullis_resp::command::{CommandId, id};

use super::{Acl, Auth, Config, Credentials, Listener};

/// Stands for a Redis user that the file does not name.
const UNNAMED: &str = "portcullis";

/// The commands that run scripts and functions. Those for reading only cannot change a cluster.
const SCRIPTS: [CommandId; 3] = [id::EVAL, id::EVALSHA, id::FCALL];

/// One login at an upstream under which scripts of clients run.
#[derive(Clone, Debug)]
pub struct ScriptLogin<'c> {
    /// The listener of the clients.
    pub listener: &'c str,
    /// The user whose scripts they are, under `auth: users`.
    pub user: Option<&'c str>,
    /// The upstream.
    pub upstream: &'c str,
    /// The user that Redis needs.
    pub redis: RedisUser,
}

/// Returns the user that Redis needs where one of these rules lets scripts run. `login` is the user of the proxy's login.
pub(super) fn needed(
    login: Option<&Credentials>,
    listener: Option<&Acl>,
    user: Option<&Acl>,
) -> Option<RedisUser> {
    let rules: Vec<_> = listener.into_iter().chain(user).map(|acl| &**acl.rules()).collect();
    let runs = rules.iter().any(|rules| rules.has_public_scripts());
    runs.then(|| RedisUser::new(named(login).unwrap_or(UNNAMED), &rules))
}

/// Whether these rules let clients run scripts or functions.
pub(super) fn may_run(listener: Option<&Acl>, user: Option<&Acl>) -> bool {
    let rules = || listener.into_iter().chain(user).map(|acl| &**acl.rules());
    SCRIPTS.into_iter().any(|id| rules().all(|rules| rules.by_name(id) != ByName::Refused))
}

/// The Redis user of a login, where that is not the one that may do everything.
pub(super) fn named(login: Option<&Credentials>) -> Option<&str> {
    login.and_then(Credentials::username).filter(|name| *name != portcullis_acl::user::DEFAULT_USER)
}

impl Config {
    /// The logins under which scripts of `@public-scripts` run, in the order of the listeners.
    pub fn script_logins(&self) -> Vec<ScriptLogin<'_>> {
        self.listeners.iter().flat_map(|listener| self.script_logins_of(listener)).collect()
    }

    fn script_logins_of<'c>(&'c self, listener: &'c Listener) -> Vec<ScriptLogin<'c>> {
        let upstream = listener.upstream();
        let login = |user, own, acl| {
            let redis = needed(own, listener.acl(), acl)?;
            Some(ScriptLogin { listener: listener.name(), user, upstream: upstream.name(), redis })
        };
        match listener.auth() {
            // Clients log in to Redis as users that the proxy does not know.
            Auth::Passthrough => login(None, None, None).into_iter().collect(),
            Auth::Trust => login(None, upstream.credentials(), None).into_iter().collect(),
            Auth::Users => {
                let users =
                    self.users.iter().filter(|user| listener.users().iter().any(|name| name == user.name()));
                let logins = users.filter_map(|user| {
                    let own = user.upstream_credentials(upstream.name()).or_else(|| upstream.credentials());
                    login(Some(user.name()), own, user.acl())
                });
                logins.collect()
            }
        }
    }
}
