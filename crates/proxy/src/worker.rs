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
use crate::connection::serve;
use crate::metrics::{ClosedReason, Metrics, WorkerStats};
use crate::net::buffer::Pool;

/// How often deadlines are looked at. Timeouts are seconds long: they may be late by this much.
const TICK: Duration = Duration::from_millis(250);

/// With the buffers exhausted, a session that held its share this long without moving a byte is cut.
const STARVED_FOR: Duration = Duration::from_secs(2);

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
            if worker.table.is_empty() || Instant::now() >= at {
                break;
            }
        }
    }
    worker.table.signal_all(Signal::Cut(ClosedReason::Drain));
    // One turn of the runtime for the sessions to see it and report.
    tokio::task::yield_now().await;
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize) -> Self {
        let all = usize::try_from(shared.config.limits().buffers()).unwrap_or(usize::MAX);
        Self {
            stats: shared.metrics.worker(index),
            pool: Pool::new(all / shared.config.workers().max(1)),
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

    /// At the cap of the buffers reading stops. Where that lasts, who holds most and moves nothing goes.
    fn relieve(&self) {
        if !self.pool.is_short() {
            return self.short_since.set(None);
        }
        let since = self.short_since.get().unwrap_or_else(Instant::now);
        self.short_since.set(Some(since));
        if since.elapsed() >= STARVED_FOR {
            self.table.cut_fattest(self.clock.now(), STARVED_FOR);
        }
        self.pool.wake_all();
    }
}

/// Wall-clock time, for entries with an `until`.
pub fn wall_clock() -> UnixSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixSeconds(since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(i64::MAX))
}
