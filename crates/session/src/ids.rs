//! Names of sessions and of their pending replies.

/// The name of one session among those that share a link: an index of a slab and a generation. The generation changes
/// when the index is used again, so a late reply never goes to a newer session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(pub u64);

/// The name of one pending reply, by which a link finds the session and the session finds the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The session that gets the reply.
    pub session: SessionKey,
    /// The position of the reply in the session's order. A gap between two positions tells the link not to join their
    /// replies.
    pub seq: u64,
}

impl Ticket {
    pub(crate) const fn plus(self, n: u64) -> Self {
        Self { session: self.session, seq: self.seq.wrapping_add(n) }
    }
}
