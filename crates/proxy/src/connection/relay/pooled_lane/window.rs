//! The bytes of commands that a client may have unanswered on a shared connection.

/// Half of the bytes that one client may have unanswered on a shared connection: one read. More of it waits in the client's
/// own socket. So a client that pipelines without end keeps others waiting no longer than Redis needs for this much.
const MAX_HALF: usize = 16 * 1024;

/// One or two commands, as long as it is not known whether a client's replies are large. The commands of many such clients
/// together may ask Redis for gigabytes before the first reply shows it.
const FIRST_HALF: usize = 32;

/// The bytes that are unanswered. When half of the window was given, the half before must be answered first.
#[derive(Debug)]
pub(super) struct Window {
    half: u32,
    given: u32,
    asked: u64,
    answered: u64,
    /// The number of commands that must be answered before more is given: those of before this half.
    mark: u64,
    /// Bytes of the reply that has not ended.
    streamed: u32,
    /// The bytes that a reply is expected to have.
    each: u32,
}

impl Window {
    pub(super) fn new() -> Self {
        let half = bytes(FIRST_HALF);
        Self { half, given: 0, asked: 0, answered: 0, mark: 0, streamed: 0, each: 0 }
    }

    /// The number of bytes that may be given now. A command of `least` bytes may always be the first of a half. The replies to
    /// both halves should fit `budget`: the client may read none of them yet.
    pub(super) fn room(&mut self, least: usize, budget: usize) -> usize {
        if self.given > 0 && self.given.saturating_add(bytes(least)) > self.half {
            // What is left of this half is too little.
            self.given = self.given.max(self.half);
        }
        if self.given >= self.half && self.answered >= self.mark {
            let half = self.half.saturating_mul(2).min(self.fitting(budget));
            self.half = half.clamp(bytes(FIRST_HALF), bytes(MAX_HALF));
            self.given = 0;
            self.mark = self.asked;
        }
        let room = self.half.saturating_sub(self.given) as usize;
        if self.given == 0 { room.max(least) } else { room }
    }

    /// Bytes of commands like the last ones whose replies, if they are like the last ones, are half of `budget`.
    fn fitting(&self, budget: usize) -> u32 {
        let commands = u32::try_from(self.asked - self.mark).unwrap_or(u32::MAX).max(1);
        (bytes(budget) / 2 / self.each.max(1)).saturating_mul(self.given / commands)
    }

    pub(super) fn give(&mut self, given: usize, commands: u64) {
        self.given = self.given.saturating_add(bytes(given));
        self.asked += commands;
    }

    /// So many bytes of replies came, with which so many replies ended.
    pub(super) fn answer(&mut self, came: usize, ended: u64) {
        self.answered += ended;
        self.streamed = self.streamed.saturating_add(bytes(came));
        if let Some(ended) = u32::try_from(ended).ok().filter(|ended| *ended > 0) {
            // Smaller ones lower it slowly.
            self.each = (self.streamed / ended).max(self.each - self.each / 8);
            self.streamed = 0;
        }
    }
}

/// A number of bytes, kept small: more than 4 GiB is as good as that.
fn bytes(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
