//! The admin endpoint: a small HTTP server on the control thread.
//!
//! - `/metrics`: what is counted, for Prometheus
//! - `/live`: 200 while the process answers at all
//! - `/ready`: 200 while clients can be served; else 503 and the reasons, one a line
//! - `/`, `/app.js`, `/app.css`: the status page, which shows what the API answers
//! - `/api/...`: the API in JSON, which `/openapi.json` describes
//!
//! On loopback it needs no token to read; with one, all but the page and the first three need it. Changes always need
//! one. A browser trades the token for a cookie. Its connections are few and short, and the oldest is closed for a new
//! one, so slow clients cannot block a scrape.

mod answers;
mod api;
mod attempts;
mod entries;
mod events;
mod guard;
mod history;
mod page;
mod reloads;
mod routes;
mod sentinels;
mod server;
mod sessions;

impl FollowsReloads for AdminState {
    /// The address stays what it is. The sessions were opened with the token, so they end with it.
    fn follow(&self, admin: &Admin) {
        let before = self.guard.load();
        let guard = before.with_token(admin.token().map(ExposeSecret::expose_secret));
        let same = before.is_same_token(&guard);
        self.guard.store(Arc::new(guard));
        if !same {
            self.sessions.close_all();
        }
    }

    fn read_from(&self, files: &[ConfigFile]) {
        self.reloads().set_files(files);
    }

    fn reloaded(&self, report: &Report) {
        self.reloads().add(report);
    }
}

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use portcullis_config::{Admin, ConfigFile};
use secrecy::ExposeSecret;
use tokio::sync::{Mutex, mpsc};

use crate::control::names::NameTable;
use crate::control::reload::{FollowsReloads, Request};
use crate::control::report::Report;
use crate::process::Process;
use crate::upstream::health::Health;

pub(crate) use self::server::{Bound, serve};

use self::attempts::Attempts;
use self::events::Viewers;
use self::guard::Guard;
use self::history::History;
use self::reloads::Reloads;
use self::sessions::Sessions;

/// The state that the routes use.
#[derive(Debug)]
pub(crate) struct AdminState {
    process: Arc<Process>,
    health: Arc<Health>,
    names: Arc<NameTable>,
    guard: ArcSwap<Guard>,
    sessions: Sessions,
    attempts: Attempts,
    requests: mpsc::Sender<Request>,
    /// The lock that is held while a group is edited.
    edits: Mutex<()>,
    draining: AtomicBool,
    started: SystemTime,
    viewers: Viewers,
    history: std::sync::Mutex<History>,
    reloads: std::sync::Mutex<Reloads>,
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
            sessions: Sessions::default(),
            attempts: Attempts::default(),
            requests,
            edits: Mutex::new(()),
            draining: AtomicBool::new(false),
            started: SystemTime::now(),
            viewers: Viewers::default(),
            history: std::sync::Mutex::default(),
            reloads: std::sync::Mutex::default(),
        })
    }

    /// Makes `/ready` say that the process is shutting down, so that no new clients are sent to it.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reloads(&self) -> MutexGuard<'_, Reloads> {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
