//! One worker: a thread with its own runtime, its sessions and their upstream connections. A command and its reply
//! never leave the worker's thread.

pub(crate) mod clients;
pub(crate) mod deadlines;
mod expiry;
pub(crate) mod listener_view;
pub(crate) mod run;
pub(crate) mod table;
pub(crate) mod views;
pub(crate) mod watch;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::{Decision, UnixSeconds};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::listener_view::{Change, ListenerView};
use self::table::{Entry, Reckoning, Table, Verdict};
use self::views::Views;
use self::watch::Watch;
use crate::admission::admit::{Admitted, Revoked};
use crate::admission::refuse::Lingering;
use crate::clock::{Clock, wall_clock};
use crate::generation::store::Generation;
use crate::metrics::{ClosedReason, ListenerCounts};
use crate::net::buffer::BufferPool;
use crate::process::Process;
use crate::upstream::shared::{Pools, Resources, SharedClients};
use crate::upstream::target::Target;
use crate::upstream::view::View;

/// The time without progress after which a session that holds buffer memory may be cut, if that memory is exhausted.
const STARVED_FOR: Duration = Duration::from_secs(2);

/// The most sessions that one tick cuts because other sessions wait for memory.
const CUT_AT_ONCE: usize = 16;

/// An order to a worker from another thread.
#[derive(Debug)]
pub(crate) enum Order {
    /// Serve these connections, each with its number.
    Serve(Vec<(u64, Admitted)>),
    /// Adopt this configuration: cut the sessions that it does not admit, and send their number.
    Adopt(Arc<Generation>, oneshot::Sender<u64>),
    /// An upstream has other addresses.
    View(Arc<View>),
    /// Answer, as a sign of life.
    Respond(oneshot::Sender<()>),
    /// Finish the commands that are in progress. The worker ends when no session is left, or after this time, and sends
    /// the totals.
    Drain(Duration, oneshot::Sender<Drained>),
}

/// The sessions that a drain ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    /// The sessions that ended by themselves: no command was in progress, or the client disconnected.
    pub finished: u64,
    /// The sessions that were cut when the time was over.
    pub cut: u64,
}

/// The state of one worker.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The state that all threads share.
    pub process: Arc<Process>,
    /// The resources that the worker's connections use.
    pub resources: Rc<Resources>,
    /// The upstream connections that the worker's clients share.
    pub pools: Pools,
    /// The worker's sessions.
    pub table: Table,
    /// The commands that the configuration wants to see.
    pub watch: Watch,
    /// The closed connections whose last bytes are still being sent.
    pub lingering: Lingering,
    index: usize,
    generation: RefCell<Arc<Generation>>,
    /// The number of sessions that `generation` cuts.
    reckoning: RefCell<Rc<Reckoning>>,
    listeners: RefCell<HashMap<Arc<str>, Rc<ListenerView>>>,
    views: Views,
    /// The start of the current shortage of buffer memory. `None` if there is none.
    short_since: Cell<Option<Instant>>,
}

impl Worker {
    fn new(process: Arc<Process>, index: usize) -> Self {
        let generation = process.store.current();
        let worker = Self {
            resources: Rc::new(Resources {
                stats: process.metrics.worker(index),
                pool: BufferPool::new(share_of_buffers(&generation)),
                shared_clients: SharedClients::default(),
                clock: Clock::start(),
            }),
            pools: Pools::default(),
            table: Table::default(),
            lingering: Lingering::default(),
            watch: Watch::of(generation.config()),
            index,
            generation: RefCell::new(Arc::clone(&generation)),
            reckoning: RefCell::default(),
            listeners: RefCell::default(),
            views: Views::default(),
            short_since: Cell::new(None),
            process,
        };
        worker.take_over(&generation);
        worker
    }

    /// Returns the configuration that the worker has adopted.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.generation.borrow())
    }

    /// Returns the listener with this name in [`Self::generation`].
    pub(crate) fn listener_view(&self, name: &str) -> Option<Rc<ListenerView>> {
        self.listeners.borrow().get(name).map(Rc::clone)
    }

    /// Records the refusal of a client that an earlier configuration admitted and the worker's configuration does
    /// not. The client never became a session.
    pub(crate) fn turn_away(&self, revoked: &Revoked) {
        let counts = ListenerCounts::new(Arc::clone(revoked.listener.series()), self.index);
        counts.opened();
        counts.closed(ClosedReason::Revoked);
        let generation = self.generation.borrow();
        let rule = revoked.rule.and_then(|rule| generation.policy().rule(rule));
        self.process.audit.refused(revoked.from, revoked.listener.name(), revoked.reason, rule.as_ref());
    }

    /// Adopts a configuration, unless it is older than the current one or the same.
    fn adopt(&self, generation: &Arc<Generation>) {
        if generation.number() <= self.generation.borrow().number() {
            return;
        }
        self.generation.replace(Arc::clone(generation));
        self.resources.pool.set_cap(share_of_buffers(generation));
        self.watch.adopt(generation.config());
        let changes = self.take_over(generation);
        let now = wall_clock();
        let reckoning = self.table.judge_all(generation, |entry| judge(entry, generation, &changes, now));
        self.reckoning.replace(reckoning);
    }

    /// Sends the number of sessions that a configuration cuts. The worker may have adopted the configuration before
    /// this order came, with a connection that the configuration admitted. Then the sessions are cut already. Sends 0 if
    /// the worker has adopted a later configuration.
    fn tell_cut(&self, generation: &Generation, answer: oneshot::Sender<u64>) {
        if generation.number() == self.generation.borrow().number() {
            self.reckoning.borrow().tell(answer);
        } else {
            Reckoning::default().tell(answer);
        }
    }

    /// Updates the listeners to those of `generation`. Returns the changes of each of them.
    fn take_over(&self, generation: &Generation) -> HashMap<Arc<str>, Change> {
        let mut changes = HashMap::new();
        let mut listeners = self.listeners.borrow_mut();
        let tcp = generation.config().limits().tcp();
        for listener in generation.listeners() {
            let name = listener.name();
            let upstream = listener.upstream();
            let (view, hints) = (self.views.cell(upstream), self.process.hints.of(upstream.name()));
            let target = Target::of(listener, view, hints, tcp, self.index);
            let change = match listeners.get(name) {
                Some(view) => view.renew(listener, target),
                None => {
                    let view = ListenerView::of(listener, target, self.index);
                    listeners.insert(Arc::clone(name), Rc::new(view));
                    Change { terms: false, deadlines: false }
                }
            };
            changes.insert(Arc::clone(name), change);
        }
        listeners.retain(|name, _| changes.contains_key(name));
        self.views.retain(generation.config());
        changes
    }

    /// Adopts the next view of an upstream. Connections to addresses that the upstream no longer has take no new
    /// commands. They are closed when no reply is pending on them.
    fn adopt_view(&self, view: Arc<View>) {
        let upstream = Arc::clone(view.upstream());
        let cell = self.views.take(view);
        self.pools.leave_former_addresses(&cell);
        self.table.tell_moved(&upstream);
    }

    /// Does the periodic work for all sessions, so that no session needs a timer of its own.
    fn tick(&self) {
        let now = self.resources.clock.now();
        self.table.wake_due(now);
        self.pools.tick(now);
        self.cut_expired(wall_clock());
        self.relieve();
    }

    /// Relieves a shortage of buffer memory. At the limit of the memory, sessions wait before they read. If the
    /// shortage lasts, the worker cuts sessions that make no progress, those with the most memory first. It cuts one
    /// session for each session that waits, and at most [`CUT_AT_ONCE`] in one tick.
    fn relieve(&self) {
        if !self.resources.pool.is_short() {
            return self.short_since.set(None);
        }
        let since = self.short_since.get().unwrap_or_else(Instant::now);
        self.short_since.set(Some(since));
        if since.elapsed() >= STARVED_FOR {
            let enough = self.resources.pool.waiting().min(CUT_AT_ONCE);
            self.table.cut_fattest(enough, self.resources.clock.now(), STARVED_FOR);
        }
        self.resources.pool.wake_all();
    }
}

/// Returns the verdict on a session under another configuration.
fn judge(
    entry: &Entry,
    generation: &Generation,
    changes: &HashMap<Arc<str>, Change>,
    now: UnixSeconds,
) -> Verdict {
    let Some(change) = changes.get(entry.listener.name()).filter(|change| !change.terms) else {
        return Verdict::Cut;
    };
    let listener = entry.listener.current();
    if entry.sender.as_ref().is_some_and(|sender| !listener.trusts(&sender.addr, now)) {
        return Verdict::Cut;
    }
    let Decision::Allow(permit) = listener.judge(&entry.from, now) else {
        return Verdict::Cut;
    };
    let user = entry.user();
    match listener.admits(user.as_deref(), &entry.from, now) {
        Ok(user_permit) => {
            let rules =
                entry.admitted_by.borrow().rules_differ(generation, entry.listener.name(), user.as_deref());
            Verdict::Stay { permit, user_permit, wake: change.deadlines, rules }
        }
        Err(_) => Verdict::Cut,
    }
}

/// Returns the bytes of memory that the buffers of one worker may take.
fn share_of_buffers(generation: &Generation) -> usize {
    let config = generation.config();
    let all = usize::try_from(config.limits().buffers()).unwrap_or(usize::MAX);
    all / generation.workers().max(1)
}
