//! Accepting: identify and judge each connection, and hand it to a worker or refuse it.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_acl::{ClientAddr, Decision, RuleId, UnixSeconds};
use portcullis_config::Bind;
use portcullis_resp::proxy_header::HeaderSource;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::unix::AsyncFd;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep};

use super::headers::Awaited;
use super::{ListenSocket, WorkerHandle};
use crate::admission::admit::{Admitted, Client, Refused, admit};
use crate::admission::identify::{HeaderFault, Identified, read_header};
use crate::admission::refuse::{Lingering, refuse};
use crate::clock::wall_clock;
use crate::generation::listener::Listener;
use crate::generation::store::Generation;
use crate::metrics::RefusedReason;
use crate::net::socket::Socket;
use crate::process::Process;
use crate::worker::Order;

/// So many connections are accepted before the workers are woken and others get their turn: in a flood the clients of a
/// worker that accepts as well wait a quarter of a millisecond, which is what refusing so many takes.
const BATCH: usize = 16;

/// Out of descriptors or memory, accepting pauses this long at first, and twice as long each time until the maximum:
/// retried at once, it would burn a core (tokio issue 3529).
const BACK_OFF: Duration = Duration::from_millis(5);
const MAX_BACK_OFF: Duration = Duration::from_millis(100);

/// A lasting failure to accept is logged once in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The state of the accept thread.
pub(super) struct Acceptor {
    process: Arc<Process>,
    generation: RefCell<Arc<Generation>>,
    handles: Vec<WorkerHandle>,
    /// How many connections each of them was ever given.
    given: Vec<Cell<u64>>,
    lingering: Lingering,
    next_id: Cell<u64>,
    /// Given up for a moment when descriptors run out, so that the connections which wait can be closed.
    reserve: RefCell<Option<OwnedFd>>,
    complained: Cell<Option<Instant>>,
}

impl Acceptor {
    pub(super) fn new(process: Arc<Process>, handles: Vec<WorkerHandle>) -> Self {
        let generation = process.store.current();
        generation.limit(&process.seats);
        Self {
            generation: RefCell::new(generation),
            process,
            given: handles.iter().map(|_| Cell::default()).collect(),
            handles,
            lingering: Lingering::default(),
            next_id: Cell::new(1),
            reserve: RefCell::new(reserve()),
            complained: Cell::new(None),
        }
    }

    /// Judges by this config from now on.
    pub(super) fn adopt(&self, generation: Arc<Generation>) {
        generation.limit(&self.process.seats);
        self.generation.replace(generation);
    }

    /// Which listener of the config in force binds that address.
    pub(super) fn listener_of(&self, bind: &Bind) -> Option<Arc<Listener>> {
        let generation = self.generation.borrow();
        let mut listeners = generation.listeners().iter();
        listeners.find(|listener| listener.settings().binds().contains(bind)).map(Arc::clone)
    }

    /// Accepts until the socket fails.
    pub(super) async fn accept_on(self: &Rc<Self>, listening: &ListenSocket) -> io::Result<()> {
        // tokio's own listeners register each accepted socket with this thread's reactor; ours belong to the workers.
        #[expect(unsafe_code, reason = "tokio has no safe call for a descriptor that is borrowed")]
        // SAFETY: the descriptor is borrowed from `listening`, which outlives `socket`; a `BorrowedFd` always returns the same
        // descriptor.
        let socket = unsafe { AsyncFd::register(listening.bound.socket.as_fd()) }?;
        let mut back_off = BACK_OFF;
        loop {
            let mut ready = socket.readable().await?;
            match self.accept_some(listening) {
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
                    self.turn_away(&listening.bound.socket, errno);
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(MAX_BACK_OFF);
                }
            }
        }
    }

    /// Accepts and judges a batch, and hands over what is admitted.
    fn accept_some(self: &Rc<Self>, listening: &ListenSocket) -> Backlog {
        let generation = Arc::clone(&self.generation.borrow());
        let listener = Arc::clone(&listening.listener.borrow());
        let now = wall_clock();
        let is_unix = listening.bound.file.is_some();
        let mut admitted: Vec<Vec<(u64, Admitted)>> = self.handles.iter().map(|_| Vec::new()).collect();
        let mut backlog = Backlog::More;
        for _ in 0..BATCH {
            match acceptfrom_with(&listening.bound.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((fd, peer)) => {
                    let from = if is_unix {
                        Some(ClientAddr::unix())
                    } else {
                        peer.and_then(|peer| peer.try_into().ok()).map(ClientAddr::from_socket)
                    };
                    // A peer without an address has left already.
                    let Some(from) = from else { continue };
                    match sender(&listener, &from, now) {
                        Sender::Itself => {
                            let socket = Socket::from_fd(fd, is_unix);
                            let identified = Identified::by_peer(socket, from, Arc::clone(&listener));
                            self.judge(identified, &generation, now, &mut admitted);
                        }
                        Sender::Trusted(within) => {
                            self.read_header(listening, Socket::from_fd(fd, is_unix), from, within);
                        }
                        Sender::Unwanted => {
                            self.refuse_sender(&listener, from, RefusedReason::ProxyHeader);
                        }
                    }
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

    /// Judges a trusted sender's connection when its header is in.
    fn read_header(
        self: &Rc<Self>,
        listening: &ListenSocket,
        socket: Socket,
        from: ClientAddr,
        within: Duration,
    ) {
        let Some(awaited) = Awaited::enter(&listening.headers, from) else {
            return self.refuse_sender(&listening.listener.borrow(), from, RefusedReason::Limit);
        };
        // Not the door itself, whose socket would stay open until the header is in, and its port taken.
        let (acceptor, bind) = (Rc::clone(self), listening.bound.bind.clone());
        spawn_local(async move {
            let read = read_header(socket, within).await;
            drop(awaited);
            acceptor.judge_header(&bind, from, read);
        });
    }

    fn judge_header(&self, bind: &Bind, from: ClientAddr, read: Result<(Socket, HeaderSource), HeaderFault>) {
        let generation = Arc::clone(&self.generation.borrow());
        let now = wall_clock();
        // Meanwhile another config may have closed the door, or trust somebody else.
        let Some(listener) = self.listener_of(bind) else { return };
        let trusted = matches!(sender(&listener, &from, now), Sender::Trusted(_));
        let identified = read
            .and_then(|(socket, source)| Identified::by_header(socket, from, source, Arc::clone(&listener)));
        match identified {
            Ok(identified) if trusted => {
                let mut admitted: Vec<Vec<(u64, Admitted)>> =
                    self.handles.iter().map(|_| Vec::new()).collect();
                self.judge(identified, &generation, now, &mut admitted);
                self.hand_over(admitted);
            }
            Ok(_) => self.refuse_sender(&listener, from, RefusedReason::ProxyHeader),
            Err(fault) => {
                tracing::debug!(sender = %from, %fault, "closed: no valid PROXY header");
                self.refuse_sender(&listener, from, RefusedReason::ProxyHeader);
            }
        }
    }

    /// Counts and reports a connection that is closed without a word.
    fn refuse_sender(&self, listener: &Listener, from: ClientAddr, reason: RefusedReason) {
        listener.state().series().refused(reason);
        self.process.audit.refused(from, listener.name(), reason, None);
    }

    fn judge(
        &self,
        identified: Identified,
        generation: &Arc<Generation>,
        now: UnixSeconds,
        admitted: &mut [Vec<(u64, Admitted)>],
    ) {
        match admit(identified, generation, &self.process.seats, now) {
            Ok(admittee) => {
                let client = admittee.client();
                client.listener().state().series().accepted();
                judge_shadow(client, now);
                count_hit(generation, client.permit().rule());
                let id = self.next_id.get();
                self.next_id.set(id + 1);
                if let Some(batch) = self.least_loaded(admitted) {
                    batch.push((id, admittee));
                }
            }
            Err(refused) => self.refuse(*refused, generation),
        }
    }

    fn refuse(&self, refused: Refused, generation: &Generation) {
        let rule = refused.rule.and_then(|rule| generation.policy().rule(rule));
        let listener = &refused.listener;
        listener.state().series().refused(refused.reason);
        self.process.audit.refused(refused.from, listener.name(), refused.reason, rule.as_ref());
        let style = listener.settings().refusal();
        refuse(refused, style, &self.lingering);
    }

    /// The batch of the worker with the fewest sessions, those on their way and of this turn included: of many that come at
    /// once, and have a handshake to make, each worker gets its share.
    fn least_loaded<'b>(
        &self,
        admitted: &'b mut [Vec<(u64, Admitted)>],
    ) -> Option<&'b mut Vec<(u64, Admitted)>> {
        let loads =
            self.handles.iter().zip(&self.given).map(|(handle, given)| handle.stats.load(given.get()));
        let (_, batch) =
            loads.zip(admitted).min_by_key(|(load, batch)| load.saturating_add(batch.len() as u64))?;
        Some(batch)
    }

    fn hand_over(&self, admitted: Vec<Vec<(u64, Admitted)>>) {
        for ((handle, given), batch) in self.handles.iter().zip(&self.given).zip(admitted) {
            let count = batch.len() as u64;
            if count == 0 {
                continue;
            }
            match handle.orders.try_send(Order::Serve(batch)) {
                Ok(()) => given.set(given.get() + count),
                Err(error) => {
                    tracing::error!(%error, "a worker does not take its connections; they are closed");
                }
            }
        }
    }

    /// Where descriptors are what is missing, what waits in the backlog is closed rather than left hanging.
    fn turn_away(&self, socket: &socket2::Socket, errno: Errno) {
        if self.complained.get().is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained.set(Some(Instant::now()));
            tracing::warn!(
                error = %io::Error::from(errno),
                "cannot accept connections: raise the limit of open files (LimitNOFILE, ulimit -n) or lower limits.clients"
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

/// The meaning of a peer's address on a listener.
enum Sender {
    /// The peer is the client.
    Itself,
    /// The peer sends a header that names the client, within this time.
    Trusted(Duration),
    /// Only those who say who the client is may connect, and it is none of them.
    Unwanted,
}

fn sender(listener: &Listener, peer: &ClientAddr, now: UnixSeconds) -> Sender {
    let settings = listener.settings();
    let Some(proxy_protocol) = settings.proxy_protocol() else { return Sender::Itself };
    if listener.trusts(peer, now) {
        Sender::Trusted(settings.limits().timeouts().proxy_header())
    } else if proxy_protocol.only() {
        Sender::Unwanted
    } else {
        Sender::Itself
    }
}

/// Counts a client that the shadow lists would refuse, and does nothing else.
fn judge_shadow(client: &Client, now: UnixSeconds) {
    let listener = client.listener();
    if let Some(Decision::Deny(denial)) = listener.judge_shadow(&client.from(), now) {
        let state = listener.state();
        state.series().shadow_denied();
        state.shadow().note(client.from(), SystemTime::now());
        tracing::debug!(
            source = %client.from(),
            listener = %state.name(),
            reason = %denial.reason(),
            "the shadow lists would refuse this client"
        );
    }
}

/// An entry that admits counts for its group.
fn count_hit(generation: &Generation, rule: RuleId) {
    let group = generation.policy().rule(rule).and_then(|rule| rule.group_index);
    if let Some(series) = group.and_then(|group| generation.series().groups.get(group)) {
        series.hit();
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
