//! The end of the process: no new connections, pending commands are finished, and a deadline
//! ends the rest.

use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The time after the drain deadline in which the workers close the remaining connections.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// The interval at which the draining threads are checked.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until all threads have ended, or until `within` plus [`CUT_GRACE`] has passed. The exit code is a
/// failure if a thread panicked or still runs.
pub(super) async fn finish(threads: Vec<JoinHandle<()>>, within: Duration) -> ExitCode {
    let deadline = Instant::now() + within + CUT_GRACE;
    let mut exit = ExitCode::SUCCESS;
    for thread in threads {
        while !thread.is_finished() && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        if !thread.is_finished() || thread.join().is_err() {
            exit = ExitCode::FAILURE;
        }
    }
    exit
}
