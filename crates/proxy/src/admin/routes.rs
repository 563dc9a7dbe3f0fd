//! The response of each route.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::clock::wall_clock;
use crate::log::Timestamp;
use crate::metrics::CONTENT_TYPE;
use crate::run_on_thread::run_on_thread;
use crate::upstream::health::UpstreamHealth;

use super::{AdminState, api, entries};

/// An entry with its note is a few hundred bytes.
const MAX_BODY: usize = 64 << 10;

pub(super) fn router(state: Arc<AdminState>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/api/status", get(api::status))
        .route("/api/explain", get(api::explain))
        .route("/api/groups", get(api::groups))
        .route("/api/groups/{group}", get(api::group))
        .route("/api/groups/{group}/entries", post(entries::add))
        .route("/api/groups/{group}/entries/remove", post(entries::remove))
        .route("/api/reload", post(api::reload))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
        .layer(from_fn_with_state(Arc::clone(&state), guarded))
        .with_state(state)
}

async fn guarded(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    let verdict = state.guard.load().check(request.method(), request.uri(), request.headers());
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let mut response = (refusal.status(), format!("{refusal}\n")).into_response();
            if refusal.status() == StatusCode::UNAUTHORIZED {
                let challenge = HeaderValue::from_static("Bearer realm=\"portcullis\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
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
        "\n\n\
         GET  /metrics                metrics for Prometheus\n\
         GET  /live                   200 while the process runs\n\
         GET  /ready                  200 while clients can be served\n\
         GET  /api/status             listeners, upstreams, sources that shadow lists would refuse\n\
         GET  /api/groups             groups; /api/groups/NAME with entries\n\
         GET  /api/explain?ip=        the entry that decides about an address\n\
         POST /api/reload             reload the configuration\n\
         POST /api/groups/NAME/entries         add or change {\"cidr\": ..., \"note\", \"owner\", \"until\"}\n\
         POST /api/groups/NAME/entries/remove  remove {\"cidr\": ...}\n"
    )
}

async fn live() -> &'static str {
    "live\n"
}

/// Names upstreams and kinds, never addresses: any client that can connect may read this page.
async fn ready(State(state): State<Arc<AdminState>>) -> (StatusCode, String) {
    let mut reasons = String::new();
    if state.is_draining() {
        reasons.push_str("stopping\n");
    }
    for (name, _, found) in state.health.upstreams().into_iter().filter(|(_, used, _)| *used) {
        let _ = match found {
            UpstreamHealth::Up { .. } => Ok(()),
            UpstreamHealth::Unknown => writeln!(reasons, "upstream '{name}' has not been probed yet"),
            UpstreamHealth::Down { kind, since } => {
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

async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    // There are at most as many threads as connections.
    match run_on_thread("page", move || state.page()).await {
        Some(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        None => (StatusCode::INTERNAL_SERVER_ERROR, "internal error: the page could not be created\n")
            .into_response(),
    }
}

impl AdminState {
    fn page(&self) -> String {
        self.process.store.current().tell_metrics(wall_clock());
        self.process.metrics.render()
    }
}
