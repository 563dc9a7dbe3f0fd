//! Log lines that come by themselves: whether the proxy can serve, and entries that have expired.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::process::Process;
use crate::upstream::health::{Health, UpstreamHealth};

/// The first probe of an upstream has its result after `connect_timeout` at the latest, which is 2 s by default.
const PATIENCE: Duration = Duration::from_secs(5);

/// The interval at which expired entries are logged.
const LOOK: Duration = Duration::from_millis(500);

/// Starts to report. The reports end when the result is dropped.
pub(super) fn start(process: &Arc<Process>, health: &Arc<Health>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(tell_ready(Arc::clone(health), PATIENCE));
    tasks.spawn(tell_expired(Arc::clone(process)));
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

async fn tell_expired(process: Arc<Process>) {
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        process.expiries.log(Instant::now().into_std());
    }
}

#[cfg(test)]
mod tests;
