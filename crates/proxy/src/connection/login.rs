//! Whether credentials are right, where the gate checks them, and what becomes of a source that guesses.

use portcullis_session::observe::Attempt;
use serde::Serialize;

use crate::worker::table::Entry;
use crate::worker::{Worker, wall_clock};

/// Judges one attempt of the client behind `entry`.
pub fn authenticate(worker: &Worker, entry: &Entry, name: Option<&[u8]>, password: &[u8]) -> Attempt {
    let generation = worker.generation();
    let index = entry.served.index();
    let (Some(logins), Some(state)) = (generation.logins().get(index), generation.listeners().get(index))
    else {
        return Attempt::Refused;
    };
    if state.sources().is_blocked(entry.from) {
        state.series().auth_failed();
        return Attempt::Blocked;
    }
    let login = logins.authenticate(name, password, generation.policy(), &entry.from, wall_clock());
    if let Some(login) = login {
        return Attempt::Granted(login.plan);
    }
    state.series().auth_failed();
    let Some(blocked) = state.sources().login_failed(entry.from, name, password) else {
        return Attempt::Refused;
    };
    if let Some(left) = blocked {
        let (source, listener, seconds) = (entry.from, state.name(), left.as_secs());
        // The form is a contract: docs/operations.md has the fail2ban filter for it.
        tracing::warn!(%source, %listener, seconds, "source blocked: too many failed logins");
        worker.shared.audit.event(&Blocked {
            event: "blocked",
            id: entry.id,
            source: source.to_string(),
            listener,
            seconds,
        });
    }
    Attempt::Blocked
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
