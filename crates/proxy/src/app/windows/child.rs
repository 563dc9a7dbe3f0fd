//! `run --in-child`, which is for service managers that send signals.

use std::future::pending;
use std::io;
use std::process::ExitCode;

use super::threads::ThreadError;

/// Reports that there is no such way to run.
///
/// # Errors
/// Always.
pub(crate) fn run_in_child() -> Result<ExitCode, ThreadError> {
    Err(ThreadError::of("the child process")(io::Error::new(
        io::ErrorKind::Unsupported,
        "--in-child needs signals, which Windows does not have; run without it, or as a service",
    )))
}

/// The parent, as the child sees it. There is none.
pub(super) struct Parent;

/// The news of the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromParent {
    /// The child is on its own from now on.
    #[expect(dead_code, reason = "no process of Windows has such a parent")]
    Released,
    /// The parent has ended.
    #[expect(dead_code, reason = "no process of Windows has such a parent")]
    Gone,
}

impl Parent {
    /// Stands for no parent.
    pub(super) const fn absent() -> Self {
        Self
    }

    /// Reports that there is no parent.
    ///
    /// # Errors
    /// Always.
    pub(super) fn connect() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits for news, which never come.
    pub(super) async fn news(&mut self) -> FromParent {
        pending().await
    }

    /// Lets the parent end alone.
    ///
    /// # Errors
    /// Never.
    pub(super) async fn part(&mut self) -> io::Result<()> {
        Ok(())
    }
}
