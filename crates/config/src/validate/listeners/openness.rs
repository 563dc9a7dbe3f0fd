//! Warnings about the clients that listeners admit and their rights, which need the whole configuration.

use std::collections::HashMap;
use std::iter;

use portcullis_acl::{Family, Policy};

use super::{Listeners, Read};
use crate::limits::Patch;
use crate::message::{Masked, message};
use crate::model::{Auth, Connections};
use crate::problem::Position;
use crate::scope::Scope;
use crate::validate::groups::Groups;
use crate::validate::upstreams::{self, Upstreams};
use crate::validate::users::Users;

/// The attack that is possible where no rules close the channel of the sentinels.
const TAKEOVER: &str =
    "PUBLISH __sentinel__:hello can make Sentinel fail over to a server of the client's choice";

impl Listeners<'_> {
    /// Warns of listeners that refuse every client.
    pub(in crate::validate) fn report_empty(&self, policy: &Policy, groups: &Groups<'_>, scope: &mut Scope) {
        for read in self.list.iter().flatten() {
            let name = Masked::name(read.name);
            match &read.settings.allow {
                None => {
                    let message =
                        message!("listener '{}' has no 'allow' list: it refuses every client", name);
                    scope.problems.warning(read.place, message, "write allow: [GROUP or address, ...]");
                }
                // Host names resolve later.
                Some((list, _)) if groups.have_host(list) => {}
                Some((_, place)) if policy.allowed_entries(read.index) == 0 => {
                    let message =
                        message!("listener '{}' has an empty 'allow' list: it refuses every client", name);
                    scope.problems.warning(place, message, "add a group or an address");
                }
                Some(_) => {}
            }
        }
    }

    /// Warns of lists that admit every address; without a password it is an error unless the file allows it.
    pub(in crate::validate) fn judge_openness(&self, policy: &Policy, scope: &mut Scope) {
        for read in self.list.iter().flatten() {
            let Some((_, place)) = &read.settings.allow else { continue };
            let open = |family| policy.admits_all(read.index, family, scope.now);
            let whom = match (open(Family::V4), open(Family::V6)) {
                (true, true) => "the whole internet",
                (true, false) => "the whole IPv4 internet",
                (false, true) => "the whole IPv6 internet",
                (false, false) => continue,
            };
            let trust = read.settings.auth == Some(Auth::Trust);
            if trust && read.settings.allow_anonymous_internet != Some(true) {
                let name = Masked::name(read.name);
                let message =
                    message!("listener '{}' admits {} without a password (auth: trust)", name, whom);
                let hint = "list the networks, or write auth: passthrough; if this is intended, add allow_anonymous_internet: true";
                scope.problems.error(place, message, hint);
            } else {
                let how = if trust { " without a password" } else { "" };
                let message = message!("listener '{}' admits {}{}", Masked::name(read.name), whom, how);
                scope.problems.warning(place, message, "list only the networks that need access");
            }
        }
    }

    /// Notes listeners whose `auth` and `users` contradict each other.
    pub(in crate::validate) fn meet_users(&self, scope: &mut Scope) {
        for read in self.list.iter().flatten() {
            let name = Masked::name(read.name);
            let by_users = read.settings.auth == Some(Auth::Users);
            match &read.settings.users {
                Some((users, place)) if by_users && users.is_empty() && !read.settings.broken => {
                    let message =
                        message!("listener '{}' has an empty 'users' list: no client can log in", name);
                    scope.problems.error(place, message, "write users: [NAME, ...]");
                }
                None if by_users && !read.settings.broken => {
                    let message = message!("listener '{}' has auth: users but no 'users' list", name);
                    scope.problems.error(read.place, message, "write users: [NAME, ...]");
                }
                Some((_, place)) if !by_users && !read.settings.broken => {
                    let auth = read.settings.auth.unwrap_or(Auth::Passthrough).as_str();
                    let message = message!("listener '{}' has a 'users' list, but auth is {}", name, auth);
                    scope.problems.error(place, message, "write auth: users, or remove the list");
                }
                _ => {}
            }
            if !by_users && read.settings.tls.as_ref().is_some_and(|tls| tls.names_users()) {
                let hint = "write auth: users, or remove user_from";
                scope.problems.error(read.place, "user_from without auth: users", hint);
            }
            if by_users && read.limits.per_source().auth_failures.is_none() {
                let message = message!("listener '{}' has no limit on failed logins", name);
                let hint = "set limits: {per_source: {auth_failures: 10/1m, block_for: 10m}}";
                scope.problems.warning(read.place, message, hint);
            }
        }
    }

    /// Notes listeners with `auth: passthrough` on shared connections, where a login would affect other clients, and in
    /// front of a cluster.
    pub(in crate::validate) fn meet_shared(&self, upstreams: &Upstreams<'_>, scope: &mut Scope) {
        self.meet_clusters(upstreams, scope);
        for read in self.list.iter().flatten().filter(|read| !read.settings.broken) {
            let upstream = read.settings.upstream.and_then(|index| upstreams.get(index));
            let shared = upstream.filter(|upstream| upstream.connections == Connections::Shared);
            let passes = read.settings.auth.unwrap_or(Auth::Passthrough) == Auth::Passthrough;
            let Some(upstream) = shared.filter(|_| passes) else { continue };
            let default = if read.settings.auth.is_none() { " (the default)" } else { "" };
            let message = message!(
                "listener '{}' has auth: passthrough{}, which cannot work with connections: shared of upstream '{}'",
                Masked::name(read.name),
                default,
                Masked::name(upstream.name)
            );
            let hint = "write auth: trust or auth: users, or connections: dedicated";
            scope.problems.error(read.place, message, hint);
        }
    }

    /// Warns of a limit that counts for shared connections alone, where there are none.
    pub(in crate::validate) fn meet_output_buffers(
        &self,
        process: &Patch,
        upstreams: &Upstreams<'_>,
        scope: &mut Scope,
    ) {
        if upstreams.iter().any(|read| read.connections == Connections::Shared) {
            return;
        }
        let own = self.list.iter().flatten().flat_map(|read| &read.settings.limits);
        let mut told: Vec<&Position> = Vec::new();
        for place in iter::once(process).chain(own).filter_map(Patch::client_output_buffer) {
            // A default is there once for each listener.
            if !told.contains(&place) {
                told.push(place);
                let message = "client_output_buffer has no effect: no upstream has connections: shared";
                scope.problems.warning(place, message, "remove it");
            }
        }
    }

    /// Warns of limits that hold under `@public` alone, where no `acl` has it.
    pub(in crate::validate) fn meet_costs(&self, process: &Patch, users: &Users<'_>, scope: &mut Scope) {
        let listeners = self.list.iter().flatten();
        let mut acls = listeners.clone().filter_map(|read| read.settings.acl.as_ref()).chain(users.acls());
        if acls.any(|acl| acl.rules().is_public()) {
            return;
        }
        let mut told: Vec<&Position> = Vec::new();
        let patches = iter::once(process).chain(listeners.flat_map(|read| &read.settings.limits));
        for (key, place) in patches.flat_map(Patch::costs_written) {
            if !told.contains(&place) {
                told.push(place);
                let hint = "add acl: \"@public\" to the listener, or remove the limit";
                scope.problems.warning(
                    place,
                    message!("{} has no effect: no acl contains @public", key),
                    hint,
                );
            }
        }
    }

    /// Warns where `auth` does not fit an upstream's credentials.
    pub(in crate::validate) fn meet_upstreams(
        &self,
        upstreams: &Upstreams<'_>,
        known: &Users<'_>,
        scope: &mut Scope,
    ) {
        let mut users: HashMap<&str, Vec<Auth>> = HashMap::new();
        for read in self.list.iter().flatten() {
            let Some(upstream) = read.settings.upstream.and_then(|index| upstreams.get(index)) else {
                continue;
            };
            let auth = read.settings.auth.unwrap_or(Auth::Passthrough);
            users.entry(upstream.name).or_default().push(auth);
            if read.settings.acl.is_none() && !read.settings.presentation.is_sentinel_only() {
                match auth {
                    Auth::Passthrough => {}
                    Auth::Trust => read.warn_of_trust(upstream, scope),
                    Auth::Users => read.warn_of_users(upstream, known, scope),
                }
            }
        }
        for read in upstreams.iter() {
            match (users.get(read.name), read.credentials) {
                (None, _) => {
                    scope.problems.warning(
                        read.place,
                        message!("no listener uses upstream '{}'", Masked::name(read.name)),
                        message!("write upstream: {} in a listener, or remove it", Masked::name(read.name)),
                    );
                }
                (Some(auth), Some(place)) if auth.iter().all(|auth| *auth == Auth::Passthrough) => {
                    let message = "with auth: passthrough, these credentials are used for health checks only";
                    scope.problems.remark(place, message);
                }
                _ => {}
            }
        }
    }
}

impl Read<'_> {
    /// Warns that any client may run every command.
    fn warn_of_trust(&self, upstream: &upstreams::Read<'_>, scope: &mut Scope) {
        let password = match upstream.credentials {
            Some(_) => "CONFIG GET requirepass shows the upstream's password, and ",
            None => "",
        };
        let message = message!(
            "listener '{}' has auth: trust and no acl, so clients may run every command: {}{}",
            Masked::name(self.name),
            password,
            TAKEOVER
        );
        let hint = "add acl: \"@public\", or give the upstream a Redis user without dangerous commands";
        scope.problems.warning(self.place, message, hint);
    }

    /// Warns of users who may run every command.
    fn warn_of_users(&self, upstream: &upstreams::Read<'_>, known: &Users<'_>, scope: &mut Scope) {
        let names = self.settings.users.as_ref().map(|(names, _)| names.as_slice()).unwrap_or_default();
        let unruled = known.unruled(names, upstream.name);
        if upstream.credentials.is_some() && !unruled.is_empty() {
            let message = message!(
                "listener '{}' lets {} run every command with the upstream's own login: CONFIG GET requirepass shows its password",
                Masked::name(self.name),
                Masked::names(unruled)
            );
            let hint = "add acl: \"@public\" to the listener, or an acl or upstream_credentials to the user";
            scope.problems.warning(self.place, message, hint);
        }
        let unbound = known.unbound(names);
        if !unbound.is_empty() {
            let message = message!(
                "listener '{}' lets {} run every command: {}",
                Masked::name(self.name),
                Masked::names(unbound),
                TAKEOVER
            );
            let hint = "add acl: \"@public\" to the listener, or an acl to the user";
            scope.problems.warning(self.place, message, hint);
        }
    }
}
