//! Logins whose credentials the proxy checks itself, and the blocking of sources that guess.

use std::sync::Arc;

use portcullis_session::{Attempt, Plan};
use serde::Serialize;

use crate::clock::wall_clock;
use crate::upstream::target::Target;
use crate::worker::Worker;
use crate::worker::table::Entry;

/// Judges one login attempt of the client of `entry`. `target` is the upstream target of the client's session.
pub(crate) fn authenticate(
    worker: &Worker,
    entry: &Entry,
    target: &Target,
    name: Option<&[u8]>,
    password: &[u8],
) -> Attempt {
    let current = entry.listener.current();
    let state = current.state();
    if state.sources().is_blocked(entry.from) {
        state.series().auth_failed();
        return Attempt::Blocked;
    }
    let plan = current.authenticate(name, password, &entry.from, wall_clock());
    if let Some(plan) = plan {
        return admit(plan, entry, target);
    }
    state.series().auth_failed();
    let Some(blocked) = state.sources().login_failed(entry.from, name, password) else {
        return Attempt::Refused;
    };
    if let Some(left) = blocked {
        let (source, listener, seconds) = (entry.from, state.name(), left.as_secs());
        // The form of this line is a contract: docs/operations.md has a fail2ban filter for it.
        tracing::warn!(%source, %listener, seconds, "source blocked: too many failed logins");
        worker.process.audit.event(&Blocked {
            event: "blocked",
            id: entry.id,
            source: source.to_string(),
            listener,
            seconds,
        });
    }
    Attempt::Blocked
}

/// Grants a login, under the rules of the current configuration. A reload may have changed the listener's upstream,
/// while this client keeps the upstream of `target`. That upstream must not get the credentials for the new one. So
/// the client gets the credentials that the configuration of `target` has for the user. If that configuration has no
/// such user, the login is refused and the session ends.
fn admit(plan: Arc<Plan>, entry: &Entry, target: &Target) -> Attempt {
    if *entry.listener.target().upstream == *target.upstream {
        return Attempt::Granted(plan);
    }
    match target.logins.plan(plan.user()) {
        Some(made_by) => Attempt::Granted(Arc::new(plan.keyed_as(made_by))),
        None => {
            tracing::debug!(
                id = entry.id,
                "login refused: the upstream it is connected to knows no such user"
            );
            Attempt::Blocked
        }
    }
}

/// The audit line for a source that is blocked.
#[derive(Serialize)]
struct Blocked<'a> {
    event: &'static str,
    id: u64,
    source: String,
    listener: &'a str,
    seconds: u64,
}
