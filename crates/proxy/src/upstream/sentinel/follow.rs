//! Follows the master through failovers: takes the answers and messages of the sentinels, one after another, and decides
//! which server is the master, and whether traffic is held.

use std::time::Duration;

use portcullis_config::Address;
use tokio::time::Instant;

use super::answer::{Change, Event};
use super::pause::Pause;
use super::round::{Known, Master, Role, Roles, Round, Verdict};
use crate::upstream::view::Traffic;

/// The time without an answer that has the view's epoch or a higher one, after which a lower epoch counts. Sentinels that
/// were set up again begin at 0. A stale sentinel is alone, and the others name the epoch all the time.
const EPOCH_GONE: Duration = Duration::from_secs(5);

/// The time for which at least half of the sentinels name only lower epochs, after which a lower epoch counts even if a
/// sentinel still names a higher one. That sentinel lies, or is cut off from the others.
const OUTVOTED: Duration = Duration::from_secs(30);

/// The master of an upstream, and what is under way.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    master: Option<Master>,
    /// The last time when an answer had the epoch of `master` or a higher one.
    epoch_seen: Instant,
    /// The last time when at least half of the answers had it.
    epoch_carried: Instant,
    pause: Pause,
}

/// The result of a round for the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The sentinels name the master of the view.
    Confirmed,
    /// The view stays, and the sentinels do not confirm it.
    Undecided,
    /// The roles of these servers decide. The round is judged again with them.
    Ask(Vec<Address>),
    /// The view has moved.
    Moved {
        /// The former master, if there was one.
        from: Option<Address>,
    },
}

impl Follower {
    /// Makes a follower that knows no master. `pause`: the longest time of a pause, if traffic may be held.
    pub(crate) const fn new(pause: Option<Duration>, now: Instant) -> Self {
        Self { master: None, epoch_seen: now, epoch_carried: now, pause: Pause::new(pause) }
    }

    /// Returns the master.
    pub(crate) const fn master(&self) -> Option<&Master> {
        self.master.as_ref()
    }

    /// Returns whether traffic flows.
    pub(crate) const fn traffic(&self) -> Traffic {
        self.pause.traffic()
    }

    /// Takes another limit of pauses.
    pub(crate) const fn set_pause(&mut self, limit: Option<Duration>) {
        self.pause.set_limit(limit);
    }

    /// Takes a message of a sentinel. Returns whether it is a reason to ask all sentinels.
    pub(crate) fn event(&mut self, event: &Event, now: Instant) -> bool {
        match event {
            Event::Chosen(change) if self.concerns(change) => self.pause.choose(&change.to, now),
            Event::Promoted(change) | Event::Switched(change) if self.concerns(change) => {
                self.pause.freeze(now);
            }
            Event::Aborted => self.pause.abort(),
            Event::Chosen(_) | Event::Promoted(_) | Event::Switched(_) => return self.master.is_none(),
        }
        true
    }

    /// Takes the answers of a round. If the result is [`Outcome::Ask`], the round is judged again.
    pub(crate) fn round(&mut self, round: &Round, roles: &Roles, now: Instant) -> Outcome {
        let epoch = self.master.as_ref().map_or(0, |master| master.epoch);
        if round.highest_epoch().is_some_and(|highest| highest >= epoch) {
            self.epoch_seen = now;
        }
        if round.carries_epoch(epoch) {
            self.epoch_carried = now;
        }
        let is_epoch_gone = now.saturating_duration_since(self.epoch_seen) >= EPOCH_GONE
            || now.saturating_duration_since(self.epoch_carried) >= OUTVOTED;
        let known = Known { current: self.master.as_ref(), roles, is_epoch_gone };
        match round.judge(known) {
            Verdict::Undecided => Outcome::Undecided,
            Verdict::Ask(servers) => Outcome::Ask(servers),
            Verdict::Confirmed(confirmed) => {
                if let Some(master) = &mut self.master
                    && (confirmed > epoch || is_epoch_gone)
                {
                    master.epoch = confirmed;
                    (self.epoch_seen, self.epoch_carried) = (now, now);
                }
                Outcome::Confirmed
            }
            Verdict::Moves(master) => {
                let from = self.master.replace(master).map(|former| former.address);
                (self.epoch_seen, self.epoch_carried) = (now, now);
                self.pause.moved();
                Outcome::Moved { from }
            }
        }
    }

    /// Returns the replica to ask for its role now, and records that it is asked.
    pub(crate) fn take_question(&mut self, now: Instant) -> Option<Address> {
        let server = self.pause.to_ask(now)?.clone();
        self.pause.asked(now);
        Some(server)
    }

    /// Takes the role of the replica that was asked. Returns whether that is a reason to ask all sentinels.
    pub(crate) fn told(&mut self, server: &Address, role: Role) -> bool {
        self.pause.told(server, role)
    }

    /// Ends a pause that is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.pause.tick(now);
    }

    /// Returns when [`Self::tick`] or [`Self::take_question`] has something to do.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.pause.next()
    }

    /// Returns whether a message is about the master of the view. Others are late, or about another master.
    fn concerns(&self, change: &Change) -> bool {
        self.master.as_ref().is_some_and(|master| {
            master.address.is_same_host(&change.from) && !master.address.is_same_host(&change.to)
        })
    }
}

#[cfg(test)]
mod tests;
