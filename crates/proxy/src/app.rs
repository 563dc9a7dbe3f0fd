//! Runs the proxy with one configuration: binds all addresses, serves clients, and drains at the end.

pub(crate) mod host;
mod reports;
mod rlimit;
mod service_manager;
mod shutdown;
mod threads;
mod watchdog;

use std::future::{pending, ready};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_config::{Admin, Bind, Config, ConfigFile, Origin, Reload};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use self::rlimit::{TooFewFiles, raise_open_files};
use self::service_manager::ServiceManager;
use self::shutdown::{Signals, Told};
use self::threads::{AcceptThread, ThreadError, WorkerThread, drain};
use crate::admin::{self, AdminState};
use crate::audit::AuditError;
use crate::control::names::{HostNames, NameTable};
use crate::control::reload::{Reach, Reloader, Request};
use crate::control::report::Trigger;
use crate::control::topology::Watchers;
use crate::control::watch::{Changed, Watch};
use crate::generation::store::Generation;
use crate::listener::bind_all;
use crate::net::socket::BindError;
use crate::process::Process;
use crate::upstream::health::Health;

/// The highest number of reload requests that may wait for the running reload. Further requests are refused.
const WAITING_REQUESTS: usize = 8;

/// The reason why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The proxy cannot listen on an address.
    #[error(transparent)]
    Bind(#[from] BindError),
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
pub(crate) fn run(config: Config, sources: Vec<ConfigFile>) -> Result<ExitCode, StartError> {
    let room = raise_open_files()?;
    let manager = Arc::new(ServiceManager::from_environment());
    let control = threads::runtime("the control thread")?;
    let (names, config) = control.block_on(HostNames::first(config));
    let process = Arc::new(Process::new(config, room)?);
    let generation = process.store.current();
    let config = generation.config();
    let bound = bind_all(config, |_| true)?;
    let admin = config.admin().map(|admin| bind_admin(admin, config)).transpose()?;
    let mut signals =
        control.block_on(async { Signals::listen() }).map_err(ThreadError::of("signal handling"))?;
    // The channel has space for one report from each worker and from the accept thread.
    let (ended, mut gone) = mpsc::channel(generation.workers() + 1);
    let (workers, acceptor) = threads::start(&process, generation.workers(), bound, ended)?;
    announce(&generation);
    drop(generation);
    let exit = control.block_on(async {
        let (requests, mut asked) = mpsc::channel(WAITING_REQUESTS);
        let orders: Vec<_> = workers.iter().map(|worker| worker.handle.orders.clone()).collect();
        let generation = process.store.current();
        let health = Arc::new(Health::default());
        let watchers =
            Watchers::start(Arc::clone(&process), &generation, Arc::clone(&health), orders.clone());
        let mut reports = reports::start(&process, &health, &manager);
        let admin = admin.zip(generation.config().admin()).map(|(bound, settings)| {
            serve_admin(&process, settings, bound, (&health, names.table()), requests)
        });
        drop(generation);
        let reach = Reach {
            acceptor: acceptor.orders.clone(),
            workers: orders,
            watchers,
            names,
            admin: admin.clone().map(|admin| admin as _),
        };
        let mut reloader = Reloader::new(Arc::clone(&process), room, sources, reach);
        watchdog::start(&mut reports, &manager, &acceptor, &workers);
        manager.ready();
        tokio::select! {
            () = keep(&process, &manager, &mut reloader, &mut signals, &mut asked) => {}
            Some(thread) = gone.recv() => {
                tracing::error!(thread, "thread exited unexpectedly; shutting down");
                return ExitCode::FAILURE;
            }
        }
        if let Some(state) = &admin {
            state.set_draining();
        }
        // The accept thread stops without senders of orders, and a waiting reload request gets an error.
        drop((reloader, asked, reports));
        drain_or_stop(&process, &manager, &mut signals, acceptor, workers).await
    });
    drop(control);
    process.expiries.finish();
    process.audit.finish();
    Ok(exit)
}

/// Lets clients finish their pending commands, until none is left, `timeouts.drain` is over, or a further signal comes.
async fn drain_or_stop(
    process: &Process,
    manager: &ServiceManager,
    signals: &mut Signals,
    acceptor: AcceptThread,
    workers: Vec<WorkerThread>,
) -> ExitCode {
    let within = process.store.current().config().limits().timeouts().drain();
    manager.stopping(within);
    tracing::info!(
        ?within,
        "shutting down: pending commands are finished first; a second signal stops at once"
    );
    tokio::select! {
        () = signals.stop() => ExitCode::FAILURE,
        exit = drain(acceptor, workers, within) => exit,
    }
}

/// Reloads on SIGHUP, on a request, on a changed file and on changed host names, until a signal stops the proxy.
async fn keep(
    process: &Process,
    manager: &ServiceManager,
    reloader: &mut Reloader,
    signals: &mut Signals,
    asked: &mut mpsc::Receiver<Request>,
) {
    let mut watch = Watch::new();
    reloader.observe(watch.writers());
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
            changed = watch.changed(&sources), if watching => match changed {
                Changed::Content => (Trigger::Watch, None),
                Changed::Identity(now) => {
                    reloader.follow(&now);
                    continue;
                }
            },
            () = reloader.names_changed() => (Trigger::Names, None),
        };
        told_again = false;
        manager.reloading(trigger);
        let mut reloading = pin!(reloader.reload(trigger));
        let report = loop {
            tokio::select! {
                report = &mut reloading => break report,
                told = signals.next() => match told {
                    Told::Stop => return,
                    // The running reload may have read the file before the change that this signal announces.
                    Told::Reload => {
                        process.audit.reopen();
                        told_again = true;
                    }
                },
            }
        };
        manager.reloaded(trigger, report.result());
        if let Some(answer) = answer {
            // The client that asked for the reload may have disconnected.
            let _ = answer.send(report);
        }
    }
}

fn bind_admin(admin: &Admin, config: &Config) -> Result<admin::Bound, BindError> {
    admin::Bound::bind(admin.bind(), config.limits().tcp()).map_err(|error| match config.origin() {
        Origin::File(_) => error,
        // The user may not know of the default.
        Origin::Document(_) => BindError { owner: "--admin ADDRESS".to_owned(), ..error },
    })
}

/// Serves the admin endpoint until the process exits, so that `/ready` reports the drain.
fn serve_admin(
    process: &Arc<Process>,
    settings: &Admin,
    bound: admin::Bound,
    (health, names): (&Arc<Health>, Arc<NameTable>),
    requests: mpsc::Sender<Request>,
) -> Arc<AdminState> {
    let state = AdminState::new(settings, Arc::clone(process), Arc::clone(health), names, requests);
    let serving = Arc::clone(&state);
    spawn_local(async move {
        if let Err(error) = admin::serve(bound, serving, pending()).await {
            tracing::error!(%error, "the admin endpoint failed");
        }
    });
    state
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
