//! Accepts and answers requests, within limits.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use portcullis_acl::ClientAddr;
use portcullis_config::{AdminBind, Tcp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::net::ready::ReadySockets;
use crate::net::socket::{BindError, SocketFile, listen_tcp, listen_unix};
use crate::platform::{UnixListener, peer_user};

use super::routes::router;
use super::{AdminState, events};

/// A monitor, a person or two and an orchestrator need fewer; each takes a descriptor from the clients' share.
const MAX_CONNECTIONS: usize = 32;
/// A request is a few hundred bytes sent at once.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of a request and its response. The largest response, the metrics page, is a few hundred KiB.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// hyper's least.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// Out of descriptors, accepting again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin endpoint's listening socket.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: socket2::Socket,
    file: Option<SocketFile>,
}

impl Bound {
    /// Binds and listens, so that a port in use is known before anything is served. A socket that listens already is
    /// taken.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub(crate) fn bind(bind: &AdminBind, tcp: &Tcp, ready: &mut ReadySockets) -> Result<Self, BindError> {
        Self::listen(bind, tcp, ready).map_err(|source| BindError {
            owner: "admin".to_owned(),
            bind: bind.into(),
            source,
        })
    }

    fn listen(bind: &AdminBind, tcp: &Tcp, ready: &mut ReadySockets) -> io::Result<Self> {
        if let Some((socket, file)) = ready.take(&bind.into(), tcp)? {
            return Ok(Self { socket, file });
        }
        Ok(match bind {
            AdminBind::Tcp(addr) => Self { socket: listen_tcp(*addr, false, tcp)?, file: None },
            AdminBind::Unix(file) => {
                Self { socket: listen_unix(file)?, file: Some(SocketFile::at(file.path())?) }
            }
        })
    }

    /// Returns a further descriptor of the socket for another process.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub(crate) fn share(&self) -> io::Result<socket2::Socket> {
        self.socket.try_clone()
    }

    /// Leaves the file of a unix socket to the process that has taken the socket over.
    pub(crate) fn give_away(&self) {
        if let Some(file) = &self.file {
            file.give_away();
        }
    }

    /// Returns the address; with port 0 in the config, the port that was given.
    #[cfg(test)]
    pub(crate) fn tcp_addr(&self) -> Option<std::net::SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }
}

/// Answers until `shutdown`, and runs the upkeep of the metrics and the sampling for the page; then closes open connections. Needs a runtime with
/// I/O and time.
///
/// # Errors
/// The runtime cannot take the socket.
pub(crate) async fn serve(
    bound: Rc<Bound>,
    state: Arc<AdminState>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = Listener::of(&bound)?;
    let mut upkeep = pin!(Arc::clone(&state.process.metrics).run_upkeep());
    let mut sampling = pin!(events::run(Arc::clone(&state)));
    let router = router(state);
    let mut open = Open::default();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = &mut upkeep => {}
            () = &mut sampling => {}
            accepted = listener.accept(&router) => match accepted {
                Ok((connection, task)) => open.add(connection, task),
                Err(error) => {
                    tracing::debug!(%error, "the admin endpoint cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn of(bound: &Bound) -> io::Result<Self> {
        let socket = bound.socket.try_clone()?;
        Ok(match bound.file {
            None => Self::Tcp(TcpListener::from_std(socket.into())?),
            Some(_) => Self::Unix(UnixListener::from_std(socket.into())?),
        })
    }

    async fn accept(&self, router: &Router) -> io::Result<(Connection, AbortHandle)> {
        let (connection, task) = match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let connection = Connection::new(ClientAddr::from_socket(peer));
                (connection.clone(), tokio::spawn(answer(stream, connection, router.clone())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = peer_user(&stream);
                let connection = Connection { uid, ..Connection::new(ClientAddr::unix()) };
                (connection.clone(), tokio::spawn(answer(stream, connection, router.clone())))
            }
        };
        Ok((connection, task.abort_handle()))
    }
}

/// One connection of the endpoint, as its handler sees it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    from: ClientAddr,
    /// The user of the peer, on a unix socket.
    uid: Option<u32>,
    state: Arc<ConnectionState>,
}

#[derive(Debug, Default)]
struct ConnectionState {
    /// Whether the answer has no end, because it shows events.
    lasts: AtomicBool,
    stop: Notify,
}

impl Connection {
    pub(super) fn new(from: ClientAddr) -> Self {
        Self { from, uid: None, state: Arc::default() }
    }

    /// Returns the address of the client.
    pub(super) fn from(&self) -> ClientAddr {
        self.from
    }

    /// Returns the user of the peer, as a number. `None` if the peer is not on a unix socket.
    pub(super) fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// Keeps the connection open for longer than a request may take, until [`Self::stop`].
    pub(super) fn keep_open(&self) {
        self.state.lasts.store(true, Relaxed);
    }

    /// Closes the connection, even if its client does not read.
    pub(super) fn stop(&self) {
        self.state.stop.notify_one();
    }

    fn lasts(&self) -> bool {
        self.state.lasts.load(Relaxed)
    }

    /// Waits until the connection must be closed.
    async fn over(&self) {
        if timeout(CONNECTION_TIMEOUT, self.state.stop.notified()).await.is_err() && self.lasts() {
            self.state.stop.notified().await;
        }
    }
}

/// Serves one request: keeping connections open would let an idle one take a slot.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
    router: Router,
) {
    let service = TowerToHyperService::new(router.layer(Extension(connection.clone())));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // Whatever went wrong, it is the other side's, and closing is all there is to do.
        _ = served => {}
        () = connection.over() => {}
    }
}

/// The connections that are open, oldest first.
#[derive(Default)]
struct Open(VecDeque<(Connection, AbortHandle)>);

impl Open {
    /// An honest request is over within milliseconds, so the oldest of too many is one that is held open. Connections
    /// that show events are few, and are not closed for others.
    fn add(&mut self, connection: Connection, task: AbortHandle) {
        self.0.retain(|(_, open)| !open.is_finished());
        while self.0.len() >= MAX_CONNECTIONS {
            let oldest = self.0.iter().position(|(open, _)| !open.lasts());
            let Some((_, oldest)) = oldest.and_then(|place| self.0.remove(place)) else { break };
            oldest.abort();
        }
        self.0.push_back((connection, task));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, task)| task.abort());
    }
}
