//! The loop of the control thread while clients are served: it reloads, until the process is to end.

use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use portcullis_config::Reload;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::child::{FromParent, Parent};
use super::service_manager::ServiceManager;
use super::signals::{Signals, Told};
use super::takeover::{Offer, Taken};
use crate::control::reload::{Reloader, Request};
use crate::control::report::{Report, Trigger};
use crate::control::watch::{Changed, Watch};
use crate::process::Process;

/// The time in which a successor has to take the sockets over after the parent has ended. The service manager starts it
/// at once, and it reads the configuration first.
const SUCCESSION: Duration = Duration::from_secs(10);

/// The reason why the process no longer serves new clients.
pub(super) enum End {
    /// A signal.
    Signal,
    /// The parent has ended, and no successor came.
    Alone,
    /// Another process serves in its place.
    Taken(Taken),
}

/// The sources of events.
pub(super) struct Events<'a> {
    pub(super) signals: &'a mut Signals,
    pub(super) requests: &'a mut mpsc::Receiver<Request>,
    pub(super) offer: &'a mut Offer,
    pub(super) parent: &'a mut Parent,
}

/// Reloads on SIGHUP, on a request, on a changed file and on changed host names, until the process is to end.
pub(super) async fn keep(
    process: &Process,
    manager: &ServiceManager,
    reloader: &mut Reloader,
    events: Events<'_>,
) -> End {
    let Events { signals, requests, offer, parent } = events;
    let mut watch = Watch::new();
    reloader.observe(watch.writers());
    let mut told_again = false;
    let mut alone_until = None;
    loop {
        // After the parent has ended, the service manager has removed the credentials that it had passed.
        let watching = process.store.current().config().reload() == Reload::Watch && alone_until.is_none();
        let sources = reloader.sources().to_vec();
        let (trigger, answer) = tokio::select! {
            () = ready(()), if told_again => (Trigger::Signal, None),
            told = signals.next() => match told {
                Told::Stop => return End::Signal,
                Told::Reload => {
                    process.audit.reopen();
                    (Trigger::Signal, None)
                }
            },
            taken = offer.taken() => return End::Taken(taken),
            news = parent.news() => match news {
                FromParent::Gone => return End::Alone,
                FromParent::Released => {
                    part(parent, manager).await;
                    let succession = if offer.is_open() { SUCCESSION } else { Duration::ZERO };
                    alone_until = Some(Instant::now() + succession);
                    continue;
                }
            },
            () = sleep_until(alone_until.unwrap_or_else(Instant::now)), if alone_until.is_some() => {
                return End::Alone;
            }
            Some(request) = requests.recv() => (request.trigger, Some(request.answer)),
            changed = watch.changed(&sources), if watching => match changed {
                Changed::Content => (Trigger::Watch, None),
                Changed::Identity(now) => {
                    reloader.follow(&now);
                    continue;
                }
            },
            () = reloader.names_changed() => (Trigger::Names, None),
        };
        let (report, again) = match reload(process, manager, reloader, (signals, offer), trigger).await {
            Ok(reloaded) => reloaded,
            Err(end) => return end,
        };
        told_again = again;
        if let Some(answer) = answer {
            // The client that asked for the reload may have disconnected.
            let _ = answer.send(report);
        }
    }
}

/// Reloads, and tells the service manager. Returns the report, and whether a signal asks for another reload.
///
/// # Errors
/// The process is to end. The reload is not finished.
async fn reload(
    process: &Process,
    manager: &ServiceManager,
    reloader: &mut Reloader,
    (signals, offer): (&mut Signals, &mut Offer),
    trigger: Trigger,
) -> Result<(Report, bool), End> {
    manager.reloading(trigger);
    let mut again = false;
    let mut reloading = pin!(reloader.reload(trigger));
    let report = loop {
        tokio::select! {
            report = &mut reloading => break report,
            told = signals.next() => match told {
                Told::Stop => return Err(End::Signal),
                // The running reload may have read the file before the change that this signal announces.
                Told::Reload => {
                    process.audit.reopen();
                    again = true;
                }
            },
            // The successor has the configuration of now, and does not wait for long.
            taken = offer.taken() => return Err(End::Taken(taken)),
        }
    };
    manager.reloaded(trigger, report.result());
    Ok((report, again))
}

/// Goes on without the parent, and leaves the service to the next process.
async fn part(parent: &mut Parent, manager: &ServiceManager) {
    manager.fall_silent();
    match parent.part().await {
        Ok(()) => tracing::info!("the parent process ends; serving until the next one takes over"),
        Err(error) => tracing::warn!(%error, "cannot part from the parent process"),
    }
}
