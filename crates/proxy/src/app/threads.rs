//! The threads of the process: the workers and the accept thread, their start and their end.

use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use portcullis_config::message::Harmless;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use super::shutdown;
use crate::connection;
use crate::listener::{self, AcceptorOrder, Bound, WorkerHandle};
use crate::process::Process;
use crate::worker::{Drained, Order, run};

/// The number of batches of connections that may wait for a worker. A worker that leaves more of them waiting
/// is stuck.
const WAITING_BATCHES: usize = 1024;

/// The error of a thread or a runtime that cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {what}: {source}")]
pub(crate) struct ThreadError {
    what: &'static str,
    source: io::Error,
}

/// The system's words, and those of the program.
impl Harmless for ThreadError {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ThreadError {
    /// Returns a function that makes this error from an error of the system.
    pub(super) fn of(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what, source }
    }
}

/// Starts `workers` workers and the accept thread. The end of each thread is reported to `ended`.
pub(super) fn start(
    process: &Arc<Process>,
    workers: usize,
    bound: Vec<Bound>,
    ended: Ended,
) -> Result<(Vec<WorkerThread>, AcceptThread), ThreadError> {
    if workers == 1 {
        return start_lone_worker(process, bound, ended);
    }
    let workers = start_workers(process, workers, &ended)?;
    let handles = workers.iter().map(|worker| worker.handle.clone()).collect();
    let acceptor = start_acceptor(process, bound, handles, ended)?;
    Ok((workers, acceptor))
}

/// Tells the workers to drain, and waits for all threads. Returns the exit code, and what became of the sessions.
pub(super) async fn drain(
    acceptor: AcceptThread,
    workers: Vec<WorkerThread>,
    within: Duration,
) -> (ExitCode, Drained) {
    let AcceptThread { orders, thread } = acceptor;
    drop(orders);
    let mut threads = Vec::from_iter(thread);
    // The handles are kept until all threads have ended: a worker whose queue is closed stops at once.
    let mut handles = Vec::new();
    let mut reports = Vec::new();
    for WorkerThread { handle, thread } in workers {
        // If the queue of a worker is closed, the worker has already ended.
        let (report, totals) = oneshot::channel();
        let _ = handle.orders.send(Order::Drain(within, report)).await;
        reports.push(totals);
        handles.push(handle);
        threads.push(thread);
    }
    let exit = shutdown::finish(threads, within).await;
    let totals = reports.iter_mut().filter_map(|totals| totals.try_recv().ok());
    let sum = |sum: Drained, more: Drained| Drained {
        finished: sum.finished + more.finished,
        cut: sum.cut + more.cut,
    };
    (exit, totals.fold(Drained::default(), sum))
}

/// The thread of a worker, and the handle that sends orders to the worker.
pub(super) struct WorkerThread {
    pub(super) handle: WorkerHandle,
    thread: JoinHandle<()>,
}

fn start_workers(
    process: &Arc<Process>,
    count: usize,
    ended: &Ended,
) -> Result<Vec<WorkerThread>, ThreadError> {
    (0..count)
        .map(|index| {
            let (orders, queue) = mpsc::channel(WAITING_BATCHES);
            let stats = process.metrics.worker(index);
            let process = Arc::clone(process);
            let thread = spawn("a worker", ended.clone(), move |runtime| {
                runtime.block_on(run::run(process, index, queue, connection::serve))
            })?;
            Ok(WorkerThread { handle: WorkerHandle { orders, stats }, thread })
        })
        .collect()
}

/// Starts a single worker, which also accepts connections. With a second thread, each connection would cost a
/// wakeup to hand it over.
fn start_lone_worker(
    process: &Arc<Process>,
    bound: Vec<Bound>,
    ended: Ended,
) -> Result<(Vec<WorkerThread>, AcceptThread), ThreadError> {
    let (orders, queue) = mpsc::channel(WAITING_BATCHES);
    let (accept_orders, accept_queue) = mpsc::channel(1);
    let handle = WorkerHandle { orders, stats: process.metrics.worker(0) };
    let (process, handles, report) = (Arc::clone(process), vec![handle.clone()], ended.clone());
    let thread = spawn("a worker", ended, move |runtime| {
        runtime.block_on(async {
            // Both run as tasks: to wake a future on which the thread itself blocks, a system call would be
            // needed.
            let worker = spawn_local(run::run(Arc::clone(&process), 0, queue, connection::serve));
            spawn_local(async move {
                let _end = ThreadEnd { what: ACCEPTING, to: report };
                listener::run(process, bound, handles, accept_queue).await;
            });
            // A panic of the worker ends the thread, as it does for a worker that is not a task.
            if let Err(error) = worker.await
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
        });
    })?;
    Ok((vec![WorkerThread { handle, thread }], AcceptThread { orders: accept_orders, thread: None }))
}

/// The accept thread, and the channel that sends orders to it.
pub(super) struct AcceptThread {
    pub(super) orders: mpsc::Sender<AcceptorOrder>,
    /// `None` if the single worker accepts connections and there is no separate thread.
    thread: Option<JoinHandle<()>>,
}

fn start_acceptor(
    process: &Arc<Process>,
    bound: Vec<Bound>,
    handles: Vec<WorkerHandle>,
    ended: Ended,
) -> Result<AcceptThread, ThreadError> {
    let process = Arc::clone(process);
    let (orders, queue) = mpsc::channel(1);
    let thread = spawn(ACCEPTING, ended, move |runtime| {
        runtime.block_on(listener::run(process, bound, handles, queue))
    })?;
    Ok(AcceptThread { orders, thread: Some(thread) })
}

const ACCEPTING: &str = "the accept thread";

/// The channel to which the end of each thread is reported, even if the thread panicked.
pub(super) type Ended = mpsc::Sender<&'static str>;

struct ThreadEnd {
    what: &'static str,
    to: Ended,
}

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        // While the proxy drains, the receiver is gone.
        let _ = self.to.try_send(self.what);
    }
}

/// Starts as many threads as a proxy with so many workers has, and ends them.
///
/// # Errors
/// One cannot be started.
pub(super) fn try_start(workers: usize) -> Result<(), ThreadError> {
    let _control = runtime("the control thread")?;
    let count = if workers == 1 { 1 } else { workers + 1 };
    let (ended, _gone) = mpsc::channel(count);
    // All of them exist at the same time, as in the proxy.
    let hold = Arc::new(Mutex::new(()));
    let held = hold.lock().unwrap_or_else(PoisonError::into_inner);
    let start = |_| {
        let hold = Arc::clone(&hold);
        spawn("a worker", ended.clone(), move |_| drop(hold.lock()))
    };
    let mut started = Vec::new();
    let result = (0..count).try_for_each(|number| start(number).map(|thread| started.push(thread)));
    drop(held);
    for thread in started {
        // They do nothing that can fail.
        let _ = thread.join();
    }
    result
}

/// Starts a thread with its own runtime, and waits until the runtime exists.
fn spawn(
    what: &'static str,
    ended: Ended,
    body: impl FnOnce(&LocalRuntime) + Send + 'static,
) -> Result<JoinHandle<()>, ThreadError> {
    let (started, outcome) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(what.trim_start_matches("the ").trim_start_matches("a ").into())
        .spawn(move || match runtime(what) {
            Ok(runtime) => {
                // The starting thread waits for this message, so the receiver exists.
                let _ = started.send(Ok(()));
                let _end = ThreadEnd { what, to: ended };
                body(&runtime);
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        })
        .map_err(ThreadError::of(what))?;
    match outcome.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ThreadError::of(what)(io::Error::other("the thread ended"))),
    }
}

/// Makes the runtime of a thread.
pub(super) fn runtime(what: &'static str) -> Result<LocalRuntime, ThreadError> {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(ThreadError::of(what))
}
