//! Admits or refuses a source. Before this, the proxy reads at most the PROXY header of a trusted sender.

use std::sync::Arc;

use portcullis_acl::{ClientAddr, Decision, Permit, RuleId, UnixSeconds};

use super::identify::{Identified, ProxySender};
use crate::generation::listener::{Listener, ListenerState};
use crate::generation::seats::Seat;
use crate::generation::sources::SourcePlace;
use crate::generation::store::Generation;
use crate::metrics::RefusedReason;
use crate::net::socket::Socket;

/// A connection that the policy admits, with the seats that its client takes.
#[derive(Debug)]
pub(crate) struct Admitted {
    socket: Socket,
    client: Client,
}

/// An admitted client, and the configuration that admitted it.
#[derive(Debug)]
pub(crate) struct Client {
    from: ClientAddr,
    sender: Option<Box<ProxySender>>,
    generation: Arc<Generation>,
    listener: Arc<Listener>,
    permit: Permit,
    place: ClientPlace,
}

impl Admitted {
    /// Returns the client.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the socket and its client.
    pub(crate) fn into_parts(self) -> (Socket, Client) {
        (self.socket, self.client)
    }
}

/// The parts of a client that its session keeps.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The source address.
    pub from: ClientAddr,
    /// The sender of the PROXY header. `None` if the connection came without a header.
    pub sender: Option<Box<ProxySender>>,
    /// The configuration that admitted the client.
    pub generation: Arc<Generation>,
    /// The permit of the client: the entry that admitted it, and its expiry.
    pub permit: Permit,
    /// The seats that the client takes.
    pub place: ClientPlace,
}

impl Client {
    /// Returns the source address.
    pub(crate) const fn from(&self) -> ClientAddr {
        self.from
    }

    /// Returns the client's listener, in the configuration that admitted the client.
    pub(crate) const fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Returns the configuration that admitted the client.
    pub(crate) const fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// Returns the permit of the client.
    pub(crate) const fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Returns the parts that the client's session keeps.
    pub(crate) fn into_parts(self) -> Parts {
        let Self { from, sender, generation, permit, place, .. } = self;
        Parts { from, sender, generation, permit, place }
    }

    /// Judges the client again if `generation` is newer than the one that admitted it. The client then
    /// belongs to `generation`.
    ///
    /// # Errors
    /// `generation` does not admit the client, so it must be disconnected. [`Revoked`] has the reason.
    pub(crate) fn renew(mut self, generation: &Arc<Generation>, now: UnixSeconds) -> Result<Self, Revoked> {
        if self.generation.number() == generation.number() {
            return Ok(self);
        }
        let Some(listener) = generation.listener(self.listener.name()) else {
            return Err(self.revoked(RefusedReason::NotAllowed, None));
        };
        // A change of `tls` closes the connection: a plain text connection must not continue where TLS is now
        // required.
        if self.listener.settings().tls() != listener.settings().tls() {
            return Err(self.revoked(RefusedReason::Tls, None));
        }
        if self.sender.as_ref().is_some_and(|sender| !listener.trusts(&sender.addr, now)) {
            return Err(self.revoked(RefusedReason::ProxyHeader, None));
        }
        match listener.judge(&self.from, now) {
            Decision::Allow(permit) => {
                self.listener = Arc::clone(listener);
                (self.generation, self.permit) = (Arc::clone(generation), permit);
                Ok(self)
            }
            Decision::Deny(denial) => Err(self.revoked(denial.reason().into(), denial.rule())),
        }
    }

    fn revoked(&self, reason: RefusedReason, rule: Option<RuleId>) -> Revoked {
        Revoked { from: self.from, listener: Arc::clone(&self.place.listener), reason, rule }
    }
}

/// A client that an earlier configuration admitted and that the configuration in force does not admit.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// The source address.
    pub from: ClientAddr,
    /// The listener.
    pub listener: Arc<ListenerState>,
    /// The reason.
    pub reason: RefusedReason,
    /// The entry that refuses the client. `None` if no entry decided.
    pub rule: Option<RuleId>,
}

/// A connection that must be refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(super) socket: Socket,
    /// The source address.
    pub from: ClientAddr,
    /// The listener of the connection.
    pub listener: Arc<Listener>,
    /// The reason.
    pub reason: RefusedReason,
    /// The entry that refused the source. `None` if no entry decided.
    pub rule: Option<RuleId>,
}

/// Judges a source and takes the seats for its client. `all` counts the clients of the whole process.
///
/// The policy decides first, so a source that is not on the list learns nothing about limits.
///
/// # Errors
/// The connection, which the caller must refuse.
pub(crate) fn admit(
    identified: Identified,
    generation: &Arc<Generation>,
    all: &Arc<Seat>,
    now: UnixSeconds,
) -> Result<Admitted, Box<Refused>> {
    let Identified { socket, from, sender, listener } = identified;
    let (reason, rule) = match listener.judge(&from, now) {
        Decision::Allow(permit) => match ClientPlace::take(all, listener.state(), from) {
            Ok(place) => {
                let generation = Arc::clone(generation);
                let client = Client { from, sender, generation, listener, permit, place };
                return Ok(Admitted { socket, client });
            }
            Err(reason) => (reason, None),
        },
        Decision::Deny(denial) => (denial.reason().into(), denial.rule()),
    };
    Err(Box::new(Refused { socket, from, listener, reason, rule }))
}

/// The seats of one client: in the process, at its listener and for its source. Dropping the value frees
/// them.
#[derive(Debug)]
pub(crate) struct ClientPlace {
    all: Arc<Seat>,
    listener: Arc<ListenerState>,
    _source: SourcePlace,
}

impl ClientPlace {
    /// Takes the seats of one client. The limits of the source come first: a source that exceeds them takes
    /// no seat from others.
    fn take(all: &Arc<Seat>, listener: &Arc<ListenerState>, from: ClientAddr) -> Result<Self, RefusedReason> {
        let source = listener.sources().admit(from)?;
        if !all.take() {
            return Err(RefusedReason::Limit);
        }
        if !listener.seat().take() {
            all.free();
            return Err(RefusedReason::Limit);
        }
        Ok(Self { all: Arc::clone(all), listener: Arc::clone(listener), _source: source })
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.all.free();
        self.listener.seat().free();
    }
}

#[cfg(test)]
mod tests;
