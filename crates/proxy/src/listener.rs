//! The public side: one thread that accepts, judges, and hands what it admits to the workers.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::ClientAddr;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::config::Bind;
use crate::connection::admit::{Admitted, Refused, Seats, admit};
use crate::connection::identify::Identified;
use crate::connection::refuse::{Lingering, refuse};
use crate::metrics::{AcceptStats, WorkerStats};
use crate::net::socket::{Socket, listen_tcp, listen_unix};
use crate::worker::{Order, Shared, wall_clock};

/// So many connections are accepted before the workers are woken and others get their turn.
const BATCH: usize = 64;

/// Out of descriptors or memory, accepting pauses this long at first, and twice as long each time until the maximum:
/// retried at once, it would burn a core (tokio issue 3529).
const BACK_OFF: Duration = Duration::from_millis(5);
const MAX_BACK_OFF: Duration = Duration::from_millis(100);

/// A socket that listens for one listener of the config.
#[derive(Debug)]
pub struct Bound {
    socket: socket2::Socket,
    listener: usize,
    unix: Option<PathBuf>,
}

impl Bound {
    /// Binds one address of a listener.
    ///
    /// # Errors
    /// Those of the system.
    pub fn bind(shared: &Shared, listener: usize, bind: &Bind) -> io::Result<Self> {
        let (socket, unix) = match bind {
            Bind::Tcp { addr, v6only } => (listen_tcp(*addr, *v6only, shared.config.limits().tcp())?, None),
            Bind::Unix(path) => (listen_unix(path)?, Some(path.clone())),
        };
        Ok(Self { socket, listener, unix })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(path) = &self.unix {
            // Left behind, the file would be taken over at the next start.
            let _ = std::fs::remove_file(path);
        }
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

/// Accepts on all sockets until `stop`; then closes them.
pub async fn run(shared: Arc<Shared>, bound: Vec<Bound>, desks: Vec<Desk>, stop: oneshot::Receiver<()>) {
    let gate = Rc::new(Gate::new(shared, desks));
    let tasks: Vec<_> = bound
        .into_iter()
        .map(|bound| {
            let gate = Rc::clone(&gate);
            spawn_local(async move {
                if let Err(error) = gate.accept_on(bound).await {
                    tracing::error!(%error, "a listening socket failed");
                }
            })
        })
        .collect();
    // A sender that is gone says stop as well.
    let _ = stop.await;
    for task in tasks {
        task.abort();
        // Aborted tasks report so; there is nothing else to learn.
        let _ = task.await;
    }
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
            let mut admitted: Vec<Vec<(u64, Admitted)>> = self.desks.iter().map(|_| Vec::new()).collect();
            let mut exhausted = None;
            for _ in 0..BATCH {
                match acceptfrom_with(&bound.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    Ok((fd, peer)) => {
                        back_off = BACK_OFF;
                        let from = if bound.unix.is_some() {
                            Some(ClientAddr::unix())
                        } else {
                            peer.and_then(|peer| peer.try_into().ok()).map(ClientAddr::from_socket)
                        };
                        // A peer without an address has left already.
                        let Some(from) = from else { continue };
                        let socket = Socket::from_fd(fd, bound.unix.is_some());
                        self.judge(Identified::by_peer(socket, from, bound.listener), &mut admitted);
                    }
                    Err(Errno::WOULDBLOCK) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)) => {
                        exhausted = Some(errno);
                        break;
                    }
                    // The connection failed, not the socket: a client that left, or its network.
                    Err(_) => {}
                }
            }
            self.hand_over(admitted);
            if let Some(errno) = exhausted {
                self.turn_away(&bound.socket, errno, back_off);
                sleep(back_off).await;
                back_off = (back_off * 2).min(MAX_BACK_OFF);
            }
        }
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

    /// Out of descriptors: what waits in the backlog is closed rather than left hanging.
    fn turn_away(&self, socket: &socket2::Socket, errno: Errno, pause: Duration) {
        tracing::warn!(
            error = %io::Error::from(errno),
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "cannot accept: raise the limit of open files (LimitNOFILE, ulimit -n) or lower limits.clients"
        );
        let mut reserved = self.reserve.borrow_mut();
        if reserved.take().is_some() {
            for _ in 0..BATCH {
                if acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC).is_err() {
                    break;
                }
            }
        }
        *reserved = reserve();
    }
}

fn reserve() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}
