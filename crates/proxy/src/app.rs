//! From a config to a running gate: everything is bound first, then served, then drained.

mod rlimit;
mod shutdown;
mod threads;

use std::future::{pending, ready};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_config::{Admin, Config, ConfigFile, Reload};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use self::rlimit::raise_open_files;
use self::shutdown::{Signals, Told};
use self::threads::{ThreadError, drain};
use crate::admin::{self, AdminState};
use crate::audit::AuditError;
use crate::control::reload::{Reach, Reloader, Request};
use crate::control::report::Trigger;
use crate::control::watch::Watch;
use crate::generation::store::Generation;
use crate::listener::bind_all;
use crate::net::socket::BindError;
use crate::process::Process;
use crate::upstream::health::{Health, Probes};

/// Requests for a reload that may wait for the one that runs; more are turned away.
const WAITING_REQUESTS: usize = 8;

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
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

/// Runs the gate until it is told to stop. Blocks. `sources` is what the config was read from.
///
/// # Errors
/// Something cannot be bound or started.
pub(crate) fn run(config: Config, sources: Vec<ConfigFile>) -> Result<ExitCode, StartError> {
    let room = raise_open_files();
    let process = Arc::new(Process::new(config, room)?);
    let generation = process.store.current();
    let config = generation.config();
    let bound = bind_all(config, |_| true)?;
    let bind_admin = |admin: &Admin| admin::Bound::bind(admin.bind(), config.limits().tcp());
    let admin = config.admin().map(bind_admin).transpose()?;
    let control = threads::runtime("the control thread")?;
    let mut signals =
        control.block_on(async { Signals::listen() }).map_err(ThreadError::of("signal handling"))?;
    // So many threads report their end.
    let (ended, mut gone) = mpsc::channel(generation.workers() + 1);
    let (workers, acceptor) = threads::start(&process, generation.workers(), bound, ended)?;
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
                tracing::error!(thread, "thread exited unexpectedly; shutting down");
                return ExitCode::FAILURE;
            }
        }
        if let Some(state) = &admin {
            state.set_draining();
        }
        // Its way to the accept thread must be gone for that to stop; who asks for a reload is told that it will not come.
        drop((reloader, asked));
        let within = process.store.current().config().limits().timeouts().drain();
        tracing::info!(
            ?within,
            "shutting down: pending commands are finished first; a second signal stops at once"
        );
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
