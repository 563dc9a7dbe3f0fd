//! From a config to a running gate: everything is bound first, then served, then drained.

mod rlimit;
mod shutdown;

use std::future::{pending, ready};
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use portcullis_config::{Admin, Config, Reload, Source};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use self::rlimit::raise_open_files;
use self::shutdown::{Signals, Told};
use crate::admin::{self, AdminState};
use crate::audit::AuditError;
use crate::connection;
use crate::control::reload::{Reach, Reloader, Request};
use crate::control::report::Trigger;
use crate::control::watch::Watch;
use crate::generation::store::Generation;
use crate::listener::{self, AcceptorOrder, Bound, WorkerHandle, bind_all};
use crate::net::socket::BindError;
use crate::process::Process;
use crate::upstream::health::{Health, Probes};
use crate::worker::{self, Order};

/// Requests for a reload that may wait for the one that runs; more are turned away.
const WAITING_REQUESTS: usize = 8;

/// Batches of connections that may wait for a worker: a worker that leaves more waiting does not run any more.
const WAITING_BATCHES: usize = 1024;

/// Threads for name resolution, which blocks; more lookups than this at a time wait.
const RESOLVER_THREADS: usize = 4;

/// Why the gate did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The audit output cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A thread or a runtime cannot be had.
    #[error("cannot start {what}: {source}")]
    Start {
        /// What it is.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// Runs the gate until it is told to stop. Blocks. `sources` is what the config was read from.
///
/// # Errors
/// Something cannot be bound or started.
pub(crate) fn run(config: Config, sources: Vec<Source>) -> Result<ExitCode, StartError> {
    let room = raise_open_files();
    let process = Arc::new(Process::new(config, room)?);
    let generation = process.store.current();
    let config = generation.config();
    let bound = bind_all(config, |_| true)?;
    let bind_admin = |admin: &Admin| admin::Bound::bind(admin.bind(), config.limits().tcp());
    let admin = config.admin().map(bind_admin).transpose()?;
    let control = runtime("the control thread")?;
    let mut signals = control.block_on(async { Signals::listen() }).map_err(start("signal handling"))?;
    // So many threads report their end.
    let (ended, mut gone) = mpsc::channel(generation.workers() + 1);
    let (workers, acceptor) = match generation.workers() {
        1 => start_lone_worker(&process, bound, ended)?,
        count => {
            let workers = start_workers(&process, count, &ended)?;
            let handles = workers.iter().map(|worker| worker.handle.clone()).collect();
            (workers, start_acceptor(&process, bound, handles, ended)?)
        }
    };
    announce(&generation);
    drop(generation);
    let exit = control.block_on(async {
        let health = Arc::new(Health::default());
        let (requests, mut asked) = mpsc::channel(WAITING_REQUESTS);
        let mut probes = Probes::new(Arc::clone(&health));
        let generation = process.store.current();
        probes.follow(generation.config(), &generation.series().upstreams);
        let admin = admin
            .zip(generation.config().admin())
            .map(|(bound, settings)| serve_admin(&process, settings, bound, &health, requests));
        drop(generation);
        let reach = Reach {
            acceptor: acceptor.orders.clone(),
            workers: workers.iter().map(|worker| worker.handle.orders.clone()).collect(),
            probes,
            admin: admin.clone().map(|admin| admin as _),
        };
        let mut reloader = Reloader::new(Arc::clone(&process), room, sources, reach);
        tokio::select! {
            () = keep(&process, &mut reloader, &mut signals, &mut asked) => {}
            Some(thread) = gone.recv() => {
                tracing::error!(thread, "a thread ended by itself: without it nobody is served well");
                return ExitCode::FAILURE;
            }
        }
        if let Some(state) = &admin {
            state.set_draining();
        }
        // Its way to the accept thread must be gone for that to stop; who asks for a reload is told that it will not come.
        drop((reloader, asked));
        let within = process.store.current().config().limits().timeouts().drain();
        tracing::info!(?within, "stopping: what is in flight is finished; a second signal stops at once");
        tokio::select! {
            () = signals.stop() => ExitCode::FAILURE,
            exit = drain(acceptor, workers, within) => exit,
        }
    });
    // A name that is being looked up would hold up the end for as long as the name server keeps silent.
    control.shutdown_background();
    process.audit.finish();
    Ok(exit)
}

/// Reloads whenever there is reason to, until a signal says stop.
async fn keep(
    process: &Process,
    reloader: &mut Reloader,
    signals: &mut Signals,
    asked: &mut mpsc::Receiver<Request>,
) {
    let mut watch = Watch::new();
    let mut told_again = false;
    loop {
        let watching = process.store.current().config().reload() == Reload::Watch;
        let sources = reloader.sources().to_vec();
        let (trigger, answer) = tokio::select! {
            () = ready(()), if told_again => (Trigger::Signal, None),
            told = signals.next() => match told {
                Told::Stop => return,
                Told::Reload => {
                    process.audit.reopen();
                    (Trigger::Signal, None)
                }
            },
            Some(request) = asked.recv() => (request.trigger, Some(request.answer)),
            () = watch.changed(&sources), if watching => (Trigger::Watch, None),
        };
        told_again = false;
        let mut reloading = pin!(reloader.reload(trigger));
        let report = loop {
            tokio::select! {
                report = &mut reloading => break report,
                told = signals.next() => match told {
                    Told::Stop => return,
                    // The file that it is about may have been read before it changed.
                    Told::Reload => {
                        process.audit.reopen();
                        told_again = true;
                    }
                },
            }
        };
        if let Some(answer) = answer {
            // Who asked may have left.
            let _ = answer.send(report);
        }
    }
}

/// Tells the workers, and waits for all threads.
async fn drain(acceptor: AcceptThread, workers: Vec<Running>, within: Duration) -> ExitCode {
    let AcceptThread { orders, thread } = acceptor;
    drop(orders);
    let mut threads = Vec::from_iter(thread);
    // Kept to the end: a worker whose queue is closed stops at once.
    let mut handles = Vec::new();
    for Running { handle, thread } in workers {
        // A worker whose queue is gone has ended already.
        let _ = handle.orders.send(Order::Drain(within)).await;
        handles.push(handle);
        threads.push(thread);
    }
    shutdown::finish(threads, within).await
}

/// Serves until the process ends: `/ready` says that the gate is stopping while it drains.
fn serve_admin(
    process: &Arc<Process>,
    settings: &Admin,
    bound: admin::Bound,
    health: &Arc<Health>,
    requests: mpsc::Sender<Request>,
) -> Arc<AdminState> {
    let state = AdminState::new(settings, Arc::clone(process), Arc::clone(health), requests);
    let serving = Arc::clone(&state);
    spawn_local(async move {
        if let Err(error) = admin::serve(bound, serving, pending()).await {
            tracing::error!(%error, "the admin endpoint failed");
        }
    });
    state
}

/// A worker's thread and how to reach it.
struct Running {
    handle: WorkerHandle,
    thread: JoinHandle<()>,
}

fn start_workers(process: &Arc<Process>, count: usize, ended: &Ended) -> Result<Vec<Running>, StartError> {
    (0..count)
        .map(|index| {
            let (orders, queue) = mpsc::channel(WAITING_BATCHES);
            let stats = process.metrics.worker(index);
            let process = Arc::clone(process);
            let thread = spawn("a worker", ended.clone(), move |runtime| {
                runtime.block_on(worker::run(process, index, queue, connection::serve))
            })?;
            Ok(Running { handle: WorkerHandle { orders, stats }, thread })
        })
        .collect()
}

/// A worker that is alone accepts as well: handing a connection to another thread would cost it a wakeup each.
fn start_lone_worker(
    process: &Arc<Process>,
    bound: Vec<Bound>,
    ended: Ended,
) -> Result<(Vec<Running>, AcceptThread), StartError> {
    let (orders, queue) = mpsc::channel(WAITING_BATCHES);
    let (accept_orders, accept_queue) = mpsc::channel(1);
    let handle = WorkerHandle { orders, stats: process.metrics.worker(0) };
    let (process, handles, report) = (Arc::clone(process), vec![handle.clone()], ended.clone());
    let thread = spawn("a worker", ended, move |runtime| {
        runtime.block_on(async {
            // As tasks: the thread itself would have to make a system call to wake the future that it blocks on.
            let worker = spawn_local(worker::run(Arc::clone(&process), 0, queue, connection::serve));
            spawn_local(async move {
                let _report = Report { what: ACCEPTING, to: report };
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
    Ok((vec![Running { handle, thread }], AcceptThread { orders: accept_orders, thread: None }))
}

/// What accepts, and how to reach it.
struct AcceptThread {
    orders: mpsc::Sender<AcceptorOrder>,
    /// Its own, unless it is a worker's.
    thread: Option<JoinHandle<()>>,
}

fn start_acceptor(
    process: &Arc<Process>,
    bound: Vec<Bound>,
    handles: Vec<WorkerHandle>,
    ended: Ended,
) -> Result<AcceptThread, StartError> {
    let process = Arc::clone(process);
    let (orders, queue) = mpsc::channel(1);
    let thread = spawn(ACCEPTING, ended, move |runtime| {
        runtime.block_on(listener::run(process, bound, handles, queue))
    })?;
    Ok(AcceptThread { orders, thread: Some(thread) })
}

const ACCEPTING: &str = "the accept thread";

/// Where a thread's end is reported, whatever ends it.
type Ended = mpsc::Sender<&'static str>;

struct Report {
    what: &'static str,
    to: Ended,
}

impl Drop for Report {
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
) -> Result<JoinHandle<()>, StartError> {
    let (started, outcome) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(what.trim_start_matches("the ").trim_start_matches("a ").into())
        .spawn(move || match runtime(what) {
            Ok(runtime) => {
                // The starter waits for this; it is there.
                let _ = started.send(Ok(()));
                let _report = Report { what, to: ended };
                body(&runtime);
                // As above: not for a name server's sake.
                runtime.shutdown_background();
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        })
        .map_err(start(what))?;
    match outcome.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(start(what)(io::Error::other("the thread ended"))),
    }
}

fn runtime(what: &'static str) -> Result<LocalRuntime, StartError> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RESOLVER_THREADS)
        .build_local(LocalOptions::default())
        .map_err(start(what))
}

fn start(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Start { what, source }
}

fn announce(generation: &Generation) {
    let config = generation.config();
    for listener in config.listeners() {
        let upstream = listener.upstream().name();
        for bind in listener.binds() {
            tracing::info!(listener = %listener.name(), %bind, %upstream, "listening");
        }
    }
    tracing::info!(workers = generation.workers(), version = env!("CARGO_PKG_VERSION"), "ready");
}
