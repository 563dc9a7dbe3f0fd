//! Scripts under `@public-scripts`, which only the ACL of Redis can restrict.

use super::{Listeners, Read};
use crate::message::{Masked, message};
use crate::model::{Auth, Credentials};
use crate::scope::Scope;
use crate::scripts;
use crate::validate::upstreams::Upstreams;
use crate::validate::users::Users;

const UNHELD: &str = "only a Redis user with its own ACL can restrict what scripts do, and none is set";
const HINT: &str =
    "create the Redis user with the ACL SETUSER that 'portcullis check' prints, and set credentials.username";

impl Listeners<'_> {
    /// Warns where scripts run with rights that are not narrowed in Redis.
    pub(in crate::validate) fn meet_scripts(
        &self,
        upstreams: &Upstreams<'_>,
        known: &Users<'_>,
        scope: &mut Scope,
    ) {
        self.meet_cluster_scripts(upstreams, known, scope);
        let with_data = |read: &&Read<'_>| !read.settings.presentation.is_sentinel_only();
        for read in self.list.iter().flatten().filter(with_data) {
            let Some(upstream) = read.settings.upstream.and_then(|index| upstreams.get(index)) else {
                continue;
            };
            let login = upstream.login();
            let acl = read.settings.acl.as_ref();
            let mut warn = |who: Option<&str>, login: Option<&Credentials>, user| {
                let redis = scripts::needed(login, acl, user).filter(|_| scripts::named(login).is_none());
                if redis.is_none() {
                    return;
                }
                let name = Masked::name(read.name);
                let message = match who {
                    None => message!("listener '{}' lets scripts run (@public-scripts): {}", name, UNHELD),
                    Some(user) => message!(
                        "listener '{}' lets scripts of user '{}' run (@public-scripts): {}",
                        name,
                        Masked::name(user),
                        UNHELD
                    ),
                };
                scope.problems.warning(read.place, message, HINT);
            };
            match read.settings.auth.unwrap_or(Auth::Passthrough) {
                Auth::Passthrough => warn(None, None, None),
                Auth::Trust => warn(None, login, None),
                Auth::Users => {
                    let names =
                        read.settings.users.as_ref().map(|(names, _)| names.as_slice()).unwrap_or_default();
                    for user in names.iter().filter_map(|name| known.get(name)) {
                        let own = user.upstream_credentials(upstream.name).or(login);
                        warn(Some(user.name()), own, user.acl());
                    }
                }
            }
        }
    }
}
