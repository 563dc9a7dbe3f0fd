//! One worker: a thread with its own runtime, its sessions, and the upstream connections they use. Nothing that happens on
//! the command path leaves it.

pub mod clock;
pub mod table;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::UnixSeconds;
use portcullis_session::Plan;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::clock::Clock;
use self::table::{Signal, Table};
use crate::audit::Audit;
use crate::config::Config;
use crate::connection::admit::Admitted;
use crate::connection::refuse::Lingering;
use crate::connection::relay::Pace;
use crate::connection::serve;
use crate::metrics::{ClosedReason, Metrics, WorkerStats};
use crate::net::buffer::Pool;

/// How often deadlines are looked at. Timeouts are seconds long: they may be late by this much.
const TICK: Duration = Duration::from_millis(250);

/// With the buffers exhausted, a session that held its share this long without moving a byte is cut.
const STARVED_FOR: Duration = Duration::from_secs(2);

/// So many at most are cut at one tick for those who wait for buffers.
const CUT_AT_ONCE: usize = 16;

/// When the drain's time is over, the sessions have this long to see it and to report their end.
const FAREWELL: Duration = Duration::from_millis(500);

/// What all threads share. Immutable, but for what counts.
#[derive(Debug)]
pub struct Shared {
    /// The config in force.
    pub config: Config,
    /// For each listener, what holds for its clients.
    pub plans: Box<[Arc<Plan>]>,
    /// Counters of the whole process.
    pub metrics: Arc<Metrics>,
    /// Where connections are reported.
    pub audit: Audit,
    /// How many clients there may be: `limits.clients`, or what the open files have room for.
    pub clients: u64,
}

/// What a worker is told from outside.
#[derive(Debug)]
pub enum Order {
    /// Serve these.
    Serve(Vec<(u64, Admitted)>),
    /// Finish what is in flight, and end when nothing is left or this long has passed.
    Drain(Duration),
}

/// One worker's own state.
#[derive(Debug)]
pub struct Worker {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// This worker's counters.
    pub stats: Arc<WorkerStats>,
    /// This worker's buffers.
    pub pool: Pool,
    /// What each listener's clients are given time for.
    pub paces: Box<[Rc<Pace>]>,
    /// This worker's sessions.
    pub table: Table,
    /// Connections that wait for their last bytes to arrive.
    pub lingering: Lingering,
    /// This worker's time.
    pub clock: Clock,
    short_since: Cell<Option<Instant>>,
}

/// Runs a worker until it has drained. `index` counts workers from 0.
pub async fn run(shared: Arc<Shared>, index: usize, mut orders: mpsc::Receiver<Order>) {
    let worker = Rc::new(Worker::new(shared, index));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop_at = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Serve(admitted)) => {
                    for (id, admitted) in admitted {
                        spawn_local(serve(Rc::clone(&worker), id, admitted));
                    }
                    // Sessions that start now stop like those that were there.
                    if stop_at.is_some() {
                        worker.table.signal_all(Signal::Drain);
                    }
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
    fn new(shared: Arc<Shared>, index: usize) -> Self {
        let all = usize::try_from(shared.config.limits().buffers()).unwrap_or(usize::MAX);
        let listeners = shared.config.listeners().iter();
        Self {
            stats: shared.metrics.worker(index),
            pool: Pool::new(all / shared.config.workers().max(1)),
            paces: listeners.map(|listener| Rc::new(Pace::of(&shared.config, listener))).collect(),
            table: Table::default(),
            lingering: Lingering::default(),
            clock: Clock::start(),
            short_since: Cell::new(None),
            shared,
        }
    }

    /// What a coarse clock can do for all sessions at once, so that none needs a timer.
    fn tick(&self) {
        let now = self.clock.now();
        self.table.wake_due(now);
        self.table.cut_expired(wall_clock());
        self.relieve();
    }

    /// At the cap of the buffers reading stops. Where that lasts, those go who hold most and move nothing, one for each
    /// that waits.
    fn relieve(&self) {
        if !self.pool.is_short() {
            return self.short_since.set(None);
        }
        let since = self.short_since.get().unwrap_or_else(Instant::now);
        self.short_since.set(Some(since));
        if since.elapsed() >= STARVED_FOR {
            let enough = self.pool.waiting().min(CUT_AT_ONCE);
            self.table.cut_fattest(enough, self.clock.now(), STARVED_FOR);
        }
        self.pool.wake_all();
    }
}

/// Wall-clock time, for entries with an `until`.
pub fn wall_clock() -> UnixSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixSeconds(since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(i64::MAX))
}
