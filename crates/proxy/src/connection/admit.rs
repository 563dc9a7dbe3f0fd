//! Whether the source may come in. Nothing it sent was read yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_acl::{ClientAddr, Decision, Permit, Policy, RuleId, UnixSeconds};

use super::identify::Identified;
use crate::metrics::RefusedReason;
use crate::net::socket::Socket;

/// A connection that the policy admits, with its place among the clients.
#[derive(Debug)]
pub struct Admitted {
    pub(super) socket: Socket,
    pub(super) from: ClientAddr,
    pub(super) listener: usize,
    pub(super) permit: Permit,
    pub(super) place: Place,
}

impl Admitted {
    /// Where it comes from.
    pub const fn from(&self) -> ClientAddr {
        self.from
    }

    /// Index into the listeners of the config.
    pub const fn listener(&self) -> usize {
        self.listener
    }

    /// What admitted it.
    pub const fn permit(&self) -> &Permit {
        &self.permit
    }
}

/// A connection that must go.
#[derive(Debug)]
pub struct Refused {
    pub(super) socket: Socket,
    /// Where it came from.
    pub from: ClientAddr,
    /// Index into the listeners of the config.
    pub listener: usize,
    /// Why it must go.
    pub reason: RefusedReason,
    /// The entry that refused it, if one did.
    pub rule: Option<RuleId>,
}

/// Judges a source: the policy first, so that a source that is not on the list learns nothing else.
///
/// # Errors
/// The connection, to be refused.
pub fn admit(
    identified: Identified,
    policy: &Policy,
    seats: &Seats,
    now: UnixSeconds,
) -> Result<Admitted, Box<Refused>> {
    let Identified { socket, from, listener } = identified;
    let (reason, rule, socket) = match policy.judge(listener, &from, now) {
        Decision::Allow(permit) => match seats.take(listener) {
            Some(place) => return Ok(Admitted { socket, from, listener, permit, place }),
            None => (RefusedReason::Limit, None, socket),
        },
        Decision::Deny(denial) => {
            let reason = match denial.reason() {
                portcullis_acl::Reason::NotAllowed => RefusedReason::NotAllowed,
                portcullis_acl::Reason::Denied => RefusedReason::Denied,
                portcullis_acl::Reason::Expired => RefusedReason::Expired,
            };
            (reason, denial.rule(), socket)
        }
    };
    Err(Box::new(Refused { socket, from, listener, reason, rule }))
}

/// How many clients there are, in all and at each listener, and how many there may be.
#[derive(Clone, Debug)]
pub struct Seats(Arc<Count>);

#[derive(Debug)]
struct Count {
    all: Seat,
    listeners: Box<[Seat]>,
}

#[derive(Debug)]
struct Seat {
    taken: AtomicU64,
    limit: u64,
}

impl Seat {
    fn take(&self) -> bool {
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < self.limit).then_some(taken + 1)
            })
            .is_ok()
    }

    fn free(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Seats {
    /// `limits`: for each listener.
    pub fn new(limit: u64, limits: impl Iterator<Item = u64>) -> Self {
        let seat = |limit| Seat { taken: AtomicU64::new(0), limit };
        Self(Arc::new(Count { all: seat(limit), listeners: limits.map(seat).collect() }))
    }

    fn take(&self, listener: usize) -> Option<Place> {
        let seat = self.0.listeners.get(listener)?;
        if !self.0.all.take() {
            return None;
        }
        if !seat.take() {
            self.0.all.free();
            return None;
        }
        Some(Place { seats: self.clone(), listener })
    }
}

/// One client's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    seats: Seats,
    listener: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seats.0.all.free();
        if let Some(seat) = self.seats.0.listeners.get(self.listener) {
            seat.free();
        }
    }
}

#[cfg(test)]
mod tests;
