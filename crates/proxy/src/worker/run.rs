//! The loop of one worker: orders, ticks and the drain.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::table::Signal;
use super::{Drained, Order, Worker, clients};
use crate::admission::admit::Admitted;
use crate::metrics::ClosedReason;
use crate::process::Process;

/// The interval at which the worker looks for expired deadlines. Timeouts are seconds long, so ending this much late
/// is acceptable.
const TICK: Duration = Duration::from_millis(250);

/// The time for sessions to notice that they are cut and to report their end, after the drain has ended.
const FAREWELL: Duration = Duration::from_millis(500);

/// A function that serves an admitted connection to its end, in tasks of the thread that calls it.
pub(crate) type Serve = fn(Rc<Worker>, u64, Admitted);

/// Runs a worker until it has drained. `index` is the number of the worker, counted from 0.
pub(crate) async fn run(
    process: Arc<Process>,
    index: usize,
    mut orders: mpsc::Receiver<Order>,
    serve: Serve,
) {
    let worker = Rc::new(Worker::new(process, index));
    answer_questions(&worker, index);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop_at = None;
    let mut drain: Option<Drain> = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Serve(admitted)) => {
                    if let Some(drain) = &mut drain {
                        drain.sessions += admitted.len() as u64;
                    }
                    for (id, admitted) in admitted {
                        worker.adopt(admitted.client().generation());
                        serve(Rc::clone(&worker), id, admitted);
                    }
                    // A session that starts during the drain has missed the order to drain.
                    if stop_at.is_some() {
                        worker.table.signal_all(Signal::Drain);
                    }
                }
                Some(Order::Adopt(generation, done)) => {
                    worker.adopt(&generation);
                    worker.tell_cut(&generation, done);
                }
                Some(Order::View(view)) => worker.adopt_view(view),
                Some(Order::Respond(done)) => drop(done.send(())),
                Some(Order::Drain(within, report)) => {
                    drain = drain.or_else(|| Some(Drain { sessions: worker.table.count_from(0), report }));
                    stop_at = stop_at.or_else(|| Some(Instant::now() + within));
                    worker.table.signal_all(Signal::Drain);
                }
                None => stop_at = Some(Instant::now()),
            },
            _ = ticks.tick() => worker.tick(),
        }
        if let Some(at) = stop_at {
            worker.table.signal_all(Signal::Drain);
            // A lingering connection no longer has a session, but its last bytes may not have arrived.
            let over = worker.table.is_empty() && worker.lingering.is_empty();
            if over || Instant::now() >= at {
                break;
            }
        }
    }
    if let Some(drain) = drain {
        drain.report(worker.table.count_from(0));
    }
    cut_all(&worker).await;
}

/// Starts to answer the questions about the clients of the worker.
fn answer_questions(worker: &Rc<Worker>, index: usize) {
    if let Some(asks) = worker.process.questions.take(index) {
        spawn_local(clients::answer(Rc::clone(worker), asks, clients::look));
    }
    if let Some(asks) = worker.process.rosters.take(index) {
        spawn_local(clients::answer(Rc::clone(worker), asks, clients::look_for_operator));
    }
}

/// A drain that has begun.
struct Drain {
    /// The sessions at the begin, and those that were admitted before and started later.
    sessions: u64,
    report: oneshot::Sender<Drained>,
}

impl Drain {
    /// Reports the end of the drain, at which `cut` sessions are left.
    fn report(self, cut: u64) {
        // The thread that sent the order may have ended.
        let _ = self.report.send(Drained { finished: self.sessions.saturating_sub(cut), cut });
    }
}

/// Ends the sessions that are left.
async fn cut_all(worker: &Worker) {
    worker.table.signal_all(Signal::Cut(ClosedReason::Drain));
    let farewell = Instant::now() + FAREWELL;
    while !worker.table.is_empty() && Instant::now() < farewell {
        tokio::task::yield_now().await;
    }
}
