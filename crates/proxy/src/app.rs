//! Runs the proxy with one configuration: binds all addresses, serves clients, and drains at the end.

#[cfg_attr(windows, path = "app/windows/activation.rs")]
mod activation;
#[cfg_attr(windows, path = "app/windows/child.rs")]
mod child;
mod draining;
pub(crate) mod host;
mod keep;
mod reports;
mod rlimit;
#[cfg_attr(windows, path = "app/windows/service_manager.rs")]
mod service_manager;
mod shutdown;
#[cfg_attr(windows, path = "app/windows/signals.rs")]
pub(crate) mod signals;
mod sockets;
#[cfg_attr(windows, path = "app/windows/takeover.rs")]
mod takeover;
mod threads;
mod watchdog;

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Admin, Bind, Config, ConfigFile};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

pub(crate) use self::child::run_in_child;

use self::child::Parent;
use self::draining::drain_or_stop;
use self::keep::{End, Events, keep};
use self::rlimit::{TooFewFiles, raise_open_files};
use self::service_manager::ServiceManager;
use self::signals::Signals;
use self::sockets::Sockets;
use self::takeover::{Offer, Shared, TakeError, Taken, Taking};
use self::threads::{AcceptThread, ThreadError, WorkerThread, drain};
use crate::admin::{self, AdminState};
use crate::audit::AuditError;
use crate::control::names::{HostNames, NameTable};
use crate::control::reload::{Reach, Reloader, Request};
use crate::control::topology::Watchers;
use crate::generation::store::Generation;
use crate::net::ready::ReadyAddress;
use crate::net::socket::BindError;
use crate::process::Process;
use crate::upstream::health::Health;

/// The highest number of reload requests that may wait for the running reload. Further requests are refused.
const WAITING_REQUESTS: usize = 8;

/// The way to start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunOptions {
    /// The listening sockets are taken over from the running process of the configuration.
    pub takeover: bool,
    /// The process is the child of [`run_in_child`].
    pub is_child: bool,
}

/// The reason why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The proxy cannot listen on an address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The running process of the same configuration has an address.
    #[error(
        "cannot listen on {0}: address in use by the running process of this configuration; 'portcullis run --takeover' \
         replaces that process and refuses no client"
    )]
    Running(Bind),
    /// An address overlaps with that of the admin endpoint of the running process, which keeps it to the end.
    #[error(
        "cannot listen on {0}: the running process has an overlapping address, which it cannot release; stop that process \
         first"
    )]
    Overlap(Bind),
    /// The service manager has the port, with another address.
    #[error(
        "cannot listen on {bind}: the socket '{name}' of the service manager is in the way; write its address in bind, \
         which is {address}"
    )]
    Manager {
        /// The address in the configuration.
        bind: Bind,
        /// The name of the socket.
        name: String,
        /// Its address.
        address: ReadyAddress,
    },
    /// The sockets of the running process cannot be taken over.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// The audit output cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The limit of open files is too low.
    #[error("{0}: raise it with ulimit -n, or LimitNOFILE of systemd")]
    Files(#[from] TooFewFiles),
    /// A thread or a runtime cannot be started.
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

/// Runs the proxy until a signal stops it, and blocks the calling thread. `sources` are the files from which
/// the configuration was read.
///
/// # Errors
/// An address cannot be bound, or a part of the proxy cannot be started.
pub(crate) fn run(
    config: Config,
    sources: Vec<ConfigFile>,
    options: RunOptions,
) -> Result<ExitCode, StartError> {
    let room = raise_open_files()?;
    let manager = Arc::new(ServiceManager::from_environment());
    let control = threads::runtime("the control thread")?;
    let (names, config) = control.block_on(HostNames::first(config));
    let process = Arc::new(Process::new(config, room)?);
    let generation = process.store.current();
    // Last of what can take long: the running process waits for this one from now on.
    let Sockets { listeners, admin, taking } = Sockets::open(generation.config(), options)?;
    if let Some(taking) = &taking {
        taking.block_sources(&generation);
    }
    let signals =
        control.block_on(async { Signals::listen() }).map_err(ThreadError::of("signal handling"))?;
    let parent = match options.is_child {
        true => control.block_on(async { Parent::connect() }),
        false => Ok(Parent::absent()),
    };
    let parent = parent.map_err(ThreadError::of("the connection to the parent process"))?;
    // The channel has space for one report from each worker and from the accept thread.
    let (ended, gone) = mpsc::channel(generation.workers() + 1);
    let (workers, acceptor) = threads::start(&process, generation.workers(), listeners, ended)?;
    announce(&generation);
    drop(generation);
    let running =
        Running { process: Arc::clone(&process), manager, signals, parent, acceptor, workers, gone };
    let exit = control.block_on(running.serve(Start { room, names, sources, admin, taking }));
    drop(control);
    process.expiries.finish();
    process.audit.finish();
    Ok(exit)
}

/// The parts of the process that stay until its end.
struct Running {
    process: Arc<Process>,
    manager: Arc<ServiceManager>,
    signals: Signals,
    parent: Parent,
    acceptor: AcceptThread,
    workers: Vec<WorkerThread>,
    gone: mpsc::Receiver<&'static str>,
}

/// The parts that the control thread starts with.
struct Start {
    room: u64,
    names: HostNames,
    sources: Vec<ConfigFile>,
    admin: Option<Rc<admin::Bound>>,
    taking: Option<Taking>,
}

impl Running {
    async fn serve(mut self, start: Start) -> ExitCode {
        let Start { room, names, sources, admin, taking } = start;
        if let Some(Err(error)) = taking.map(Taking::finish) {
            tracing::error!("cannot start: {error}");
            drain(self.acceptor, self.workers, Duration::ZERO).await;
            return ExitCode::FAILURE;
        }
        let (requests, mut asked) = mpsc::channel(WAITING_REQUESTS);
        let orders: Vec<_> = self.workers.iter().map(|worker| worker.handle.orders.clone()).collect();
        let generation = self.process.store.current();
        let health = Arc::new(Health::default());
        let watchers =
            Watchers::start(Arc::clone(&self.process), &generation, Arc::clone(&health), orders.clone());
        let mut reports = reports::start(&self.process, &health, &self.manager);
        let endpoint = admin.as_ref().zip(generation.config().admin()).map(|(bound, settings)| {
            self.serve_admin(settings, Rc::clone(bound), (&health, names.table()), requests)
        });
        let (state, stop_admin) = endpoint.unzip();
        let shared = Shared {
            process: Arc::clone(&self.process),
            acceptor: self.acceptor.orders.clone(),
            admin: generation.config().admin().map(|admin| admin.bind().into()).zip(admin),
        };
        let mut offer = Offer::start(takeover::path(generation.config()).as_deref(), shared.clone());
        drop(generation);
        let reach = Reach {
            acceptor: self.acceptor.orders.clone(),
            workers: orders,
            watchers,
            names,
            admin: state.clone().map(|state| state as _),
        };
        let mut reloader = Reloader::new(Arc::clone(&self.process), room, sources, reach);
        watchdog::start(&mut reports, &self.manager, &self.acceptor, &self.workers);
        self.manager.ready();
        let (signals, parent) = (&mut self.signals, &mut self.parent);
        let events = Events { signals, requests: &mut asked, offer: &mut offer, parent };
        let end = tokio::select! {
            end = keep(&self.process, &self.manager, &mut reloader, events) => end,
            Some(thread) = self.gone.recv() => {
                tracing::error!(thread, "thread exited unexpectedly; shutting down");
                return ExitCode::FAILURE;
            }
        };
        if let Some(state) = &state {
            state.set_draining();
        }
        // The accept thread stops without senders of orders, and a waiting reload request gets an error.
        drop((reloader, asked, reports));
        let is_taken = matches!(end, End::Taken(_));
        if let End::Taken(taken) = end {
            drop(stop_admin);
            hand_over(taken, &shared, offer).await;
        } else {
            drop(offer);
        }
        drop(shared);
        let threads = (self.acceptor, self.workers);
        drain_or_stop(&self.process, &self.manager, &mut self.signals, threads, is_taken).await
    }

    /// Serves the admin endpoint until the process exits, so that `/ready` reports the drain. If the sender is dropped,
    /// another process serves it.
    fn serve_admin(
        &self,
        settings: &Admin,
        bound: Rc<admin::Bound>,
        (health, names): (&Arc<Health>, Arc<NameTable>),
        requests: mpsc::Sender<Request>,
    ) -> (Arc<AdminState>, oneshot::Sender<()>) {
        let process = Arc::clone(&self.process);
        let state = AdminState::new(settings, process, Arc::clone(health), names, requests);
        let serving = Arc::clone(&state);
        let (stop, stopped) = oneshot::channel::<()>();
        spawn_local(async move {
            let stopped = async { drop(stopped.await) };
            if let Err(error) = admin::serve(bound, serving, stopped).await {
                tracing::error!(%error, "the admin endpoint failed");
            }
        });
        (state, stop)
    }
}

/// Stops accepting on all sockets, and tells the process that serves now.
async fn hand_over(taken: Taken, shared: &Shared, offer: Offer) {
    tracing::info!("{} serves now, and this process stops accepting", taken.by);
    shared.give_away().await;
    // If it is gone, it has served already, and the next process finds sockets that are closed.
    let _ = taken.stopped.send(());
    offer.finish().await;
}

fn announce(generation: &Generation) {
    let config = generation.config();
    for listener in config.listeners() {
        let upstream = listener.upstream().name();
        for bind in listener.binds() {
            tracing::info!(listener = %listener.name(), %bind, %upstream, "listening");
        }
    }
    if let Some(admin) = config.admin() {
        tracing::info!(bind = %Bind::from(admin.bind()), "admin endpoint listening");
    }
    tracing::info!(workers = generation.workers(), version = env!("CARGO_PKG_VERSION"), "started");
}
