//! Being told to stop, and stopping: no new connections, what is in flight is finished, the rest is cut in time.

use std::io;
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

/// After the drain's own deadline, the workers have this long to cut what is left.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// How often the threads are looked at while they drain.
const LOOK: Duration = Duration::from_millis(10);

/// The signals that the gate answers to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over. Needs a runtime.
    ///
    /// # Errors
    /// Those of the system.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Dropped before that, none is missed.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// Until SIGTERM or SIGINT; while the gate stops, no other matters.
    pub async fn stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Waits until all threads have ended, or `within` and a moment for cutting have passed.
pub async fn finish(threads: Vec<JoinHandle<()>>, within: Duration) -> ExitCode {
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
