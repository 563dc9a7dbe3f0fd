//! Reports that come by themselves: whether the proxy can serve, in the log and for the service manager, and entries
//! that have expired.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use super::service_manager::ServiceManager;
use crate::process::Process;
use crate::upstream::health::{Health, UpstreamHealth};

/// The first probe of an upstream has its result after `connect_timeout` at the latest, which is 2 s by default.
const PATIENCE: Duration = Duration::from_secs(5);

/// The interval at which expired entries are logged, and the status is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Starts to report. The reports end when the result is dropped.
pub(super) fn start(
    process: &Arc<Process>,
    health: &Arc<Health>,
    manager: &Arc<ServiceManager>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(tell_ready(Arc::clone(health), PATIENCE));
    tasks.spawn(tell_expired(Arc::clone(process)));
    if manager.is_present() {
        tasks.spawn(tell_status(Arc::clone(health), Arc::clone(manager)));
    }
    tasks
}

/// Logs `ready` once every upstream that a listener uses is up. If that takes longer than `patience`, names those that are
/// not.
async fn tell_ready(health: Arc<Health>, patience: Duration) {
    if timeout(patience, health.all_up()).await.is_err() {
        tracing::warn!("not ready: {}", missing(&health));
        health.all_up().await;
    }
    tracing::info!("ready");
}

fn missing(health: &Health) -> String {
    let mut text = String::new();
    for (name, _, found) in health.upstreams().into_iter().filter(|(_, used, _)| *used) {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = match found {
            UpstreamHealth::Up { .. } => Ok(()),
            UpstreamHealth::Unknown => write!(text, "{separator}upstream '{name}' has not been probed yet"),
            UpstreamHealth::Down { kind, .. } => {
                write!(text, "{separator}upstream '{name}' is down ({kind})")
            }
        };
    }
    text
}

/// Sends the status to the service manager when it has changed.
async fn tell_status(health: Arc<Health>, manager: Arc<ServiceManager>) {
    let mut looks = interval(LOOK);
    let mut last = None;
    loop {
        looks.tick().await;
        let status = manager.status(&missing(&health));
        if last.as_ref() != Some(&status) {
            manager.tell_status(&status);
            last = Some(status);
        }
    }
}

async fn tell_expired(process: Arc<Process>) {
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        process.expiries.log(Instant::now().into_std());
    }
}

#[cfg(test)]
mod tests;
