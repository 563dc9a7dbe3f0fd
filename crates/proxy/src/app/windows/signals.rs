//! The events that stop the proxy: keys of the console, its end, and the end of the system.

use std::io;

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};
use tokio::sync::Notify;

/// The service manager stops the proxy. One wake-up waits if the proxy does not wait for it yet.
static STOP: Notify = Notify::const_new();

/// Stops the proxy as Ctrl-C does.
pub(crate) fn stop() {
    STOP.notify_one();
}

/// The events that the proxy handles.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: CtrlC,
    breaks: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Signals {
    /// Installs the handlers. Needs a runtime.
    ///
    /// # Errors
    /// The error of the system if a handler cannot be installed.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            breaks: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// Waits for the next event. Cancellation-safe: dropping the future loses no event.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.breaks.recv() => Told::Stop,
            _ = self.close.recv() => Told::Stop,
            _ = self.shutdown.recv() => Told::Stop,
            () = STOP.notified() => Told::Stop,
        }
    }

    /// Waits for an event that stops the proxy. Used while the proxy drains.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}

/// The meaning of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Stop.
    Stop,
    /// Reload the configuration, which no event of Windows means.
    #[expect(dead_code, reason = "Windows has no signal for it")]
    Reload,
}
