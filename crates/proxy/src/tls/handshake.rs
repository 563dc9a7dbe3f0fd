//! The handshake, bounded in time, in number and in what it takes from others.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use rustls::Error;
use rustls::pki_types::ServerName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::client::ClientTls;
use super::fault::TlsFault;
use super::server::ServerTls;
use crate::net::stream::{Stream, TlsStream};

/// So many handshakes of clients are held in memory at a time by one thread, at some 30 KiB each; more wait for a place.
/// A client that has not sent a byte yet has none.
const MAX_HANDSHAKES: usize = 256;

/// The content type of a handshake record: a client that speaks TLS begins with it, and no client of Redis does.
const HANDSHAKE: u8 = 0x16;

/// Content types of TLS; a server may begin with an alert.
const RECORDS: std::ops::RangeInclusive<u8> = 0x14..=0x17;

/// Enough for the first flight of most clients; the rest of a larger one is read as it comes.
const FIRST_READ: usize = 2 * 1024;

thread_local! {
    static PLACES: Arc<Semaphore> = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// A client without TLS, and why.
#[derive(Debug)]
pub struct Unshaken {
    /// Why.
    pub fault: TlsFault,
    /// Where the client was told, it may still be reading that.
    pub stream: Option<Stream>,
}

/// The server's side: waits for a client's first byte, and then takes it through the handshake. `within` bounds all of it.
///
/// # Errors
/// What the client did, or did not do.
pub async fn accept(
    mut socket: Stream,
    tls: &ServerTls,
    within: Duration,
) -> Result<Box<TlsStream>, Box<Unshaken>> {
    let attempt = async {
        let first = match first_bytes(&mut socket).await {
            Ok(first) => first,
            Err(fault) => return Err(silent(fault)),
        };
        let _place = permit(&PLACES).await;
        let stream = TlsStream::server(socket, Arc::clone(tls.config()), first);
        let mut stream = Box::new(stream.map_err(|error| silent(error.into()))?);
        match shake_hands(&mut stream).await {
            Ok(()) => Ok(stream),
            Err(fault) => Err(told(fault, stream)),
        }
    };
    let late = |_| Err(silent(TlsFault::Timeout(within)));
    timeout(within, attempt).await.unwrap_or_else(late)
}

/// The client's side.
///
/// # Errors
/// What the server did, or did not do.
pub async fn connect(
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

impl From<Error> for TlsFault {
    fn from(error: Error) -> Self {
        Self::Protocol(error)
    }
}

fn silent(fault: TlsFault) -> Box<Unshaken> {
    Box::new(Unshaken { fault, stream: None })
}

/// A fault of the protocol was told to the client, as an alert.
fn told(fault: TlsFault, stream: Box<TlsStream>) -> Box<Unshaken> {
    let stream = matches!(fault, TlsFault::Protocol(_)).then_some(Stream::Tls(stream));
    Box::new(Unshaken { fault, stream })
}

async fn shake_hands(stream: &mut TlsStream) -> Result<(), TlsFault> {
    loop {
        let done = in_turn(|| stream.shake_hands()).await?;
        say(stream).await?;
        if done {
            return Ok(());
        }
        if poll_fn(|cx| stream.poll_hear(cx)).await.map_err(TlsFault::Io)? == 0 {
            return Err(TlsFault::Gone);
        }
        if !stream.begins_with(RECORDS) {
            return Err(TlsFault::Plain);
        }
    }
}

async fn say(stream: &mut TlsStream) -> Result<(), TlsFault> {
    poll_fn(|cx| stream.poll_say(cx)).await.map_err(TlsFault::Io)
}

async fn first_bytes(socket: &mut Stream) -> Result<Vec<u8>, TlsFault> {
    // Not before there is something to read: who sends nothing costs nothing.
    poll_fn(|cx| socket.poll_readable(cx)).await.map_err(|_| TlsFault::Absent)?;
    let mut first = vec![0; FIRST_READ];
    match poll_fn(|cx| socket.poll_read(cx, &mut first)).await {
        Ok(n @ 1..) => first.truncate(n),
        Ok(_) | Err(_) => return Err(TlsFault::Absent),
    }
    if first.first() == Some(&HANDSHAKE) { Ok(first) } else { Err(TlsFault::Plain) }
}

/// A step of a handshake takes up to a millisecond (RSA), as much as hundreds of commands: only one is made before all
/// others on the thread have had their turn.
async fn in_turn<T>(step: impl FnOnce() -> T) -> T {
    let _turn = permit(&TURN).await;
    let done = step();
    yield_now().await;
    done
}

/// `None`: never, as nobody closes the semaphore.
async fn permit(of: &'static std::thread::LocalKey<Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    of.with(Arc::clone).acquire_owned().await.ok()
}
