//! The threads of the process: workers and the accept thread, how they are started, and how they end.

use std::io;
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::shutdown;
use crate::connection;
use crate::listener::{self, AcceptorOrder, Bound, WorkerHandle};
use crate::process::Process;
use crate::worker::{Order, run};

/// Batches of connections that may wait for a worker: a worker that leaves more waiting does not run any more.
const WAITING_BATCHES: usize = 1024;

/// Threads for name resolution, which blocks; more lookups than this at a time wait.
const RESOLVER_THREADS: usize = 4;

/// A thread or a runtime that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {what}: {source}")]
pub(crate) struct ThreadError {
    what: &'static str,
    source: io::Error,
}

impl ThreadError {
    /// Makes an error of what the system says.
    pub(super) fn of(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what, source }
    }
}

/// Starts so many workers, and what accepts for them. The end of each thread is reported to `ended`.
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

/// Tells the workers, and waits for all threads.
pub(super) async fn drain(acceptor: AcceptThread, workers: Vec<WorkerThread>, within: Duration) -> ExitCode {
    let AcceptThread { orders, thread } = acceptor;
    drop(orders);
    let mut threads = Vec::from_iter(thread);
    // Kept to the end: a worker whose queue is closed stops at once.
    let mut handles = Vec::new();
    for WorkerThread { handle, thread } in workers {
        // A worker whose queue is gone has ended already.
        let _ = handle.orders.send(Order::Drain(within)).await;
        handles.push(handle);
        threads.push(thread);
    }
    shutdown::finish(threads, within).await
}

/// A worker's thread and how to reach it.
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

/// A worker that is alone accepts as well: handing a connection to another thread would cost it a wakeup each.
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
            // As tasks: the thread itself would have to make a system call to wake the future that it blocks on.
            let worker = spawn_local(run::run(Arc::clone(&process), 0, queue, connection::serve));
            spawn_local(async move {
                let _end = ThreadEnd { what: ACCEPTING, to: report };
                listener::run(process, bound, handles, accept_queue).await;
            });
            // A panic ends the thread, as it does where the worker is not a task.
            if let Err(error) = worker.await
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
        });
    })?;
    Ok((vec![WorkerThread { handle, thread }], AcceptThread { orders: accept_orders, thread: None }))
}

/// The accept thread, and the way to send it orders.
pub(super) struct AcceptThread {
    pub(super) orders: mpsc::Sender<AcceptorOrder>,
    /// Its own, unless it is a worker's.
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

/// Where a thread's end is reported, whatever ends it.
pub(super) type Ended = mpsc::Sender<&'static str>;

struct ThreadEnd {
    what: &'static str,
    to: Ended,
}

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        // While the gate drains nobody listens.
        let _ = self.to.try_send(self.what);
    }
}

/// Starts a thread with a runtime of its own.
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
                // The starter waits for this; it is there.
                let _ = started.send(Ok(()));
                let _end = ThreadEnd { what, to: ended };
                body(&runtime);
                // As above: not for a name server's sake.
                runtime.shutdown_background();
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
        .max_blocking_threads(RESOLVER_THREADS)
        .build_local(LocalOptions::default())
        .map_err(ThreadError::of(what))
}
