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

/// SIGINTs within this time are one: a terminal sends it to the whole process group, and what started the gate (npm,
/// docker, a shell script) sends it again, within milliseconds or later on a busy machine. A person who presses Ctrl-C
/// twice faster than this presses it a third time.
const ECHO: Duration = Duration::from_millis(250);

/// The signals that the gate answers to.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Other programs reopen their logs at these, and scripts send them: they must not end the gate.
    user: [Signal; 2],
    interrupted: Option<Instant>,
}

impl Signals {
    /// Takes the signals over. Needs a runtime.
    ///
    /// # Errors
    /// Listens to the signals of the system.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
            interrupted: None,
        })
    }

    /// The next one. Dropped before that, none is missed.
    pub(super) async fn next(&mut self) -> Told {
        loop {
            let [user1, user2] = &mut self.user;
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return Told::Stop,
                _ = self.interrupt.recv() => match self.is_echo() {
                    true => continue,
                    false => return Told::Stop,
                },
                _ = self.hangup.recv() => return Told::Reload,
                _ = user1.recv() => "SIGUSR1",
                _ = user2.recv() => "SIGUSR2",
            };
            tracing::info!("{ignored} is ignored: SIGHUP reloads the configuration and reopens audit files");
        }
    }

    /// Whether a SIGINT that is here belongs to the one before it.
    fn is_echo(&mut self) -> bool {
        let now = Instant::now();
        if self.interrupted.is_some_and(|before| now.duration_since(before) < ECHO) {
            return true;
        }
        self.interrupted = Some(now);
        false
    }

    /// Until SIGTERM or SIGINT; while the gate stops, no other matters.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}

/// The meaning of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Waits until all threads have ended, or `within` and a moment for cutting have passed.
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
