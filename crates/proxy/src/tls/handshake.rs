//! TLS handshakes, with limits on their time, their number and the delay that they cause for others.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::rate::Source;
use portcullis_config::tls::{ClientTls, ServerTls, TlsFault};
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use super::places::{HandshakePlace, place};
use crate::net::stream::{Handshake, Stream, TlsStream};

/// The content type of a handshake record. A client that speaks TLS begins with it, and a client of Redis never does.
const HANDSHAKE: u8 = 0x16;

/// The content types of TLS. A server may begin with an alert.
const RECORDS: std::ops::RangeInclusive<u8> = 0x14..=0x17;

/// The bytes of the first read, enough for the first message of most clients. The rest of a larger one is read later.
const FIRST_READ: usize = 2 * 1024;

thread_local! {
    /// The turn of the handshakes of this thread. One handshake at a time runs a step.
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// The failed handshake of a client.
#[derive(Debug)]
pub(crate) struct HandshakeFailure {
    /// The fault.
    pub fault: TlsFault,
    /// The socket, if the client was sent an alert that it may still be reading; otherwise `None`.
    pub stream: Option<Stream>,
}

/// Performs the server's side: waits for the client's first byte, then for a place, and then does the handshake.
/// `within` is the limit for all of it except the wait for a place. That wait may take as long again, because a
/// client cannot shorten it.
///
/// # Errors
/// The client does not finish the handshake, or too many clients are in their handshakes.
pub(crate) async fn accept(
    mut socket: Stream,
    tls: &ServerTls,
    source: Option<Source>,
    within: Duration,
) -> Result<Box<TlsStream>, Box<HandshakeFailure>> {
    let late = |_| silent(TlsFault::Timeout(within));
    let begun = Instant::now();
    let first = timeout(within, first_bytes(&mut socket)).await.map_err(late)?.map_err(silent)?;
    let left = within.saturating_sub(begun.elapsed());
    let _place = place_within(source, within).await.map_err(silent)?;
    let deadline = Instant::now() + left;
    let stream = TlsStream::server(socket, Arc::clone(tls.config()), first);
    let mut stream = Box::new(stream.map_err(|error| silent(error.into()))?);
    match timeout_at(deadline, shake_hands(&mut stream)).await.map_err(late)? {
        Ok(()) => Ok(stream),
        Err(fault) => Err(told(fault, stream)),
    }
}

/// Waits for a place, at most for `within`.
async fn place_within(source: Option<Source>, within: Duration) -> Result<HandshakePlace, TlsFault> {
    match timeout(within, place(source)).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) | Err(_) => Err(TlsFault::Crowded),
    }
}

/// Performs the client's side, within the time `within`.
///
/// # Errors
/// The server does not finish the handshake.
pub(crate) async fn connect(
    socket: Stream,
    tls: &ClientTls,
    name: ServerName<'static>,
    within: Duration,
) -> Result<TlsStream, TlsFault> {
    let mut stream = TlsStream::client(socket, Arc::clone(tls.config()), name)?;
    match timeout(within, shake_hands(&mut stream)).await {
        Ok(done) => done.map(|()| stream),
        Err(_) => Err(TlsFault::Timeout(within)),
    }
}

/// Creates the failure of a client that was sent no alert.
fn silent(fault: TlsFault) -> Box<HandshakeFailure> {
    Box::new(HandshakeFailure { fault, stream: None })
}

/// Creates the failure. A client that violated the protocol was sent an alert, so the stream is kept.
fn told(fault: TlsFault, stream: Box<TlsStream>) -> Box<HandshakeFailure> {
    let stream = matches!(fault, TlsFault::Protocol(_)).then_some(Stream::Tls(stream));
    Box::new(HandshakeFailure { fault, stream })
}

/// Performs a handshake in steps, each in its turn.
async fn shake_hands(stream: &mut TlsStream) -> Result<(), TlsFault> {
    loop {
        let step = in_turn(|| stream.shake_hands()).await?;
        send(stream).await?;
        if step == Handshake::Done {
            return Ok(());
        }
        if poll_fn(|cx| stream.poll_recv(cx)).await.map_err(TlsFault::Io)? == 0 {
            return Err(TlsFault::Gone);
        }
        if !stream.begins_with(RECORDS) {
            return Err(TlsFault::Plain);
        }
    }
}

async fn send(stream: &mut TlsStream) -> Result<(), TlsFault> {
    poll_fn(|cx| stream.poll_send(cx)).await.map_err(TlsFault::Io)
}

/// Waits for the client's first bytes and reads them. They must begin a TLS handshake.
async fn first_bytes(socket: &mut Stream) -> Result<Vec<u8>, TlsFault> {
    // The buffer is allocated only when there is something to read: a client that sends nothing costs no memory.
    poll_fn(|cx| socket.poll_readable(cx)).await.map_err(|_| TlsFault::Absent)?;
    let mut first = vec![0; FIRST_READ];
    match poll_fn(|cx| socket.poll_read(cx, &mut first)).await {
        Ok(n @ 1..) => {
            first.truncate(n);
            // The client may wait for a place, so the bytes are kept in as little memory as possible.
            first.shrink_to_fit();
        }
        Ok(_) | Err(_) => return Err(TlsFault::Absent),
    }
    if first.first() == Some(&HANDSHAKE) { Ok(first) } else { Err(TlsFault::Plain) }
}

/// Runs one step of a handshake. All other tasks of the thread run before the next step of any handshake. A step takes
/// up to a millisecond (RSA), as much as hundreds of commands.
async fn in_turn<T>(step: impl FnOnce() -> T) -> T {
    // The result is never `None`, because the semaphore is never closed.
    let _turn = TURN.with(Arc::clone).acquire_owned().await.ok();
    let done = step();
    yield_now().await;
    done
}
