//! Whether credentials are right, where the gate checks them, and what becomes of a source that guesses.

use std::sync::Arc;

use portcullis_session::{Attempt, Plan};
use serde::Serialize;

use crate::clock::wall_clock;
use crate::upstream::target::Target;
use crate::worker::Worker;
use crate::worker::table::Entry;

/// Judges one attempt of the client behind `entry`, which is led to `target`.
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
        // The form is a contract: docs/operations.md has the fail2ban filter for it.
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

/// A reload may have given the listener another upstream meanwhile. This client stays with the one it was led to, which
/// must not be shown what is for the other: there it is who that config made of the user, under the rules of this one.
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

/// The audit line of a source that is blocked.
#[derive(Serialize)]
struct Blocked<'a> {
    event: &'static str,
    id: u64,
    source: String,
    listener: &'a str,
    seconds: u64,
}
