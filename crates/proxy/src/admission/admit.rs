//! Whether the source may come in. Nothing it sent was read yet.

use std::sync::Arc;

use portcullis_acl::{ClientAddr, Decision, Permit, RuleId, UnixSeconds};

use super::identify::Identified;
use crate::generation::listener::{Listener, ListenerState};
use crate::generation::seats::Seat;
use crate::generation::sources::SourcePlace;
use crate::generation::store::Generation;
use crate::metrics::RefusedReason;
use crate::net::socket::Socket;

/// A connection that the policy admits, with its place among the clients.
#[derive(Debug)]
pub(crate) struct Admitted {
    socket: Socket,
    client: Client,
}

/// An admitted client, and the configuration that admitted it.
#[derive(Debug)]
pub(crate) struct Client {
    from: ClientAddr,
    sender: Option<Box<ClientAddr>>,
    generation: Arc<Generation>,
    listener: Arc<Listener>,
    permit: Permit,
    place: ClientPlace,
}

impl Admitted {
    /// The client.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// The socket and the client that it belongs to.
    pub(crate) fn into_parts(self) -> (Socket, Client) {
        (self.socket, self.client)
    }
}

/// The parts of a client that its session keeps.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The source address.
    pub from: ClientAddr,
    /// The sender of its PROXY header, if it came with one.
    pub sender: Option<Box<ClientAddr>>,
    /// The config that admitted it.
    pub generation: Arc<Generation>,
    /// The permit that admitted it.
    pub permit: Permit,
    /// Its place among the clients.
    pub place: ClientPlace,
}

impl Client {
    /// The source address.
    pub(crate) const fn from(&self) -> ClientAddr {
        self.from
    }

    /// Its listener, in the config that admitted it.
    pub(crate) const fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// The config that admitted it.
    pub(crate) const fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// The rule that admitted it.
    pub(crate) const fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Returns the parts that its session keeps.
    pub(crate) fn into_parts(self) -> Parts {
        let Self { from, sender, generation, permit, place, .. } = self;
        Parts { from, sender, generation, permit, place }
    }

    /// Judges it again by `generation`, where that is not the one that admitted it.
    ///
    /// # Errors
    /// The client may not stay.
    pub(crate) fn renew(mut self, generation: &Arc<Generation>, now: UnixSeconds) -> Result<Self, Revoked> {
        if self.generation.number() == generation.number() {
            return Ok(self);
        }
        let Some(listener) = generation.listener(self.listener.name()) else {
            return Err(self.revoked(RefusedReason::NotAllowed, None));
        };
        // The connection would not be what the listener requires now: plain text instead of TLS, for example.
        if self.listener.settings().tls() != listener.settings().tls() {
            return Err(self.revoked(RefusedReason::Tls, None));
        }
        if self.sender.as_ref().is_some_and(|sender| !listener.trusts(sender, now)) {
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

/// The reason of the current configuration to disconnect a client that an earlier one admitted.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// The source address.
    pub from: ClientAddr,
    /// The listener.
    pub listener: Arc<ListenerState>,
    /// The denial.
    pub reason: RefusedReason,
    /// The entry that refuses it, if one does.
    pub rule: Option<RuleId>,
}

/// A connection that must go.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(super) socket: Socket,
    /// The source address.
    pub from: ClientAddr,
    /// The listener of the connection.
    pub listener: Arc<Listener>,
    /// The denial.
    pub reason: RefusedReason,
    /// The entry that refused it, if one did.
    pub rule: Option<RuleId>,
}

/// Judges a source: the policy first, so that a source that is not on the list learns nothing else. `all` are the seats of
/// the process.
///
/// # Errors
/// The connection, to be refused.
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

/// One client's place, in the process and at its listener; given back when dropped.
#[derive(Debug)]
pub(crate) struct ClientPlace {
    all: Arc<Seat>,
    listener: Arc<ListenerState>,
    _source: SourcePlace,
}

impl ClientPlace {
    /// The source's own limits first: who exceeds them is told so, and takes no place from others.
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
