//! When traffic is held while the master changes.
//!
//! ```text
//!            a replica was chosen (limit: `pause`)          the view moved
//!   Flowing ----------------------------------------> Held ----------------> Flowing
//!      |     another master was announced (limit: 300 ms)  |
//!      |                                                   | aborted, or the limit has passed
//!      |                                                   v
//!      +<----------------------------------------------- Spent
//!              30 s after the beginning of the pause
//! ```
//!
//! In `Spent` traffic flows, and nothing holds it. A sentinel that lies could otherwise hold it all the time. A pause in which
//! the view moved is no reason for that: a lie does not move the view.

use std::time::Duration;

use portcullis_config::Address;
use tokio::time::Instant;

use super::round::Role;
use crate::upstream::view::Traffic;

/// The time for which a message that another master is in place holds traffic. The other sentinels confirm it within
/// some milliseconds.
const FREEZE: Duration = Duration::from_millis(300);

/// The time from the beginning of a pause in vain to the next pause.
const APART: Duration = Duration::from_secs(30);

/// The time after which the chosen replica is asked whether it is the master. Redis needs about this time.
const ASK_AFTER: Duration = Duration::from_millis(200);

/// The time between two questions to the chosen replica.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Whether traffic is held, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    /// The longest time of a pause in a planned failover. `None`: traffic is never held.
    limit: Option<Duration>,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Flowing,
    Held(Held),
    Spent { until: Instant },
}

/// A pause in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    since: Instant,
    until: Instant,
    /// The replica that becomes the master, if it was named in time to be asked.
    chosen: Option<Chosen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Chosen {
    address: Address,
    ask_at: Instant,
    is_master: bool,
}

impl Pause {
    /// Makes a state in which traffic flows.
    pub(super) const fn new(limit: Option<Duration>) -> Self {
        Self { limit, state: State::Flowing }
    }

    /// Takes another limit. It applies to the next pause.
    pub(super) const fn set_limit(&mut self, limit: Option<Duration>) {
        self.limit = limit;
    }

    /// Returns whether traffic flows.
    pub(super) const fn traffic(&self) -> Traffic {
        match &self.state {
            State::Held(held) => Traffic::Paused { since: held.since },
            State::Flowing | State::Spent { .. } => Traffic::Flows,
        }
    }

    /// Holds traffic because the replica `chosen` is about to become the master.
    pub(super) fn choose(&mut self, chosen: &Address, now: Instant) {
        let Some(limit) = self.limit else { return };
        if self.state == State::Flowing {
            let chosen = Chosen { address: chosen.clone(), ask_at: now + ASK_AFTER, is_master: false };
            self.state = State::Held(Held { since: now, until: now + limit, chosen: Some(chosen) });
        }
    }

    /// Holds traffic for a moment because a sentinel has announced another master.
    pub(super) fn freeze(&mut self, now: Instant) {
        let Some(limit) = self.limit else { return };
        if self.state == State::Flowing {
            self.state = State::Held(Held { since: now, until: now + FREEZE.min(limit), chosen: None });
        }
    }

    /// Ends the pause, because the view has moved.
    pub(super) fn moved(&mut self) {
        if matches!(self.state, State::Held(_)) {
            self.state = State::Flowing;
        }
    }

    /// Ends the pause, because the failover was given up.
    pub(super) fn abort(&mut self) {
        if let State::Held(held) = &self.state {
            self.state = State::Spent { until: held.since + APART };
        }
    }

    /// Returns the replica to ask for its role now.
    pub(super) fn to_ask(&self, now: Instant) -> Option<&Address> {
        let State::Held(Held { chosen: Some(chosen), .. }) = &self.state else { return None };
        (chosen.ask_at <= now).then_some(&chosen.address)
    }

    /// Records that the chosen replica is being asked.
    pub(super) fn asked(&mut self, now: Instant) {
        if let State::Held(Held { chosen: Some(chosen), .. }) = &mut self.state {
            chosen.ask_at = now + ASK_EVERY;
        }
    }

    /// Records the role of the chosen replica. Returns whether it has become the master just now.
    pub(super) fn told(&mut self, server: &Address, role: Role) -> bool {
        match &mut self.state {
            State::Held(Held { chosen: Some(chosen), .. }) if chosen.address.is_same_host(server) => {
                let is_master = role == Role::Master;
                std::mem::replace(&mut chosen.is_master, is_master) != is_master && is_master
            }
            _ => false,
        }
    }

    /// Ends what is due.
    pub(super) fn tick(&mut self, now: Instant) {
        match &mut self.state {
            State::Held(held) if held.until <= now => {
                let limit = held.until.saturating_duration_since(held.since);
                match &mut held.chosen {
                    // The new master is in place, and the sentinels will say so. Writes to the former one would be lost. The
                    // second limit is the last one, because the question is not asked again after it.
                    Some(chosen) if chosen.is_master => {
                        held.until += limit;
                        held.chosen = None;
                    }
                    _ => self.abort(),
                }
            }
            State::Spent { until } if *until <= now => self.state = State::Flowing,
            _ => {}
        }
    }

    /// Returns when [`Self::tick`] or [`Self::to_ask`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        match &self.state {
            State::Flowing => None,
            State::Held(held) => {
                Some(held.chosen.as_ref().map_or(held.until, |chosen| chosen.ask_at.min(held.until)))
            }
            State::Spent { until } => Some(*until),
        }
    }
}

#[cfg(test)]
mod tests;
