//! The TLS handshake with a client, if the listener has TLS.

use std::io;
use std::time::Duration;

use portcullis_acl::rate::Source;
use portcullis_config::tls::ServerTls;

use crate::admission::admit::{Admitted, Client};
use crate::net::stream::Stream;
use crate::tls::{self, HandshakeFailure};

/// A connection on which the client's commands follow: plain text, or TLS after the handshake.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(super) stream: Stream,
    pub(super) client: Client,
    /// The client's name in its certificate. `None` if the client showed no certificate, or one without a name.
    pub(super) peer: Option<String>,
    /// Whether that name logs the client in as the user with this name.
    pub(super) is_user: bool,
}

impl Secured {
    /// Returns the client's name in its certificate. Returns `None` if the client showed no certificate, or one
    /// without such a name.
    pub(crate) fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }
}

/// The reason why a connection cannot be secured.
#[derive(Debug)]
pub(crate) enum Insecure {
    /// The runtime cannot register the socket.
    Socket(io::Error),
    /// The handshake failed.
    Tls(Box<HandshakeFailure>),
}

/// Performs the handshake with the client, within the time `within`. Without `tls`, the bytes of the socket are the
/// client's commands.
///
/// # Errors
/// The handshake fails, or the runtime cannot register the socket.
pub(crate) async fn secure(
    admitted: Admitted,
    tls: Option<&ServerTls>,
    within: Duration,
) -> Result<Secured, Insecure> {
    let (socket, client) = admitted.into_parts();
    let plain = Stream::register(socket).map_err(Insecure::Socket)?;
    let Some(tls) = tls else { return Ok(Secured { stream: plain, client, peer: None, is_user: false }) };
    // Behind a load balancer, this is the client that the PROXY header names.
    let source = Source::of(client.from());
    // The handshake is boxed, so that its memory is not part of the session's future.
    let stream = Box::pin(tls::accept(plain, tls, source, within)).await.map_err(Insecure::Tls)?;
    let peer = tls.peer_name(stream.peer_certificates());
    Ok(Secured { stream: Stream::Tls(stream), client, peer, is_user: tls.names_users() })
}
