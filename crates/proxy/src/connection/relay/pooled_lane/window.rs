//! The window of one client on a shared connection: the bytes of its commands that may be unanswered.

/// The largest half of a window: one read. More bytes wait in the client's own socket. So a client that sends a
/// pipeline without end delays other clients only as long as Redis needs for this much.
const MAX_HALF: usize = 16 * 1024;

/// The first half of a window: one or two commands, while the size of a client's replies is unknown. Otherwise many
/// such clients together could request gigabytes from Redis before the first reply shows the size.
const FIRST_HALF: usize = 32;

/// The unanswered bytes, in two halves. After one half was given, the half before it must be answered before more is
/// given.
#[derive(Debug)]
pub(in crate::connection::relay) struct Window {
    /// The size of a half, in bytes.
    half: u32,
    /// The bytes that were given in the current half.
    given: u32,
    /// The number of commands that were given in all.
    asked: u64,
    /// The number of these commands that were answered.
    answered: u64,
    /// The number of commands that must be answered before the next half begins: the commands before this half.
    mark: u64,
    /// The bytes of the reply that is not complete yet.
    streamed: u32,
    /// The expected bytes of one reply.
    each: u32,
}

impl Window {
    pub(in crate::connection::relay) fn new() -> Self {
        let half = bytes(FIRST_HALF);
        Self { half, given: 0, asked: 0, answered: 0, mark: 0, streamed: 0, each: 0 }
    }

    /// Returns the number of bytes that may be given now. A command of `least` bytes may always be the first of a
    /// half. The replies to both halves should fit into `budget` bytes, because the client may not read any of them
    /// yet.
    pub(in crate::connection::relay) fn room(&mut self, least: usize, budget: usize) -> usize {
        if self.given > 0 && self.given.saturating_add(bytes(least)) > self.half {
            // The rest of this half is too small for the command.
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

    /// Returns the bytes of commands whose replies take half of `budget`, if commands and replies are like the last
    /// ones.
    fn fitting(&self, budget: usize) -> u32 {
        let commands = u32::try_from(self.asked - self.mark).unwrap_or(u32::MAX).max(1);
        (bytes(budget) / 2 / self.each.max(1)).saturating_mul(self.given / commands)
    }

    /// Records that `given` bytes were given, with this number of commands.
    pub(in crate::connection::relay) fn give(&mut self, given: usize, commands: u64) {
        self.given = self.given.saturating_add(bytes(given));
        self.asked += commands;
    }

    /// Records `came` bytes of replies, with which `ended` replies became complete.
    pub(in crate::connection::relay) fn answer(&mut self, came: usize, ended: u64) {
        self.answered += ended;
        self.streamed = self.streamed.saturating_add(bytes(came));
        if let Some(ended) = u32::try_from(ended).ok().filter(|ended| *ended > 0) {
            // Smaller replies lower the expected size slowly.
            self.each = (self.streamed / ended).max(self.each - self.each / 8);
            self.streamed = 0;
        }
    }
}

/// Returns a number of bytes as `u32`; 4 GiB and more become the largest value.
fn bytes(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
