//! What each route answers.

use std::fmt::Write as _;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_acl::UnixSeconds;
use tokio::sync::oneshot;

use crate::log::Timestamp;
use crate::metrics::CONTENT_TYPE;
use crate::upstream::health::State;

use super::AdminState;

pub(super) fn router(state: Arc<AdminState>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
        .layer(from_fn_with_state(Arc::clone(&state), guarded))
        .with_state(state)
}

async fn guarded(Shared(state): Shared<Arc<AdminState>>, request: Request, next: Next) -> Response {
    let mut response = match state.guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(StatusCode::UNAUTHORIZED) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"portcullis\"")];
            (StatusCode::UNAUTHORIZED, challenge, "this needs the admin token: Authorization: Bearer TOKEN\n")
                .into_response()
        }
        Err(status) => {
            (status, "the Host header names neither this machine nor its address\n").into_response()
        }
    };
    for (name, value) in EVERYWHERE {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Plain text for programs: no browser should see more in it, keep it, or show it inside something else.
const EVERYWHERE: [(header::HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

async fn index() -> &'static str {
    concat!(
        "portcullis ",
        env!("CARGO_PKG_VERSION"),
        "\n\n/metrics  what is counted, for Prometheus\n/live     the process answers\n/ready    clients can be served\n"
    )
}

async fn live() -> &'static str {
    "live\n"
}

/// Names upstreams and kinds, never addresses: this page is open to whoever can connect.
async fn ready(Shared(state): Shared<Arc<AdminState>>) -> (StatusCode, String) {
    let mut reasons = String::new();
    if state.is_draining() {
        reasons.push_str("stopping\n");
    }
    for (name, _, found) in state.health.upstreams().filter(|(_, used, _)| *used) {
        let _ = match found {
            State::Up { .. } => Ok(()),
            State::Unknown => writeln!(reasons, "upstream '{name}' has not been probed yet"),
            State::Down { kind, since } => {
                writeln!(reasons, "upstream '{name}' is down ({kind}) since {}", Timestamp(since))
            }
        };
    }
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons)
    }
}

async fn metrics(Shared(state): Shared<Arc<AdminState>>) -> Response {
    match on_a_thread(move || state.page()).await {
        Some(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        None => (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made\n").into_response(),
    }
}

/// Makes a page without holding up the probes. A thread of its own, because those of the runtime may all be waiting for a
/// name server that does not answer, which is when somebody wants to see the page; there are at most as many as
/// connections.
async fn on_a_thread(make: impl FnOnce() -> String + Send + 'static) -> Option<String> {
    let (done, page) = oneshot::channel();
    let make = move || {
        // Who asked may have left.
        let _ = done.send(make());
    };
    thread::Builder::new().name("page".into()).spawn(make).ok()?;
    page.await.ok()
}

impl AdminState {
    fn page(&self) -> String {
        self.tell_groups();
        self.metrics.render()
    }

    /// Which entry expires next changes with the clock alone.
    fn tell_groups(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = UnixSeconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        for (index, group) in self.policy.groups().enumerate() {
            let entries = u64::try_from(group.entry_count()).unwrap_or(u64::MAX);
            self.metrics.group(index, entries, group.next_expiry(now).map(|until| until.0));
        }
    }
}
