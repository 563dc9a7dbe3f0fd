//! The public side: one thread that accepts, judges, and hands what it admits to the workers.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::ClientAddr;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};

use crate::config::Bind;
use crate::connection::admit::{Admitted, Refused, Seats, admit};
use crate::connection::identify::Identified;
use crate::connection::refuse::{Lingering, refuse};
use crate::metrics::{AcceptStats, WorkerStats};
use crate::net::socket::{Socket, SocketFile, listen_tcp, listen_unix};
use crate::worker::{Order, Shared, wall_clock};

/// So many connections are accepted before the workers are woken and others get their turn.
const BATCH: usize = 64;

/// Out of descriptors or memory, accepting pauses this long at first, and twice as long each time until the maximum:
/// retried at once, it would burn a core (tokio issue 3529).
const BACK_OFF: Duration = Duration::from_millis(5);
const MAX_BACK_OFF: Duration = Duration::from_millis(100);

/// A lasting failure to accept is logged once in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// A socket that listens for one listener of the config.
#[derive(Debug)]
pub struct Bound {
    socket: socket2::Socket,
    listener: usize,
    file: Option<SocketFile>,
}

impl Bound {
    /// Binds one address of a listener.
    ///
    /// # Errors
    /// Those of the system.
    pub fn bind(shared: &Shared, listener: usize, bind: &Bind) -> io::Result<Self> {
        let (socket, file) = match bind {
            Bind::Tcp { addr, v6only } => (listen_tcp(*addr, *v6only, shared.config.limits().tcp())?, None),
            Bind::Unix(path) => (listen_unix(path)?, Some(SocketFile::at(path)?)),
        };
        Ok(Self { socket, listener, file })
    }
}

/// Where admitted connections go.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The worker's queue.
    pub orders: mpsc::Sender<Order>,
    /// The worker's counters, for how many sessions it has.
    pub stats: Arc<WorkerStats>,
}

/// Accepts on all sockets until `stop`, or until one of them fails; then closes them.
pub async fn run(shared: Arc<Shared>, bound: Vec<Bound>, desks: Vec<Desk>, stop: oneshot::Receiver<()>) {
    let gate = Rc::new(Gate::new(shared, desks));
    let mut tasks = JoinSet::new();
    for bound in bound {
        let gate = Rc::clone(&gate);
        tasks.spawn_local(async move { gate.accept_on(bound).await });
    }
    tokio::select! {
        // A sender that is gone says stop as well.
        _ = stop => {}
        Some(ended) = tasks.join_next() => match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a listening socket failed"),
            Err(error) => tracing::error!(%error, "accepting failed"),
        },
    }
    tasks.shutdown().await;
}

/// What the accept thread knows.
struct Gate {
    shared: Arc<Shared>,
    desks: Vec<Desk>,
    seats: Seats,
    stats: AcceptStats,
    lingering: Lingering,
    next_id: Cell<u64>,
    /// Given up for a moment when descriptors run out, so that the connections which wait can be closed.
    reserve: RefCell<Option<OwnedFd>>,
    complained: Cell<Option<Instant>>,
}

impl Gate {
    fn new(shared: Arc<Shared>, desks: Vec<Desk>) -> Self {
        let config = &shared.config;
        let seats =
            Seats::new(shared.clients, config.listeners().iter().map(|listener| listener.limits().clients()));
        let stats = shared.metrics.accept();
        Self {
            shared,
            desks,
            seats,
            stats,
            lingering: Lingering::default(),
            next_id: Cell::new(1),
            reserve: RefCell::new(reserve()),
            complained: Cell::new(None),
        }
    }

    async fn accept_on(&self, bound: Bound) -> io::Result<()> {
        // tokio's own listeners register each accepted socket with this thread's reactor; ours belong to the workers.
        // SAFETY: the descriptor is borrowed from `bound`, which this function owns and which outlives `socket`; a
        // `BorrowedFd` always returns the same descriptor.
        let socket = unsafe { AsyncFd::register(bound.socket.as_fd()) }?;
        let mut back_off = BACK_OFF;
        loop {
            let mut ready = socket.readable().await?;
            match self.accept_some(&bound) {
                Backlog::Empty => {
                    ready.clear_ready();
                    back_off = BACK_OFF;
                }
                // Waiting for a descriptor that is ready never yields by itself.
                Backlog::More => {
                    yield_now().await;
                    back_off = BACK_OFF;
                }
                Backlog::Stuck(errno) => {
                    self.turn_away(&bound.socket, errno);
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(MAX_BACK_OFF);
                }
            }
        }
    }

    /// Accepts and judges a batch, and hands over what is admitted.
    fn accept_some(&self, bound: &Bound) -> Backlog {
        let mut admitted: Vec<Vec<(u64, Admitted)>> = self.desks.iter().map(|_| Vec::new()).collect();
        let mut backlog = Backlog::More;
        for _ in 0..BATCH {
            match acceptfrom_with(&bound.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((fd, peer)) => {
                    let from = if bound.file.is_some() {
                        Some(ClientAddr::unix())
                    } else {
                        peer.and_then(|peer| peer.try_into().ok()).map(ClientAddr::from_socket)
                    };
                    // A peer without an address has left already.
                    let Some(from) = from else { continue };
                    let socket = Socket::from_fd(fd, bound.file.is_some());
                    self.judge(Identified::by_peer(socket, from, bound.listener), &mut admitted);
                }
                Err(Errno::WOULDBLOCK) => {
                    backlog = Backlog::Empty;
                    break;
                }
                Err(errno) if is_of_the_connection(errno) => {}
                Err(errno) => {
                    backlog = Backlog::Stuck(errno);
                    break;
                }
            }
        }
        self.hand_over(admitted);
        backlog
    }

    fn judge(&self, identified: Identified, admitted: &mut [Vec<(u64, Admitted)>]) {
        match admit(identified, self.shared.config.policy(), &self.seats, wall_clock()) {
            Ok(client) => {
                self.stats.accepted(client.listener());
                let policy = self.shared.config.policy();
                if let Some(group) = policy.rule(client.permit().rule()).and_then(|rule| rule.group_index) {
                    self.stats.group_hit(group);
                }
                let id = self.next_id.get();
                self.next_id.set(id + 1);
                if let Some(batch) = self.quietest(admitted) {
                    batch.push((id, client));
                }
            }
            Err(refused) => self.refuse(*refused),
        }
    }

    fn refuse(&self, refused: Refused) {
        self.stats.refused(refused.listener, refused.reason);
        let policy = self.shared.config.policy();
        let rule = refused.rule.and_then(|rule| policy.rule(rule));
        self.shared.audit.refused(refused.from, refused.listener, refused.reason, rule.as_ref());
        if let Some(listener) = self.shared.config.listeners().get(refused.listener) {
            refuse(refused, listener.refusal(), &self.lingering);
        }
    }

    /// The batch of the worker with the fewest sessions, those of this turn included.
    fn quietest<'b>(&self, admitted: &'b mut [Vec<(u64, Admitted)>]) -> Option<&'b mut Vec<(u64, Admitted)>> {
        let quietest = self
            .desks
            .iter()
            .zip(admitted.iter())
            .enumerate()
            .min_by_key(|(_, (desk, batch))| desk.stats.sessions() + batch.len() as u64)
            .map(|(index, _)| index)?;
        admitted.get_mut(quietest)
    }

    fn hand_over(&self, admitted: Vec<Vec<(u64, Admitted)>>) {
        for (desk, batch) in self.desks.iter().zip(admitted) {
            if !batch.is_empty()
                && let Err(error) = desk.orders.try_send(Order::Serve(batch))
            {
                tracing::error!(%error, "a worker does not take its connections: they are closed");
            }
        }
    }

    /// Where descriptors are what is missing, what waits in the backlog is closed rather than left hanging.
    fn turn_away(&self, socket: &socket2::Socket, errno: Errno) {
        if self.complained.get().is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained.set(Some(Instant::now()));
            tracing::warn!(
                error = %io::Error::from(errno),
                "cannot accept: raise the limit of open files (LimitNOFILE, ulimit -n) or lower limits.clients"
            );
        }
        let mut reserved = self.reserve.borrow_mut();
        if matches!(errno, Errno::MFILE | Errno::NFILE) && reserved.take().is_some() {
            for _ in 0..BATCH {
                if acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC).is_err() {
                    break;
                }
            }
        }
        if reserved.is_none() {
            *reserved = reserve();
        }
    }
}

/// How a turn of accepting ended.
enum Backlog {
    Empty,
    More,
    Stuck(Errno),
}

/// Whether accepting failed for one connection, which is gone, and not for the socket. accept(2) names them.
fn is_of_the_connection(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::PERM
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
    )
}

fn reserve() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}
