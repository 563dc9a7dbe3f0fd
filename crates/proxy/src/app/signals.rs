//! The signals that the proxy handles.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// SIGINTs within this time count as one. A terminal sends SIGINT to the whole process group. The program
/// that started the proxy (npm, docker, a shell script) may send it again within milliseconds, or later on a
/// busy machine. A person who presses Ctrl-C twice faster than this can press it a third time.
const ECHO: Duration = Duration::from_millis(250);

/// The signals that the proxy handles.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// SIGUSR1 and SIGUSR2. Other programs reopen their logs on these, and scripts send them, so they must
    /// not end the proxy.
    user: [Signal; 2],
    interrupted: Option<Instant>,
}

impl Signals {
    /// Installs the signal handlers. Needs a runtime.
    ///
    /// # Errors
    /// The error of the system if a handler cannot be installed.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
            interrupted: None,
        })
    }

    /// Waits for the next signal that has a meaning. Cancellation-safe: dropping the future loses no signal.
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

    /// Returns whether a SIGINT that has just arrived repeats an earlier one (see [`ECHO`]).
    fn is_echo(&mut self) -> bool {
        let now = Instant::now();
        if self.interrupted.is_some_and(|before| now.duration_since(before) < ECHO) {
            return true;
        }
        self.interrupted = Some(now);
        false
    }

    /// Waits for SIGTERM or SIGINT, and ignores other signals. Used while the proxy drains.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}

/// The meaning of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// SIGTERM or SIGINT: stop.
    Stop,
    /// SIGHUP: reload the configuration.
    Reload,
}
