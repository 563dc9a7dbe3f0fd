//! The end of the process: commands that are in progress are finished, within `timeouts.drain`.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::service_manager::ServiceManager;
use super::signals::Signals;
use super::threads::{AcceptThread, WorkerThread, drain};
use crate::process::Process;
use crate::worker::Drained;

/// The time after a take-over in which the clients that this process has accepted last are served as before. They have
/// connected, and their first command is on its way.
const SETTLE: Duration = Duration::from_secs(2);

/// Lets clients finish their pending commands, until none is left, `timeouts.drain` is over, or a further signal comes.
/// With `settle` the last clients have time for their first command before.
pub(super) async fn drain_or_stop(
    process: &Process,
    manager: &ServiceManager,
    signals: &mut Signals,
    (acceptor, workers): (AcceptThread, Vec<WorkerThread>),
    settle: bool,
) -> ExitCode {
    let within = process.store.current().config().limits().timeouts().drain();
    manager.stopping(within);
    tracing::info!(
        ?within,
        "shutting down: pending commands are finished first; a second signal stops at once"
    );
    let begin = Instant::now();
    let counts: Vec<_> = workers.iter().map(|worker| worker.handle.stats.clone()).collect();
    let settled = if settle { SETTLE.min(within / 2) } else { Duration::ZERO };
    let draining = async {
        sleep(settled).await;
        drain(acceptor, workers, within.saturating_sub(settled)).await
    };
    tokio::select! {
        () = signals.stop() => {
            let cut = counts.iter().map(|stats| stats.sessions()).sum::<u64>();
            tracing::warn!(seconds = seconds(begin), cut, "stopped at once by a second signal");
            ExitCode::FAILURE
        }
        (exit, Drained { finished, cut }) = draining => {
            tracing::info!(seconds = seconds(begin), finished, cut, "drained");
            exit
        }
    }
}

/// The time since then, in seconds with three digits behind the point.
fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}
