//! The admin endpoint: a small HTTP server on the control thread.
//!
//! - `/metrics`: what is counted, for Prometheus
//! - `/live`: 200 while the process answers at all
//! - `/ready`: 200 while clients can be served; else 503 and the reasons, one a line
//! - `/`: this list
//!
//! On loopback it needs no token; with one, all but the first three want it. It gives way to nobody: connections are few,
//! short, and the oldest is closed for a new one, so slow clients cannot keep a scrape out.

mod guard;
mod routes;
mod server;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use portcullis_acl::Policy;
use secrecy::ExposeSecret;

use crate::config::{Admin, Config};
use crate::metrics::Metrics;
use crate::upstream::health::Health;

pub use self::server::{Bound, serve};

use self::guard::Guard;

/// What the routes answer from.
#[derive(Debug)]
pub struct AdminState {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    policy: Arc<Policy>,
    guard: Guard,
    draining: AtomicBool,
}

impl AdminState {
    /// For the endpoint that `admin` describes.
    pub fn new(admin: &Admin, config: &Config, metrics: Arc<Metrics>, health: Arc<Health>) -> Arc<Self> {
        let token = admin.token().map(ExposeSecret::expose_secret);
        Arc::new(Self {
            metrics,
            health,
            policy: Arc::clone(config.policy()),
            guard: Guard::new(admin.bind(), token),
            draining: AtomicBool::new(false),
        })
    }

    /// From now on `/ready` says that the process is stopping, so that no new clients are sent its way.
    pub fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}
