//! Names of sessions and of their pending replies.

/// The name of one session among those that share a link: a slab index and a generation. With the generation, a late
/// reply matches no newer session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(pub u64);

/// The name of one pending reply of a link to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The session that gets the reply.
    pub session: SessionKey,
    /// The position in that session's order. A gap between two neighbours tells the link not to join their replies.
    pub seq: u64,
}

impl Ticket {
    pub(crate) const fn plus(self, n: u64) -> Self {
        Self { session: self.session, seq: self.seq.wrapping_add(n) }
    }
}
