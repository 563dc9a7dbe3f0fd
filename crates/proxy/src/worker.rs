//! One worker: a thread with its own runtime, its sessions, and the upstream connections they use. Nothing that happens on
//! the command path leaves it.

pub(crate) mod clients;
pub(crate) mod deadlines;
pub(crate) mod listener_view;
pub(crate) mod table;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::{Decision, UnixSeconds};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::listener_view::{Change, ListenerView};
use self::table::{Entry, Reckoning, Signal, Table, Verdict};
use crate::admission::admit::{Admitted, Revoked};
use crate::admission::refuse::Lingering;
use crate::clock::{Clock, wall_clock};
use crate::generation::store::Generation;
use crate::metrics::{ClosedReason, ListenerCounts};
use crate::net::buffer::BufferPool;
use crate::process::Process;
use crate::upstream::shared::{Pools, Resources, SharedClients};

/// How often deadlines are looked at. Timeouts are seconds long: they may be late by this much.
const TICK: Duration = Duration::from_millis(250);

/// With the buffers exhausted, a session that held its share this long without moving a byte is cut.
const STARVED_FOR: Duration = Duration::from_secs(2);

/// So many at most are cut at one tick for those who wait for buffers.
const CUT_AT_ONCE: usize = 16;

/// When the drain's time is over, the sessions have this long to see it and to report their end.
const FAREWELL: Duration = Duration::from_millis(500);

/// An order to a worker from outside.
#[derive(Debug)]
pub(crate) enum Order {
    /// Serve these.
    Serve(Vec<(u64, Admitted)>),
    /// Another config is in force: cut whom it does not admit, and say how many were.
    Adopt(Arc<Generation>, oneshot::Sender<u64>),
    /// Finish what is in flight, and end when nothing is left or this long has passed.
    Drain(Duration),
}

/// One worker's own state.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The state that all threads share.
    pub process: Arc<Process>,
    /// The resources that its connections use.
    pub resources: Rc<Resources>,
    /// Upstream connections that its clients share.
    pub pools: Pools,
    /// This worker's sessions.
    pub table: Table,
    /// Connections that wait for their last bytes to arrive.
    pub lingering: Lingering,
    index: usize,
    generation: RefCell<Arc<Generation>>,
    /// The number of sessions that this configuration cuts.
    reckoning: RefCell<Rc<Reckoning>>,
    listeners: RefCell<HashMap<Arc<str>, Rc<ListenerView>>>,
    short_since: Cell<Option<Instant>>,
}

/// Serves an admitted connection to its end, in tasks of the thread that calls it.
pub(crate) type Serve = fn(Rc<Worker>, u64, Admitted);

/// Runs a worker until it has drained. `index` counts workers from 0.
pub(crate) async fn run(
    process: Arc<Process>,
    index: usize,
    mut orders: mpsc::Receiver<Order>,
    serve: Serve,
) {
    let worker = Rc::new(Worker::new(process, index));
    if let Some(asks) = worker.process.questions.take(index) {
        spawn_local(clients::answer(Rc::clone(&worker), asks));
    }
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop_at = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Serve(admitted)) => {
                    for (id, admitted) in admitted {
                        worker.adopt(admitted.client().generation());
                        serve(Rc::clone(&worker), id, admitted);
                    }
                    // Sessions that start now stop like those that were there.
                    if stop_at.is_some() {
                        worker.table.signal_all(Signal::Drain);
                    }
                }
                Some(Order::Adopt(generation, done)) => {
                    worker.adopt(&generation);
                    worker.tell_cut(&generation, done);
                }
                Some(Order::Drain(within)) => {
                    stop_at = stop_at.or_else(|| Some(Instant::now() + within));
                    worker.table.signal_all(Signal::Drain);
                }
                None => stop_at = Some(Instant::now()),
            },
            _ = ticks.tick() => worker.tick(),
        }
        if let Some(at) = stop_at {
            worker.table.signal_all(Signal::Drain);
            // Those that linger have ended, but the last that was written may not have arrived.
            let over = worker.table.is_empty() && worker.lingering.is_empty();
            if over || Instant::now() >= at {
                break;
            }
        }
    }
    worker.table.signal_all(Signal::Cut(ClosedReason::Drain));
    let farewell = Instant::now() + FAREWELL;
    while !worker.table.is_empty() && Instant::now() < farewell {
        tokio::task::yield_now().await;
    }
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
            index,
            generation: RefCell::new(Arc::clone(&generation)),
            reckoning: RefCell::default(),
            listeners: RefCell::default(),
            short_since: Cell::new(None),
            process,
        };
        worker.take_over(&generation);
        worker
    }

    /// The config that this worker's sessions are judged by.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.generation.borrow())
    }

    /// The listener of that name in [`Self::generation`].
    pub(crate) fn listener_view(&self, name: &str) -> Option<Rc<ListenerView>> {
        self.listeners.borrow().get(name).map(Rc::clone)
    }

    /// Reports a client that another config admitted and the one in force does not, before it became a session.
    pub(crate) fn turn_away(&self, revoked: &Revoked) {
        let counts = ListenerCounts::new(Arc::clone(revoked.listener.series()), self.index);
        counts.opened();
        counts.closed(ClosedReason::Revoked);
        let generation = self.generation.borrow();
        let rule = revoked.rule.and_then(|rule| generation.policy().rule(rule));
        self.process.audit.refused(revoked.from, revoked.listener.name(), revoked.reason, rule.as_ref());
    }

    /// Goes over to a config, unless it is older than the one that is followed.
    fn adopt(&self, generation: &Arc<Generation>) {
        if generation.number() <= self.generation.borrow().number() {
            return;
        }
        self.generation.replace(Arc::clone(generation));
        self.resources.pool.set_cap(share_of_buffers(generation));
        let changes = self.take_over(generation);
        let now = wall_clock();
        let reckoning = self.table.judge_all(generation, |entry| judge(entry, generation, &changes, now));
        self.reckoning.replace(reckoning);
    }

    /// Says how many sessions a config cuts, or has cut: a connection that it admitted may have brought it here before its
    /// order came.
    fn tell_cut(&self, generation: &Generation, answer: oneshot::Sender<u64>) {
        if generation.number() == self.generation.borrow().number() {
            self.reckoning.borrow().tell(answer);
        } else {
            Reckoning::default().tell(answer);
        }
    }

    /// Brings the listeners up to date; says what changed for each that there is now.
    fn take_over(&self, generation: &Generation) -> HashMap<Arc<str>, Change> {
        let mut changes = HashMap::new();
        let mut listeners = self.listeners.borrow_mut();
        let tcp = generation.config().limits().tcp();
        for listener in generation.listeners() {
            let name = listener.name();
            let change = match listeners.get(name) {
                Some(view) => view.renew(listener, tcp, self.index),
                None => {
                    let view = ListenerView::of(listener, tcp, self.index);
                    listeners.insert(Arc::clone(name), Rc::new(view));
                    Change { terms: false, deadlines: false }
                }
            };
            changes.insert(Arc::clone(name), change);
        }
        listeners.retain(|name, _| changes.contains_key(name));
        changes
    }

    /// Does the work for all sessions that a coarse clock can do, so that none needs a timer.
    fn tick(&self) {
        let now = self.resources.clock.now();
        self.table.wake_due(now);
        self.pools.tick(now);
        self.table.cut_expired(wall_clock());
        self.relieve();
    }

    /// At the cap of the buffers reading stops. Where that lasts, those go who hold most and move nothing, one for each
    /// that waits.
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

/// The fate of a session under another configuration.
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
    if entry.sender.as_ref().is_some_and(|sender| !listener.trusts(sender, now)) {
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

/// Returns the memory that one worker's buffers may take.
fn share_of_buffers(generation: &Generation) -> usize {
    let config = generation.config();
    let all = usize::try_from(config.limits().buffers()).unwrap_or(usize::MAX);
    all / generation.workers().max(1)
}
