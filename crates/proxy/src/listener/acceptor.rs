//! Accepts connections: finds and judges the source of each, and hands the connection to a worker or refuses it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_acl::{ClientAddr, Decision, RuleId, UnixSeconds};
use portcullis_config::Bind;
use portcullis_resp::proxy_header::HeaderSource;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep};

use super::headers::Awaited;
use super::queue::{Accepted, NotAccepted, Queue, Reserve};
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

/// The number of connections that are accepted in one turn. Then the workers are woken and other tasks of the thread
/// run. In a flood, the clients of a worker that also accepts wait a quarter of a millisecond: the time to refuse
/// this many connections.
const BATCH: usize = 16;

/// The first pause of a socket when the process has no descriptors or no memory left. Each further pause is twice as
/// long, up to the maximum. Without a pause the loop would occupy a core (tokio issue 3529).
const BACK_OFF: Duration = Duration::from_millis(5);
const MAX_BACK_OFF: Duration = Duration::from_millis(100);

/// The interval of the log line while accepting fails.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The state of the accept thread.
pub(super) struct Acceptor {
    process: Arc<Process>,
    generation: RefCell<Arc<Generation>>,
    handles: Vec<WorkerHandle>,
    /// The number of connections that each worker has been given since the start.
    given: Vec<Cell<u64>>,
    lingering: Lingering,
    next_id: Cell<u64>,
    /// A descriptor that is closed for a moment when descriptors run out. It makes it possible to accept and close
    /// the connections in the backlog.
    reserve: RefCell<Reserve>,
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
            reserve: RefCell::new(Reserve::new()),
            complained: Cell::new(None),
        }
    }

    /// Puts a generation and its limits in force.
    pub(super) fn adopt(&self, generation: Arc<Generation>) {
        generation.limit(&self.process.seats);
        self.generation.replace(generation);
    }

    /// Returns the listener that has this address in the configuration in force. `None` if no listener has it.
    pub(super) fn listener_of(&self, bind: &Bind) -> Option<Arc<Listener>> {
        let generation = self.generation.borrow();
        let mut listeners = generation.listeners().iter();
        listeners.find(|listener| listener.settings().binds().contains(bind)).map(Arc::clone)
    }

    /// Accepts connections until the socket fails.
    pub(super) async fn accept_on(self: &Rc<Self>, listening: &ListenSocket) -> io::Result<()> {
        let queue = Queue::of(&listening.bound.socket)?;
        let mut back_off = BACK_OFF;
        loop {
            let mut ready = queue.ready().await?;
            match self.accept_some(listening, &queue) {
                Backlog::Empty => {
                    ready.clear_ready();
                    back_off = BACK_OFF;
                }
                // A socket that is always ready never yields to other tasks by itself.
                Backlog::More => {
                    yield_now().await;
                    back_off = BACK_OFF;
                }
                Backlog::Stuck(error) => {
                    self.turn_away(&queue, &error);
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(MAX_BACK_OFF);
                }
            }
        }
    }

    /// Accepts and judges one batch of connections, and hands the admitted ones to the workers.
    fn accept_some(self: &Rc<Self>, listening: &ListenSocket, queue: &Queue<'_>) -> Backlog {
        let generation = Arc::clone(&self.generation.borrow());
        let listener = Arc::clone(&listening.listener.borrow());
        let now = wall_clock();
        let is_unix = listening.bound.file.is_some();
        let mut admitted: Vec<Vec<(u64, Admitted)>> = self.handles.iter().map(|_| Vec::new()).collect();
        let mut backlog = Backlog::More;
        for _ in 0..BATCH {
            match queue.accept(is_unix) {
                Ok(Accepted { socket, from }) => {
                    // A peer without an address has already disconnected.
                    let Some(from) = from else { continue };
                    match sender(&listener, &from, now) {
                        Sender::Itself => {
                            let identified = Identified::by_peer(socket, from, Arc::clone(&listener));
                            self.judge(identified, &generation, now, &mut admitted);
                        }
                        Sender::Trusted(within) => self.read_header(listening, socket, from, within),
                        Sender::Unwanted => {
                            self.refuse_sender(&listener, from, RefusedReason::ProxyHeader);
                        }
                    }
                }
                Err(NotAccepted::Empty) => {
                    backlog = Backlog::Empty;
                    break;
                }
                Err(NotAccepted::Gone) => {}
                Err(NotAccepted::Failed(error)) => {
                    backlog = Backlog::Stuck(error);
                    break;
                }
            }
        }
        self.hand_over(admitted);
        backlog
    }

    /// Reads the PROXY header of a trusted sender in a task, and then judges the client.
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
        // The task does not hold `listening`: the socket would stay open, and its port in use, until the header is
        // complete.
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
        // In the meantime a reload may have closed the socket, or may trust other senders.
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

    /// Counts and reports a connection that is closed without a reply.
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

    /// Returns the batch of the worker with the fewest sessions, including those that wait in its queue or in this
    /// turn's batch. So each worker gets its share of many simultaneous connections with their handshakes.
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

    /// Logs that accepting fails. If descriptors are missing, accepts and closes waiting connections, so that they do
    /// not hang.
    fn turn_away(&self, queue: &Queue<'_>, error: &io::Error) {
        if self.complained.get().is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained.set(Some(Instant::now()));
            tracing::warn!(
                %error,
                "cannot accept connections: raise the limit of open files (LimitNOFILE, ulimit -n) or lower limits.clients"
            );
        }
        self.reserve.borrow_mut().close_waiting(queue, error, BATCH);
    }
}

/// The role of a peer on a listener.
enum Sender {
    /// The peer is the client itself.
    Itself,
    /// The peer is a trusted sender, which must send a PROXY header within this time.
    Trusted(Duration),
    /// The peer is not a trusted sender, and the listener accepts no other peers.
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

/// Counts and records a client that the shadow lists would refuse. The client is served all the same.
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

/// Counts the admitted client for the group of its entry.
fn count_hit(generation: &Generation, rule: RuleId) {
    let group = generation.policy().rule(rule).and_then(|rule| rule.group_index);
    if let Some(series) = group.and_then(|group| generation.series().groups.get(group)) {
        series.hit();
    }
}

/// The result of one turn of accepting.
enum Backlog {
    Empty,
    More,
    Stuck(io::Error),
}
