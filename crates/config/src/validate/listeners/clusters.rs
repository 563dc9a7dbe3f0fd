//! Listeners in front of a cluster.

use super::Listeners;
use crate::message::{Masked, message};
use crate::model::{Auth, Credentials};
use crate::scope::Scope;
use crate::scripts;
use crate::validate::upstreams::Upstreams;
use crate::validate::users::Users;

impl Listeners<'_> {
    /// Notes listeners with `auth: passthrough` in front of a cluster: only the proxy's own login works at every node.
    pub(super) fn meet_clusters(&self, upstreams: &Upstreams<'_>, scope: &mut Scope) {
        for read in self.list.iter().flatten().filter(|read| !read.settings.broken) {
            let upstream = read.settings.upstream.and_then(|index| upstreams.get(index));
            let passes = read.settings.auth.unwrap_or(Auth::Passthrough) == Auth::Passthrough;
            let Some(upstream) = upstream.filter(|upstream| upstream.is_cluster && passes) else { continue };
            let default = if read.settings.auth.is_none() { " (the default)" } else { "" };
            let message = message!(
                "listener '{}' has auth: passthrough{}, which cannot work with the cluster of upstream '{}'",
                Masked::name(read.name),
                default,
                Masked::name(upstream.name)
            );
            let hint = "write auth: trust or auth: users: the proxy logs in to each node, and does not keep the \
                        passwords of clients";
            scope.problems.error(read.place, message, hint);
        }
    }

    /// Warns where scripts of clients can reach CLUSTER SETSLOT, MEET and FORGET: the default user has `@admin`.
    pub(super) fn meet_cluster_scripts(
        &self,
        upstreams: &Upstreams<'_>,
        known: &Users<'_>,
        scope: &mut Scope,
    ) {
        for read in self.list.iter().flatten() {
            let upstream = read.settings.upstream.and_then(|index| upstreams.get(index));
            let Some(upstream) = upstream.filter(|upstream| upstream.is_cluster) else { continue };
            let own = read.settings.acl.as_ref();
            let is_everything = |login: Option<&Credentials>| scripts::named(login).is_none();
            let runs = match read.settings.auth.unwrap_or(Auth::Passthrough) {
                Auth::Passthrough => false,
                Auth::Trust => is_everything(upstream.login()) && scripts::may_run(own, None),
                Auth::Users => {
                    let names =
                        read.settings.users.as_ref().map(|(names, _)| names.as_slice()).unwrap_or_default();
                    names.iter().filter_map(|name| known.get(name)).any(|user| {
                        let login = user.upstream_credentials(upstream.name).or_else(|| upstream.login());
                        is_everything(login) && scripts::may_run(own, user.acl())
                    })
                }
            };
            if runs {
                let message = message!(
                    "listener '{}' lets scripts run as the default user of cluster '{}': they can call CLUSTER SETSLOT, \
                     MEET and FORGET",
                    Masked::name(read.name),
                    Masked::name(upstream.name)
                );
                let hint = "set credentials.username to a Redis user with -@admin, or refuse scripts: acl: \"@public\"";
                scope.problems.warning(read.place, message, hint);
            }
        }
    }
}
