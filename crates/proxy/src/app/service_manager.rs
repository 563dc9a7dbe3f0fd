//! Messages to the service manager, in the protocol of sd_notify. systemd waits for the first message at start, shows
//! the status, and restarts a process whose watchdog messages are missing. Without `NOTIFY_SOCKET` nothing is sent.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::control::report::Trigger;
use crate::metrics::ReloadResult;

/// The time limit of one message. A service manager that does not read must not stop the control thread for long.
const SENDING: Duration = Duration::from_secs(1);

/// The time that a stop may take after the drain: connections are cut, and queued lines of log and audit are written.
const AFTER_DRAIN: Duration = Duration::from_secs(10);

/// The part of the watchdog's time after which the next message is sent. Two messages may be late before the service
/// manager acts.
const MESSAGES_PER_WATCHDOG: u32 = 3;

/// The service manager that started this process, if it wants messages.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// Whether the last reload was rejected, for the status.
    rejected: AtomicBool,
    /// Whether another process speaks for the service now.
    silent: AtomicBool,
}

impl ServiceManager {
    /// Reads the variables that the service manager sets for the process. A socket that cannot be used is logged; the
    /// proxy runs without it.
    pub(super) fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let variables = [env::var_os("WATCHDOG_USEC"), env::var_os("WATCHDOG_PID")];
        match Self::connect(&name, variables) {
            Ok(manager) => manager,
            Err(error) => {
                tracing::warn!(
                    socket = ?name, %error,
                    "cannot send messages to the service manager; unset NOTIFY_SOCKET if there is none"
                );
                Self::default()
            }
        }
    }

    fn connect(name: &OsStr, [interval, owner]: [Option<OsString>; 2]) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(name)?)?;
        socket.set_write_timeout(Some(SENDING))?;
        Ok(Self {
            socket: Some(socket),
            watchdog: watchdog(interval, owner),
            rejected: AtomicBool::new(false),
            silent: AtomicBool::new(false),
        })
    }

    /// Tells that clients are served: all sockets listen, and all threads run.
    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    /// Tells that the files are being read again. Other addresses of host names are no reload to an administrator.
    pub(super) fn reloading(&self, trigger: Trigger) {
        if trigger == Trigger::Names {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&format!("RELOADING=1\n{now}")),
            Err(error) => {
                tracing::warn!(%error, "cannot read the clock: the service manager is not told of this reload")
            }
        }
    }

    /// Tells that a reload has ended.
    pub(super) fn reloaded(&self, trigger: Trigger, result: ReloadResult) {
        if trigger == Trigger::Names {
            return;
        }
        self.rejected.store(result == ReloadResult::Rejected, Relaxed);
        self.send("READY=1");
    }

    /// Tells that no new client is served, and that the rest may take until `within` is over.
    pub(super) fn stopping(&self, within: Duration) {
        let micros = (within + AFTER_DRAIN).as_micros();
        let status = format!("stopping: pending commands are finished first, within {within:?}");
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS={status}"));
    }

    /// Sends the status, one line that `systemctl status` shows.
    pub(super) fn tell_status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// Returns the status. `missing` names the upstreams that are not up.
    pub(super) fn status(&self, missing: &str) -> String {
        let state = if missing.is_empty() { "ready".to_owned() } else { format!("not ready: {missing}") };
        let rejected =
            if self.rejected.load(Relaxed) { "; the last reload was rejected: see the log" } else { "" };
        format!("{state}{rejected}").replace('\n', " ")
    }

    /// Tells that every thread responds.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Returns whether the service manager gets messages.
    pub(super) const fn is_present(&self) -> bool {
        self.socket.is_some()
    }

    /// Returns the time between two messages to the watchdog, if the service manager wants them.
    pub(super) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / MESSAGES_PER_WATCHDOG)
    }

    /// Sends nothing from now on: the service is another process now.
    pub(super) fn fall_silent(&self) {
        self.silent.store(true, Relaxed);
    }

    fn send(&self, message: &str) {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.silent.load(Relaxed)) else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::warn!(message = message.replace('\n', " "), %error, "a message to the service manager is lost");
        }
    }
}

/// Returns the address that `NOTIFY_SOCKET` names: an absolute path, or `@` and an abstract name.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "NOTIFY_SOCKET is neither an absolute path nor an abstract name that begins with @",
        )),
    }
}

/// Returns the watchdog's time limit, if there is one for this process. A child inherits the variables of its parent.
fn watchdog(interval: Option<OsString>, owner: Option<OsString>) -> Option<Duration> {
    let number = |value: OsString| value.to_str().and_then(|text| text.parse::<u64>().ok());
    let micros = number(interval?).filter(|micros| *micros > 0)?;
    let is_ours = owner.is_none_or(|owner| number(owner) == Some(u64::from(process::id())));
    is_ours.then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests;
