//! The side of the running process.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::{Bind, UnixSocket};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::message::{Answer, Block, Granted, Listening, RELEASE, Request, State, VERSIONS, line};
use super::{LONGEST_LINE, PATIENCE, make_directory};
use crate::admin;
use crate::listener::{AcceptorOrder, bind_all};
use crate::net::descriptors::send_with;
use crate::net::socket::{SocketFile, listen_unix};
use crate::process::Process;

/// Only the user of the process may connect. The credentials of the peer are checked as well.
const MODE: u32 = 0o600;

/// A take-over needs one connection. A few more may try.
const MOST_PEERS: usize = 4;

/// A request has some tens of bytes.
const LONGEST_REQUEST: u64 = 4 << 10;

/// The blocked sources of a listener that are passed on, those with the longest blocks first.
const MOST_BLOCKS: usize = 1000;

/// The attempts to listen again on an address that a peer has needed. A process ends within milliseconds.
const ATTEMPTS: usize = 50;

/// The pause after a failed accept, and between these attempts: the next one at once would fail as well.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// The parts of the process that a take-over concerns.
#[derive(Clone)]
pub(in crate::app) struct Shared {
    /// The state that has the blocked sources.
    pub process: Arc<Process>,
    /// The thread that has the sockets of the listeners.
    pub acceptor: mpsc::Sender<AcceptorOrder>,
    /// The socket of the admin endpoint.
    pub admin: Option<(Bind, Rc<admin::Bound>)>,
}

/// The socket on which the process offers its listening sockets to its successor.
pub(in crate::app) struct Offer {
    tasks: JoinSet<()>,
    taken: mpsc::Receiver<Taken>,
}

/// A successor that serves. It is told when this process has stopped accepting.
pub(in crate::app) struct Taken {
    /// The process.
    pub by: Peer,
    /// The successor is told when this is sent.
    pub stopped: oneshot::Sender<()>,
}

impl Offer {
    /// Listens at `path`. If that is not possible, logs why: the process serves without it.
    pub(in crate::app) fn start(path: Option<&Path>, shared: Shared) -> Self {
        let (tell, taken) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        if let Some(path) = path {
            match Self::listen(path) {
                Ok((listener, file)) => {
                    tasks.spawn_local(answer(listener, file, shared, tell));
                }
                Err(error) => tracing::warn!(
                    "cannot listen on {}: {error}{}; 'run --takeover' cannot replace this process",
                    path.display(),
                    hint(&error)
                ),
            }
        }
        Self { tasks, taken }
    }

    fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
        make_directory(path)?;
        let socket = listen_unix(&UnixSocket::at(path.to_owned()).with_mode(MODE))?;
        let file = SocketFile::at(path)?;
        Ok((UnixListener::from_std(socket.into())?, file))
    }

    /// Returns whether a successor can find this process.
    pub(in crate::app) fn is_open(&self) -> bool {
        !self.taken.is_closed()
    }

    /// Waits until another process serves in place of this one, and is still there. Cancellation-safe.
    pub(in crate::app) async fn taken(&mut self) -> Taken {
        while let Some(taken) = self.taken.recv().await {
            if !taken.stopped.is_closed() {
                return taken;
            }
        }
        // There is no socket any more.
        std::future::pending().await
    }

    /// Waits until the successor has been told that this process has stopped.
    pub(in crate::app) async fn finish(mut self) {
        // The limit is longer than that of the message.
        let _ = timeout(2 * PATIENCE, self.tasks.join_next()).await;
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process of this configuration runs)",
        _ => " (set takeover to a path that this user can write to, or to off)",
    }
}

/// The process at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Peer {
    process: i32,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 0 stands for a process in another namespace.
        match self.process {
            0 => f.write_str("a process that is not visible here"),
            process => write!(f, "process {process}"),
        }
    }
}

/// The reason why a take-over did not come about.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it runs as user {theirs}, and this process as user {ours}")]
    User { theirs: u32, ours: u32 },
    #[error("it sent no request within {PATIENCE:?}")]
    Silent,
    #[error("it closed the connection before it sent a request")]
    Gone,
    #[error("it sent no valid request")]
    Garbage,
    #[error("it does not speak version {VERSIONS:?} of the messages (it is release {0})")]
    Version(String),
    #[error("another take-over is in progress")]
    Busy,
    #[error("the listening sockets cannot be shared: {0}")]
    Unshared(io::Error),
    #[error("it got the sockets, and ended before it served")]
    Ended,
    #[error("it got the sockets, and did not serve within {PATIENCE:?}")]
    Late,
    #[error("the connection failed: {0}")]
    Broken(#[from] io::Error),
}

/// Answers peers until one of them serves in place of this process. Then the socket is closed, so that the successor can
/// listen there.
async fn answer(listener: UnixListener, file: SocketFile, shared: Shared, taken: mpsc::Sender<Taken>) {
    let busy = Rc::new(Cell::new(false));
    let mut peers = JoinSet::new();
    let (by, mut stream) = loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(_) if peers.len() >= MOST_PEERS => {
                    tracing::warn!("a take-over was refused: {MOST_PEERS} of them have begun already");
                }
                Ok((stream, _)) => {
                    peers.spawn_local(converse(stream, shared.clone(), Rc::clone(&busy)));
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a take-over");
                    sleep(PAUSE).await;
                }
            },
            Some(ended) = peers.join_next() => if let Ok(Some(successor)) = ended {
                break successor;
            },
        }
    };
    drop((listener, file));
    let (stopped, told) = oneshot::channel();
    if taken.send(Taken { by, stopped }).await.is_err() {
        return;
    }
    tokio::select! {
        biased;
        Ok(()) = told => {
            // A successor that is gone by now has served already.
            let _ = timeout(PATIENCE, stream.write_all(&line(&State::Stopped))).await;
        }
        // It sends nothing more. Its end is seen before this process stops.
        _ = stream.read_u8() => tracing::warn!(
            "a take-over by {by} failed: it ended before this process stopped accepting; this process goes on, and \
             'run --takeover' cannot replace it"
        ),
    }
}

/// Talks to one peer. Returns it once it serves, and logs the reason if it does not.
async fn converse(
    stream: UnixStream,
    shared: Shared,
    busy: Rc<Cell<bool>>,
) -> Option<(Peer, BufReader<UnixStream>)> {
    let credentials = socket_peercred(&stream);
    let peer = Peer { process: credentials.map_or(0, |peer| peer.pid.as_raw_nonzero().get()) };
    let user = credentials.map_or(u32::MAX, |peer| peer.uid.as_raw());
    let mut conversation = Conversation { stream: BufReader::new(stream), shared, busy };
    let Err(fault) = conversation.run(user).await else { return Some((peer, conversation.stream)) };
    tracing::warn!("a take-over by {peer} failed: {fault}; this process goes on");
    if let Fault::User { .. } | Fault::Garbage | Fault::Version(_) | Fault::Busy | Fault::Unshared(_) = fault
    {
        let refused = line(&Answer::Refused(fault.to_string()));
        // The peer may be gone.
        let _ = timeout(PATIENCE, conversation.stream.write_all(&refused)).await;
    }
    None
}

struct Conversation {
    stream: BufReader<UnixStream>,
    shared: Shared,
    /// Whether a peer has the sockets, and has not said yet that it serves.
    busy: Rc<Cell<bool>>,
}

/// Sets the mark while a peer has the sockets.
struct Turn(Rc<Cell<bool>>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Conversation {
    async fn run(&mut self, user: u32) -> Result<(), Fault> {
        let ours = geteuid().as_raw();
        if user != ours {
            return Err(Fault::User { theirs: user, ours });
        }
        let version = self.request().await?;
        if self.busy.replace(true) {
            return Err(Fault::Busy);
        }
        let _turn = Turn(Rc::clone(&self.busy));
        self.grant(version).await?;
        self.serving().await
    }

    async fn request(&mut self) -> Result<u32, Fault> {
        let text = timeout(PATIENCE, self.read_line()).await.map_err(|_| Fault::Silent)??;
        if text.is_empty() {
            return Err(Fault::Gone);
        }
        let request: Request = serde_json::from_slice(&text).map_err(|_| Fault::Garbage)?;
        request.version().ok_or(Fault::Version(request.release))
    }

    async fn grant(&mut self, version: u32) -> Result<(), Fault> {
        let sockets = self.shared.sockets().await.map_err(Fault::Unshared)?;
        let blocks = self.shared.blocks();
        let granted = Granted { version, release: RELEASE.to_owned(), sockets: sockets.len(), blocks };
        let send = async {
            self.stream.get_mut().write_all(&line(&Answer::Granted(granted))).await?;
            for (bind, socket) in &sockets {
                self.send_socket(&line(&Listening::from(bind)), socket).await?;
            }
            Ok::<(), io::Error>(())
        };
        timeout(PATIENCE, send).await.map_err(|_| Fault::Late)?.map_err(|_| Fault::Ended)
    }

    async fn send_socket(&mut self, line: &[u8], socket: &OwnedFd) -> io::Result<()> {
        let stream = self.stream.get_mut();
        let sent = stream.async_io(Interest::WRITABLE, || send_with(&*stream, line, socket.as_fd())).await?;
        stream.write_all(line.get(sent..).unwrap_or_default()).await
    }

    /// Waits until the peer serves, and releases addresses that it needs before. If it does not serve, they are listened
    /// on again.
    async fn serving(&mut self) -> Result<(), Fault> {
        let mut released = Vec::new();
        let served = timeout(PATIENCE, self.served(&mut released)).await.unwrap_or(Err(Fault::Late));
        if served.is_err() && !released.is_empty() {
            self.shared.reopen(&released).await;
        }
        served
    }

    async fn served(&mut self, released: &mut Vec<Bind>) -> Result<(), Fault> {
        loop {
            let text = self.read_line().await?;
            match serde_json::from_slice(&text) {
                Ok(State::Serving) => return Ok(()),
                Ok(State::Release(addresses)) => {
                    released.extend(self.shared.release(&addresses).await);
                    self.stream.write_all(&line(&State::Released)).await?;
                }
                _ if text.is_empty() => return Err(Fault::Ended),
                _ => return Err(Fault::Garbage),
            }
        }
    }

    /// Reads a line. It is empty if the peer has closed the connection.
    async fn read_line(&mut self) -> Result<Vec<u8>, Fault> {
        let mut text = Vec::new();
        match (&mut self.stream).take(LONGEST_REQUEST).read_until(b'\n', &mut text).await {
            Ok(_) if text.is_empty() || text.ends_with(b"\n") => Ok(text),
            Ok(_) => Err(Fault::Garbage),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Shared {
    /// Returns a further descriptor of each listening socket.
    async fn sockets(&self) -> io::Result<Vec<(Bind, OwnedFd)>> {
        let (answer, shared) = oneshot::channel();
        let gone = || io::Error::other("the accept thread does not answer");
        self.acceptor.send(AcceptorOrder::Share(answer)).await.map_err(|_| gone())?;
        let listeners = timeout(PATIENCE, shared).await.map_err(|_| gone())?.map_err(|_| gone())??;
        let mut sockets: Vec<_> =
            listeners.into_iter().map(|(bind, socket)| (bind, OwnedFd::from(socket))).collect();
        if let Some((bind, bound)) = &self.admin {
            sockets.push((bind.clone(), bound.share()?.into()));
        }
        Ok(sockets)
    }

    fn blocks(&self) -> Vec<Block> {
        /// Leaves room in the line for what stands before the blocks.
        const LONGEST: usize = LONGEST_LINE / 256;
        let generation = self.process.store.current();
        let listeners = generation.listeners().iter();
        let blocks = listeners.flat_map(|listener| {
            let blocks = listener.state().sources().blocks(MOST_BLOCKS);
            blocks.into_iter().map(|(source, left)| Block::new(listener.name(), source, left))
        });
        blocks.take(LONGEST).collect()
    }

    /// Closes the sockets of listeners with these addresses. Returns their addresses.
    async fn release(&self, addresses: &[Listening]) -> Vec<Bind> {
        let generation = self.process.store.current();
        let binds = generation.config().listeners().iter().flat_map(|listener| listener.binds());
        let binds: Vec<Bind> =
            binds.filter(|bind| addresses.contains(&Listening::from(*bind))).cloned().collect();
        let (done, told) = oneshot::channel();
        let order = AcceptorOrder::Release { binds: binds.clone(), done };
        if self.acceptor.send(order).await.is_ok() {
            let _ = told.await;
        }
        binds
    }

    /// Listens again on addresses that were released. The peer may need some time to end.
    async fn reopen(&self, binds: &[Bind]) {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let generation = self.process.store.current();
            match bind_all(generation.config(), |bind| binds.contains(bind)) {
                Ok(opened) => {
                    let (done, told) = oneshot::channel();
                    let order = AcceptorOrder::Adopt { generation, opened, done };
                    if self.acceptor.send(order).await.is_ok() {
                        let _ = told.await;
                    }
                    return;
                }
                Err(error) => last = Some(error),
            }
            sleep(PAUSE).await;
        }
        if let Some(error) = last {
            tracing::error!("an address that a take-over released stays closed: {error}");
        }
    }

    /// Stops accepting, and leaves the sockets to the successor.
    pub(in crate::app) async fn give_away(&self) {
        let (done, told) = oneshot::channel();
        if self.acceptor.send(AcceptorOrder::GiveAway(done)).await.is_ok() {
            // The accept thread is stuck if it does not answer. The successor serves all the same.
            let _ = timeout(PATIENCE, told).await;
        }
        if let Some((_, bound)) = &self.admin {
            bound.give_away();
        }
    }
}
