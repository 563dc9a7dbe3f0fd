//! From a config to a running gate: everything is bound first, then served, then drained.

use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use portcullis_resp::limits::RequestLimits;
use portcullis_session::Plan;
use portcullis_session::inject::Preamble;
use secrecy::ExposeSecret;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use crate::admin::{self, AdminState};
use crate::audit::{Audit, AuditError};
use crate::config::{self, Admin, Config, Listener};
use crate::drain::{self, Signals};
use crate::limits::raise_open_files;
use crate::listener::{self, Bound, Desk};
use crate::metrics::{Metrics, Names};
use crate::upstream::health::{self, Health};
use crate::worker::{self, Order, Shared};

/// Batches of connections that may wait for a worker: a worker that leaves more waiting does not run any more.
const WAITING_BATCHES: usize = 1024;

/// Threads for name resolution, which blocks; more lookups than this at a time wait.
const RESOLVER_THREADS: usize = 4;

/// Why the gate did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{listener}: cannot listen on {bind}: {source}{hint}")]
    Bind {
        /// Whose address it is.
        listener: String,
        /// The address.
        bind: String,
        /// What the system says.
        source: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
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

/// Runs the gate until it is told to stop. Blocks.
///
/// # Errors
/// Something cannot be bound or started.
pub fn run(config: Config) -> Result<ExitCode, StartError> {
    let room = raise_open_files();
    let shared = Arc::new(assemble(config, room)?);
    let bound = bind(&shared)?;
    let admin = bind_admin(&shared.config)?;
    let control = runtime("the control thread")?;
    let mut signals = control.block_on(async { Signals::listen() }).map_err(start("signal handling"))?;
    // So many threads report their end.
    let (ended, mut gone) = mpsc::channel(shared.config.workers() + 1);
    let workers = start_workers(&shared, &ended)?;
    let (stop_accepting, stopped) = oneshot::channel();
    let gate = start_gate(
        &shared,
        bound,
        workers.iter().map(|worker| worker.desk.clone()).collect(),
        stopped,
        ended,
    )?;
    announce(&shared);
    let exit = control.block_on(async {
        let health = Health::new(&shared.config);
        let _probes = health::watch(&shared.config, &health, &shared.metrics);
        let admin = admin
            .zip(shared.config.admin())
            .map(|(bound, settings)| serve_admin(&shared, settings, bound, &health));
        tokio::select! {
            () = signals.stop(&shared.audit) => {}
            Some(thread) = gone.recv() => {
                tracing::error!(thread, "a thread ended by itself: without it nobody is served well");
                return ExitCode::FAILURE;
            }
        }
        if let Some(state) = &admin {
            state.set_draining();
        }
        let within = shared.config.limits().timeouts().drain();
        tracing::info!(?within, "stopping: what is in flight is finished; a second signal stops at once");
        drop(stop_accepting);
        tokio::select! {
            () = signals.stop(&shared.audit) => ExitCode::FAILURE,
            exit = drain(gate, workers, within) => exit,
        }
    });
    // A name that is being looked up would hold up the end for as long as the name server keeps silent.
    control.shutdown_background();
    shared.audit.finish();
    Ok(exit)
}

/// Tells the workers, and waits for all threads.
async fn drain(gate: JoinHandle<()>, workers: Vec<Running>, within: Duration) -> ExitCode {
    let mut threads = vec![gate];
    // Kept to the end: a worker whose queue is closed stops at once.
    let mut desks = Vec::new();
    for Running { desk, thread } in workers {
        // A worker whose queue is gone has ended already.
        let _ = desk.orders.send(Order::Drain(within)).await;
        desks.push(desk);
        threads.push(thread);
    }
    drain::finish(threads, within).await
}

fn assemble(config: Config, room: u64) -> Result<Shared, StartError> {
    let names = Names {
        listeners: config.listeners().iter().map(|listener| listener.name().to_owned()).collect(),
        upstreams: config.upstreams().iter().map(|upstream| upstream.name().to_owned()).collect(),
        groups: config.policy().groups().map(|group| group.name().to_owned()).collect(),
    };
    let audit = Audit::start(config.audit().path(), config.audit().on_overflow(), names.listeners.clone())?;
    let metrics = Metrics::new(
        names,
        config.workers(),
        vec![Box::new(crate::log::dropped_lines), audit.drop_counter()],
    );
    let now = worker::wall_clock();
    for (index, group) in config.policy().groups().enumerate() {
        metrics.group(index, group.entry_count() as u64, group.next_expiry(now).map(|until| until.0));
    }
    metrics.config_read(true, std::time::SystemTime::now());
    let clients = config.limits().clients();
    if clients > room {
        tracing::warn!(
            clients,
            room,
            "limits.clients is lowered: the limit of open files has no room for more"
        );
    }
    let plans = config.listeners().iter().map(|listener| Arc::new(plan(&config, listener))).collect();
    Ok(Shared { clients: clients.min(room), config, plans, metrics, audit })
}

fn plan(config: &Config, listener: &Listener) -> Plan {
    let auth = match listener.auth() {
        config::Auth::Passthrough => portcullis_session::Auth::Passthrough,
        config::Auth::Trust => portcullis_session::Auth::Trust,
    };
    let upstream = config.upstreams().get(listener.upstream());
    let preamble = upstream
        .and_then(|upstream| upstream.credentials())
        .map(|credentials| Preamble::auth(credentials.username(), credentials.password().expose_secret()));
    let limits = listener.limits();
    let grammar = RequestLimits {
        bulk: limits.bulk(),
        arguments: limits.arguments(),
        inline: limits.inline(),
        inline_commands: listener.inline_commands(),
        ..RequestLimits::default()
    };
    let name = upstream.map_or("", |upstream| upstream.name());
    Plan::new(auth, preamble, name, grammar, limits.held_command())
}

fn bind(shared: &Shared) -> Result<Vec<Bound>, StartError> {
    let mut bound = Vec::new();
    for (index, listener) in shared.config.listeners().iter().enumerate() {
        for bind in listener.binds() {
            let socket = Bound::bind(shared, index, bind).map_err(|source| StartError::Bind {
                listener: format!("listener '{}'", listener.name()),
                bind: bind.to_string(),
                hint: bind_hint(&source),
                source,
            })?;
            bound.push(socket);
        }
    }
    Ok(bound)
}

fn bind_admin(config: &Config) -> Result<Option<admin::Bound>, StartError> {
    let Some(admin) = config.admin() else { return Ok(None) };
    let bound =
        admin::Bound::bind(admin.bind(), config.limits().tcp()).map_err(|source| StartError::Bind {
            listener: "admin".to_owned(),
            bind: admin.bind().to_string(),
            hint: bind_hint(&source),
            source,
        })?;
    Ok(Some(bound))
}

/// Serves until the process ends: `/ready` says that the gate is stopping while it drains.
fn serve_admin(
    shared: &Shared,
    settings: &Admin,
    bound: admin::Bound,
    health: &Arc<Health>,
) -> Arc<AdminState> {
    let state = AdminState::new(settings, &shared.config, Arc::clone(&shared.metrics), Arc::clone(health));
    let serving = Arc::clone(&state);
    spawn_local(async move {
        if let Err(error) = admin::serve(bound, serving, pending()).await {
            tracing::error!(%error, "the admin endpoint failed");
        }
    });
    state
}

fn bind_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; something listens there already: stop it, or choose another port in 'bind'"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// A worker's thread and how to reach it.
struct Running {
    desk: Desk,
    thread: JoinHandle<()>,
}

fn start_workers(shared: &Arc<Shared>, ended: &Ended) -> Result<Vec<Running>, StartError> {
    (0..shared.config.workers())
        .map(|index| {
            let (orders, queue) = mpsc::channel(WAITING_BATCHES);
            let stats = shared.metrics.worker(index);
            let shared = Arc::clone(shared);
            let thread = spawn("a worker", ended.clone(), move |runtime| {
                runtime.block_on(worker::run(shared, index, queue))
            })?;
            Ok(Running { desk: Desk { orders, stats }, thread })
        })
        .collect()
}

fn start_gate(
    shared: &Arc<Shared>,
    bound: Vec<Bound>,
    desks: Vec<Desk>,
    stop: oneshot::Receiver<()>,
    ended: Ended,
) -> Result<JoinHandle<()>, StartError> {
    let shared = Arc::clone(shared);
    spawn("the accept thread", ended, move |runtime| {
        runtime.block_on(listener::run(shared, bound, desks, stop))
    })
}

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

fn announce(shared: &Shared) {
    for listener in shared.config.listeners() {
        let upstream =
            shared.config.upstreams().get(listener.upstream()).map_or("", |upstream| upstream.name());
        for bind in listener.binds() {
            tracing::info!(listener = %listener.name(), %bind, upstream, "listening");
        }
    }
    tracing::info!(workers = shared.config.workers(), version = env!("CARGO_PKG_VERSION"), "ready");
}
