//! Messages to a service manager that speaks the protocol of sd_notify. Windows has none: nothing is sent.

use std::time::Duration;

use crate::control::report::Trigger;
use crate::metrics::ReloadResult;

/// The service manager that started this process, if it wants messages: none.
#[derive(Debug, Default)]
pub(super) struct ServiceManager;

impl ServiceManager {
    /// Returns that there is none.
    pub(super) const fn from_environment() -> Self {
        Self
    }

    /// Tells that clients are served.
    pub(super) const fn ready(&self) {}

    /// Tells that the files are being read again.
    pub(super) const fn reloading(&self, _: Trigger) {}

    /// Tells that a reload has ended.
    pub(super) const fn reloaded(&self, _: Trigger, _: ReloadResult) {}

    /// Tells that no new client is served.
    pub(super) const fn stopping(&self, _: Duration) {}

    /// Sends the status.
    pub(super) const fn tell_status(&self, _: &str) {}

    /// Returns the status.
    pub(super) const fn status(&self, _: &str) -> String {
        String::new()
    }

    /// Tells that every thread responds.
    pub(super) const fn alive(&self) {}

    /// Returns whether the service manager gets messages.
    pub(super) const fn is_present(&self) -> bool {
        false
    }

    /// Returns the time between two messages to the watchdog.
    pub(super) const fn watchdog_interval(&self) -> Option<Duration> {
        None
    }

    /// Sends nothing from now on.
    pub(super) const fn fall_silent(&self) {}
}
