//! Accepts and answers requests, within limits.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use portcullis_config::{AdminBind, Tcp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::net::socket::{BindError, SocketFile, listen_tcp, listen_unix};

use super::AdminState;
use super::routes::router;

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
    /// Binds and listens, so that a port in use is known before anything is served.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub(crate) fn bind(bind: &AdminBind, tcp: &Tcp) -> Result<Self, BindError> {
        Self::listen(bind, tcp).map_err(|source| BindError {
            owner: "admin".to_owned(),
            bind: bind.into(),
            source,
        })
    }

    fn listen(bind: &AdminBind, tcp: &Tcp) -> io::Result<Self> {
        Ok(match bind {
            AdminBind::Tcp(addr) => Self { socket: listen_tcp(*addr, false, tcp)?, file: None },
            AdminBind::Unix(file) => {
                Self { socket: listen_unix(file)?, file: Some(SocketFile::at(file.path())?) }
            }
        })
    }

    /// Returns the address; with port 0 in the config, the port that was given.
    #[cfg(test)]
    pub(crate) fn tcp_addr(&self) -> Option<std::net::SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }
}

/// Answers until `shutdown`, and runs the upkeep of the metrics; then closes open connections. Needs a runtime with
/// I/O and time.
///
/// # Errors
/// The runtime cannot take the socket.
pub(crate) async fn serve(
    bound: Bound,
    state: Arc<AdminState>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = Listener::of(&bound)?;
    let mut upkeep = pin!(Arc::clone(&state.process.metrics).run_upkeep());
    let router = router(state);
    let mut open = Open::default();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = &mut upkeep => {}
            accepted = listener.accept(&router) => match accepted {
                Ok(connection) => open.add(connection),
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

    async fn accept(&self, router: &Router) -> io::Result<AbortHandle> {
        let router = router.clone();
        Ok(match self {
            Self::Tcp(listener) => tokio::spawn(answer(listener.accept().await?.0, router)).abort_handle(),
            Self::Unix(listener) => tokio::spawn(answer(listener.accept().await?.0, router)).abort_handle(),
        })
    }
}

/// Serves one request: keeping connections open would let an idle one take a slot.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Whatever went wrong, it is the other side's, and closing is all there is to do.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

/// The connections that are open, oldest first.
#[derive(Default)]
struct Open(VecDeque<AbortHandle>);

impl Open {
    /// An honest request is over within milliseconds, so the oldest of too many is one that is held open.
    fn add(&mut self, connection: AbortHandle) {
        self.0.retain(|open| !open.is_finished());
        while self.0.len() >= MAX_CONNECTIONS {
            if let Some(oldest) = self.0.pop_front() {
                oldest.abort();
            }
        }
        self.0.push_back(connection);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}
