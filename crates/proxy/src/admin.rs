//! The admin endpoint: a small HTTP server on the control thread.
//!
//! - `/metrics`: what is counted, for Prometheus
//! - `/live`: 200 while the process answers at all
//! - `/ready`: 200 while clients can be served; else 503 and the reasons, one a line
//! - `/api/status`, `/api/groups`, `/api/explain`: what is in force, in JSON
//! - `POST /api/reload`: reads the config again
//! - `POST /api/groups/NAME/entries` and `.../entries/remove`: edits a group, then reloads
//! - `/`: this list
//!
//! On loopback it needs no token to read; with one, all but the first three need it. Changes always need one. Its
//! connections are few and short, and the oldest is closed for a new one, so slow clients cannot block a scrape.

mod api;
mod entries;
mod guard;
mod routes;
mod server;

impl FollowsToken for AdminState {
    /// The address stays what it is.
    fn follow(&self, admin: &Admin) {
        let guard = self.guard.load().with_token(admin.token().map(ExposeSecret::expose_secret));
        self.guard.store(Arc::new(guard));
    }
}

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;
use portcullis_config::Admin;
use secrecy::ExposeSecret;
use tokio::sync::{Mutex, mpsc};

use crate::control::names::NameTable;
use crate::control::reload::{FollowsToken, Request};
use crate::process::Process;
use crate::upstream::health::Health;

pub(crate) use self::server::{Bound, serve};

use self::guard::Guard;

/// The state that the routes use.
#[derive(Debug)]
pub(crate) struct AdminState {
    process: Arc<Process>,
    health: Arc<Health>,
    names: Arc<NameTable>,
    guard: ArcSwap<Guard>,
    requests: mpsc::Sender<Request>,
    /// The lock that is held while a group is edited.
    edits: Mutex<()>,
    draining: AtomicBool,
}

impl AdminState {
    /// Makes the state for the endpoint that `admin` describes. `requests` leads to the reloader.
    pub(crate) fn new(
        admin: &Admin,
        process: Arc<Process>,
        health: Arc<Health>,
        names: Arc<NameTable>,
        requests: mpsc::Sender<Request>,
    ) -> Arc<Self> {
        let guard = ArcSwap::from_pointee(Guard::of(admin));
        Arc::new(Self {
            process,
            health,
            names,
            guard,
            requests,
            edits: Mutex::new(()),
            draining: AtomicBool::new(false),
        })
    }

    /// Makes `/ready` say that the process is shutting down, so that no new clients are sent to it.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}
