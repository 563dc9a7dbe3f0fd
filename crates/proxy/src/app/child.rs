//! `run --in-child`: the proxy runs in a child of the process that the service manager knows.
//!
//! systemd starts a service again only when its main process has ended, and that must not wait for the drain. So the
//! parent is the main process and has no clients. Told to release the child (SIGUSR2), it ends at once: the child goes
//! on, and gives its sockets to the child of the next main process.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::threads::{ThreadError, runtime};

/// The option that the parent is started with, and that of the child in its place.
const OPTIONS: [&str; 2] = ["--in-child", "--child"];

/// The message that releases the child, and the child's answer.
const RELEASE: u8 = b'r';

/// The time limit of the child's answer. Its control thread is stuck if it needs longer, and then the parent stays.
const ANSWER: Duration = Duration::from_secs(5);

/// Starts the same command in a child, and passes signals on to it. Ends with the child's exit code, or after it has
/// released the child.
///
/// # Errors
/// The child cannot be started.
pub(crate) fn run_in_child() -> Result<ExitCode, ThreadError> {
    let failed = ThreadError::of("the child process");
    let (channel, theirs) = UnixStream::pair().map_err(ThreadError::of("the child process"))?;
    let child = command().and_then(|mut command| command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn());
    let mut child = child.map_err(failed)?;
    let process = Pid::from_child(&child);
    let (ended, told) = oneshot::channel();
    thread::Builder::new()
        .name("wait".into())
        // The receiver is gone if the child was released.
        .spawn(move || drop(ended.send(child.wait())))
        .map_err(ThreadError::of("a thread"))?;
    runtime("the parent process")?
        .block_on(pass_on(process, &channel, told))
        .map_err(ThreadError::of("signal handling"))
}

fn command() -> io::Result<Command> {
    let [ours, childs] = OPTIONS;
    let replaced = |word: OsString| if word == *ours { OsStr::new(childs).to_owned() } else { word };
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1).map(replaced));
    // The watchdog's messages come from the child, whose number the service manager does not know.
    command.env_remove("WATCHDOG_PID");
    Ok(command)
}

async fn pass_on(
    child: Pid,
    channel: &UnixStream,
    mut ended: oneshot::Receiver<io::Result<ExitStatus>>,
) -> io::Result<ExitCode> {
    let mut release = signal(SignalKind::user_defined2())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        let signal = tokio::select! {
            biased;
            status = &mut ended => return Ok(exit_code(status)),
            // Before SIGTERM: the service manager sends both, one right after the other.
            _ = release.recv() => match is_released(channel) {
                true => return Ok(ExitCode::SUCCESS),
                false => continue,
            },
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => Signal::INT,
            _ = hangup.recv() => Signal::HUP,
        };
        // It fails if the child has just ended.
        let _ = kill_process(child, signal);
    }
}

fn is_released(mut channel: &UnixStream) -> bool {
    let mut answer = [0];
    let told = channel
        .set_read_timeout(Some(ANSWER))
        .and_then(|()| channel.write_all(&[RELEASE]))
        .and_then(|()| channel.read_exact(&mut answer));
    told.is_ok() && answer == [RELEASE]
}

fn exit_code(status: Result<io::Result<ExitStatus>, oneshot::error::RecvError>) -> ExitCode {
    let code = status.ok().and_then(Result::ok).and_then(|status| status.code());
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The parent, as the child sees it.
pub(super) struct Parent(Option<tokio::net::UnixStream>);

/// The news of the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromParent {
    /// The child is on its own from now on, until the next process takes its sockets over.
    Released,
    /// The parent has ended.
    Gone,
}

impl Parent {
    /// Stands for no parent: the process is not a child of [`run_in_child`].
    pub(super) const fn absent() -> Self {
        Self(None)
    }

    /// Connects to the parent on standard input. From now on the child ends when the parent does, also if it hangs. Needs
    /// a runtime.
    ///
    /// # Errors
    /// Standard input is not a socket, or the system refuses.
    pub(super) fn connect() -> io::Result<Self> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        stream.set_nonblocking(true)?;
        Ok(Self(Some(tokio::net::UnixStream::from_std(stream)?)))
    }

    /// Waits for news.
    pub(super) async fn news(&mut self) -> FromParent {
        let Some(stream) = &mut self.0 else { return std::future::pending().await };
        let mut byte = [0];
        match stream.read_exact(&mut byte).await {
            Ok(_) if byte == [RELEASE] => FromParent::Released,
            _ => FromParent::Gone,
        }
    }

    /// Lets the parent end alone.
    ///
    /// # Errors
    /// The system refuses, and the parent stays.
    pub(super) async fn part(&mut self) -> io::Result<()> {
        set_parent_process_death_signal(None)?;
        match self.0.take() {
            Some(mut stream) => stream.write_all(&[RELEASE]).await,
            None => Ok(()),
        }
    }
}
