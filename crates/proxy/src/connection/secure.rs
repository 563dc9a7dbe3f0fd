//! The transport under the protocol.

use std::io;
use std::time::Duration;

use portcullis_acl::rate::Source;
use portcullis_config::tls::ServerTls;

use crate::admission::admit::{Admitted, Client};
use crate::net::stream::Stream;
use crate::tls::{self, HandshakeFailure};

/// A connection whose bytes are the client's own.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(super) stream: Stream,
    pub(super) client: Client,
    /// The client's name in its certificate, if it showed one.
    pub(super) peer: Option<String>,
    /// Whether that makes it the user of that name.
    pub(super) is_user: bool,
}

impl Secured {
    /// Returns the client's name in its certificate. `None`: the client showed no certificate, or one without such a
    /// name.
    pub(crate) fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }
}

/// Why a connection cannot be secured.
#[derive(Debug)]
pub(crate) enum Insecure {
    /// A fault of the reactor.
    Socket(io::Error),
    /// The handshake failed.
    Tls(Box<HandshakeFailure>),
}

/// Takes the client through the handshake, which has `within` for it. A listener without TLS: the socket's bytes are the
/// client's.
///
/// # Errors
/// The client, the reactor.
pub(crate) async fn secure(
    admitted: Admitted,
    tls: Option<&ServerTls>,
    within: Duration,
) -> Result<Secured, Insecure> {
    let (socket, client) = admitted.into_parts();
    let plain = Stream::register(socket).map_err(Insecure::Socket)?;
    let Some(tls) = tls else { return Ok(Secured { stream: plain, client, peer: None, is_user: false }) };
    // Behind a load balancer: the client that the PROXY header names.
    let source = Source::of(client.from());
    // Apart: what a handshake needs is not to stay with the session.
    let stream = Box::pin(tls::accept(plain, tls, source, within)).await.map_err(Insecure::Tls)?;
    let peer = tls.peer_name(stream.peer_certificates());
    Ok(Secured { stream: Stream::Tls(stream), client, peer, is_user: tls.names_users() })
}
