//! Whom the listeners admit, and with which rights: warnings that need the whole configuration.

use std::collections::HashMap;

use portcullis_acl::{Family, Policy};

use super::Listeners;
use crate::config::load::Scope;
use crate::config::model::Auth;
use crate::config::validate::upstreams::Upstreams;

impl Listeners<'_> {
    /// Warns of listeners that admit nobody.
    pub(in crate::config::validate) fn report_empty(&self, policy: &Policy, scope: &mut Scope) {
        for read in self.list.iter().flatten() {
            let name = read.name;
            match &read.settings.allow {
                None => {
                    let message = format!("listener '{name}' has no 'allow': it admits nobody");
                    scope.problems.warning(read.place, message, "write allow: [GROUP or address, ...]");
                }
                Some((_, place)) if policy.allowed_entries(read.index) == 0 => {
                    let message = format!("listener '{name}' has an empty 'allow': it admits nobody");
                    scope.problems.warning(place, message, "add a group or an address");
                }
                Some(_) => {}
            }
        }
    }

    /// Warns of lists that admit everybody; without a password that needs a word more.
    pub(in crate::config::validate) fn judge_openness(&self, policy: &Policy, scope: &mut Scope) {
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
                let message =
                    format!("listener '{}' admits {whom} without a password (auth: trust)", read.name);
                let hint = "name the networks, or write auth: passthrough; if it is meant, add allow_anonymous_internet: true";
                scope.problems.error(place, message, hint);
            } else {
                let how = if trust { " without a password" } else { "" };
                let message = format!("listener '{}' admits {whom}{how}", read.name);
                scope.problems.warning(place, message, "name the networks that need it");
            }
        }
    }

    /// What `auth` makes of an upstream's credentials.
    pub(in crate::config::validate) fn meet_upstreams(&self, upstreams: &Upstreams<'_>, scope: &mut Scope) {
        let mut users: HashMap<usize, Vec<Auth>> = HashMap::new();
        for read in self.list.iter().flatten() {
            let Some(upstream) = read.settings.upstream else { continue };
            let auth = read.settings.auth.unwrap_or(Auth::Passthrough);
            users.entry(upstream).or_default().push(auth);
            let credentials = upstreams.get(upstream).and_then(|read| read.credentials);
            if auth == Auth::Trust && credentials.is_some() {
                let message = format!(
                    "listener '{}' trusts its clients with every command: CONFIG GET requirepass would show them the upstream's password",
                    read.name
                );
                let hint = "give the upstream a Redis user without dangerous commands: ACL SETUSER app on >... ~* &* +@all -@dangerous +info";
                scope.problems.warning(read.place, message, hint);
            }
        }
        for (index, read) in upstreams.iter().enumerate() {
            match (users.get(&index), read.credentials) {
                (None, _) => {
                    scope.problems.warning(
                        read.place,
                        format!("no listener uses upstream '{}'", read.name),
                        "",
                    );
                }
                (Some(auth), Some(place)) if !auth.contains(&Auth::Trust) => {
                    let message = "with auth: passthrough these credentials serve health checks only";
                    scope.problems.remark(place, message);
                }
                _ => {}
            }
        }
    }
}
