//! Take-over of listening sockets, which needs unix sockets. On Windows a new process starts when the old one has ended.

use std::fmt;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::{Bind, Config};
use tokio::sync::{mpsc, oneshot};

use crate::admin;
use crate::generation::store::Generation;
use crate::listener::AcceptorOrder;
use crate::net::ready::{ReadyAddress, ReadySockets};
use crate::process::Process;

/// The reason why the sockets of the running process cannot be taken over.
#[derive(Debug, thiserror::Error)]
#[error(
    "--takeover needs unix sockets, which the proxy does not have on Windows; stop the running process, then start this one"
)]
pub(crate) struct TakeError;

/// Returns a path, which [`take`] refuses.
pub(super) fn path(_: &Config) -> Option<PathBuf> {
    Some(PathBuf::new())
}

/// Reports that no sockets can be taken over.
///
/// # Errors
/// Always.
pub(super) const fn take(_: &Path, _: &mut ReadySockets) -> Result<Option<Taking>, TakeError> {
    Err(TakeError)
}

/// A take-over that has begun. There is none.
#[derive(Debug)]
pub(super) enum Taking {}

impl Taking {
    /// Lets the running process close sockets.
    ///
    /// # Errors
    /// Never.
    pub(super) fn release(&mut self, _: &[ReadyAddress]) -> Result<(), TakeError> {
        match *self {}
    }

    /// Blocks the sources that the running process has blocked.
    pub(super) fn block_sources(&self, _: &Generation) {
        match *self {}
    }

    /// Tells the running process that this one serves.
    ///
    /// # Errors
    /// Never.
    pub(super) fn finish(self) -> Result<(), TakeError> {
        match self {}
    }
}

/// The parts of the process that a take-over concerns. They are kept as long as on other systems.
#[derive(Clone)]
pub(super) struct Shared {
    /// The state that has the blocked sources.
    #[expect(dead_code, reason = "no process takes it over")]
    pub process: Arc<Process>,
    /// The thread that has the sockets of the listeners.
    #[expect(dead_code, reason = "no process takes it over")]
    pub acceptor: mpsc::Sender<AcceptorOrder>,
    /// The socket of the admin endpoint.
    #[expect(dead_code, reason = "no process takes it over")]
    pub admin: Option<(Bind, Rc<admin::Bound>)>,
}

impl Shared {
    /// Stops accepting. No process takes the sockets over, so this is never called.
    pub(super) async fn give_away(&self) {}
}

/// The offer of the listening sockets to a successor. There is none.
pub(super) struct Offer;

/// A successor that serves. There is none.
pub(super) struct Taken {
    /// The process.
    pub by: Peer,
    /// The successor is told when this is sent.
    pub stopped: oneshot::Sender<()>,
}

/// A process that takes over. There is none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {}

impl fmt::Display for Peer {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl Offer {
    /// Offers nothing.
    pub(super) fn start(_: Option<&Path>, _: Shared) -> Self {
        Self
    }

    /// Returns whether a successor can find this process.
    pub(super) const fn is_open(&self) -> bool {
        false
    }

    /// Waits until another process serves in place of this one, which never happens.
    pub(super) async fn taken(&mut self) -> Taken {
        pending().await
    }

    /// Waits until the successor has been told.
    pub(super) async fn finish(self) {}
}
