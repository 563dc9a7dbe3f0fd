//! A master that says to sessions that it is a replica.
//!
//! This happens while a failover is under way, and for a moment after it. The sessions wait for another view. Only the
//! watcher asks for the role again, until the server is no replica any more; then it makes that view.

use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::role::Role;

/// The time between two questions.
const APART: Duration = Duration::from_millis(100);

/// Whether the master of the view may be a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Doubt {
    stage: Stage,
    /// When the server was asked the last time.
    asked: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// No session was told so, or another view has answered it.
    #[default]
    None,
    /// The server is to be asked for its role at this time, and again and again until it says another one.
    Asks(Instant),
    /// The server is no replica any more.
    Ends,
}

impl Doubt {
    /// Records that a session was told that the master is a replica. Sessions may say so all the time.
    pub(super) fn begin(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Asks(_)) {
            let due = self.asked.map_or(now, |asked| now.max(asked + APART));
            self.stage = Stage::Asks(due);
        }
    }

    /// Returns when the server is to be asked for its role.
    pub(super) const fn next(&self) -> Option<Instant> {
        match self.stage {
            Stage::Asks(due) => Some(due),
            Stage::None | Stage::Ends => None,
        }
    }

    /// Returns whether the server is to be asked now, and records that it is asked.
    pub(super) fn take_question(&mut self, now: Instant) -> bool {
        let is_due = self.next().is_some_and(|due| due <= now);
        if is_due {
            self.asked = Some(now);
            self.stage = Stage::Asks(now + APART);
        }
        is_due
    }

    /// Takes the role that the server says.
    pub(super) const fn told(&mut self, role: Role) {
        if let (Stage::Asks(_), Role::Master | Role::Untold) = (self.stage, role) {
            self.stage = Stage::Ends;
        }
    }

    /// Returns whether the doubt has ended, and forgets it.
    pub(super) fn take_end(&mut self) -> bool {
        let ends = self.stage == Stage::Ends;
        if ends {
            self.end();
        }
        ends
    }

    /// Records another view.
    pub(super) const fn end(&mut self) {
        self.stage = Stage::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_asked_until_it_is_no_replica() {
        let now = Instant::now();
        let mut doubt = Doubt::default();
        assert!(doubt.next().is_none() && !doubt.take_question(now));
        doubt.told(Role::Master);
        assert!(!doubt.take_end(), "there was no doubt");
        doubt.begin(now);
        for round in 0..10 {
            let now = now + APART * round;
            assert!(doubt.take_question(now) && !doubt.take_question(now));
            doubt.told(if round % 2 == 0 { Role::Replica } else { Role::Silent });
            doubt.begin(now);
            assert!(!doubt.take_end());
        }
        doubt.told(Role::Master);
        assert!(doubt.take_end() && !doubt.take_end());
        assert_eq!(doubt.next(), None);
    }

    /// A server that says one thing to sessions and another to the watcher must not keep both busy.
    #[test]
    fn questions_are_apart() {
        let now = Instant::now();
        let mut doubt = Doubt::default();
        doubt.begin(now);
        assert!(doubt.take_question(now));
        doubt.told(Role::Untold);
        assert!(doubt.take_end());
        doubt.begin(now);
        assert!(!doubt.take_question(now) && doubt.take_question(now + APART));
    }

    #[test]
    fn another_view_ends_the_doubt() {
        let now = Instant::now();
        let mut doubt = Doubt::default();
        doubt.begin(now);
        doubt.end();
        doubt.told(Role::Master);
        assert!(doubt.next().is_none() && !doubt.take_end());
    }
}
