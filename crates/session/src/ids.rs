//! Names of sessions and of the replies that they wait for.

/// Names one session among those that share a link: a slab index and a generation, so that a late reply finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(pub u64);

/// Names one reply that a link owes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Whose reply it is.
    pub session: SessionKey,
    /// Its place in that session's order. A gap between two neighbours tells the link not to join their replies.
    pub seq: u64,
}

impl Ticket {
    pub(crate) const fn plus(self, n: u64) -> Self {
        Self { session: self.session, seq: self.seq.wrapping_add(n) }
    }
}
