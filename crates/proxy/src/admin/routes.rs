//! The routes, and what is the same for all of them: the guard, headers and the audit of changes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde::Serialize;

use crate::clock::wall_clock;
use crate::log::{LogThrottle, Timestamp};
use crate::metrics::CONTENT_TYPE;
use crate::run_on_thread::run_on_thread;
use crate::upstream::health::UpstreamHealth;

use super::answers::problem;
use super::guard::{Access, Credential, Knock, Refusal, SESSION_PATH, is_usual};
use super::sentinels::Sentinels;
use super::server::Connection;
use super::{AdminState, api, entries, events, page};

/// An entry with its note is a few hundred bytes.
const MAX_BODY: usize = 64 << 10;

/// The routes below these beginnings answer in JSON, whatever the answer is.
const JSON_PATHS: [&str; 2] = ["/api/", "/openapi.json"];

/// A path, its methods, and the functions that answer them.
type Route = (&'static str, &'static [&'static str], MethodRouter<Arc<AdminState>>);

/// All routes. `openapi.json` describes them; a test compares the two.
pub(super) fn routes() -> Vec<Route> {
    vec![
        ("/", &["get"], get(page::index)),
        ("/app.js", &["get"], get(page::script)),
        ("/app.css", &["get"], get(page::style)),
        ("/favicon.ico", &["get"], get(page::icon)),
        ("/openapi.json", &["get"], get(page::openapi)),
        ("/metrics", &["get"], get(metrics)),
        ("/live", &["get"], get(live)),
        ("/ready", &["get"], get(ready)),
        ("/api/status", &["get"], get(api::status::status)),
        ("/api/upstreams", &["get"], get(api::status::upstreams)),
        ("/api/events", &["get"], get(events::events)),
        ("/api/clients", &["get"], get(api::clients::clients)),
        ("/api/clients/{id}/close", &["post"], post(api::clients::close)),
        ("/api/sources", &["get"], get(api::sources::sources)),
        ("/api/sources/unblock", &["post"], post(api::sources::unblock)),
        ("/api/explain", &["get"], get(api::explain::explain)),
        ("/api/groups", &["get"], get(api::groups::groups)),
        ("/api/groups/{group}", &["get"], get(api::groups::group)),
        ("/api/groups/{group}/entries", &["post"], post(entries::add)),
        ("/api/groups/{group}/entries/remove", &["post"], post(entries::remove)),
        ("/api/slowlog", &["get"], get(api::samples::slowlog)),
        ("/api/bigkeys", &["get"], get(api::samples::bigkeys)),
        ("/api/hotkeys", &["get"], get(api::samples::hotkeys)),
        ("/api/config", &["get"], get(api::config::config)),
        ("/api/reload", &["post"], post(api::reload)),
        (SESSION_PATH, &["post", "delete"], post(api::session::open).delete(api::session::close)),
    ]
}

pub(super) fn router(state: Arc<AdminState>) -> Router {
    let mut router = Router::new();
    for (path, _, answers) in routes() {
        router = router.route(path, answers);
    }
    router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&state), guarded))
        .with_state(state)
}

async fn guarded(
    State(state): State<Arc<AdminState>>,
    Extension(connection): Extension<Connection>,
    mut request: Request,
    next: Next,
) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let knock = Knock { method: &method, uri: &uri, headers: request.headers(), from: connection.from() };
    let verdict = state.guard.load().check(knock, &state.sessions, &state.attempts);
    let mut response = match verdict {
        // Without a token, no request may change anything. One that no token would permit says so.
        Err(Refusal::NoToken) if let Some(allowed) = methods_instead_of(&method, uri.path()) => {
            let mut response = wrong_method(uri).await;
            response.headers_mut().insert(header::ALLOW, allowed);
            response
        }
        Ok(access) => {
            request.extensions_mut().insert(access);
            let response = next.run(request).await;
            if is_usual(&method) && !matches!(method, Method::GET | Method::HEAD) {
                Change::of(&connection, access, &method, &uri, response.status()).report(&state);
            }
            response
        }
        Err(refusal) if is_json(&uri) => refused(refusal),
        Err(refusal) => {
            let mut response = (refusal.status(), format!("{refusal}\n")).into_response();
            say_how(refusal, &mut response);
            response
        }
    };
    for (name, value) in EVERYWHERE {
        // The page has a policy of its own.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Returns the methods of a path that exists and does not have this method.
fn methods_instead_of(method: &Method, path: &str) -> Option<HeaderValue> {
    let is_path_of = |pattern: &str| {
        let (known, given) = (pattern.split('/'), path.split('/'));
        known.clone().count() == given.clone().count()
            && known.zip(given).all(|(known, given)| known == given || known.starts_with('{'))
    };
    let method = method.as_str().to_ascii_lowercase();
    let routes = routes();
    let (_, methods, _) = routes.iter().find(|(pattern, ..)| is_path_of(pattern))?;
    if methods.contains(&method.as_str()) {
        return None;
    }
    HeaderValue::from_str(&methods.join(", ").to_ascii_uppercase()).ok()
}

/// Returns the answer to a request that is refused.
pub(super) fn refused(refusal: Refusal) -> Response {
    let mut response = problem(refusal.status(), refusal.kind(), &refusal.to_string());
    say_how(refusal, &mut response);
    response
}

/// Adds the header that tells a program what to do.
fn say_how(refusal: Refusal, response: &mut Response) {
    let headers = response.headers_mut();
    match refusal {
        Refusal::Token => {
            let challenge = HeaderValue::from_static("Bearer realm=\"portcullis\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        Refusal::Wait(left) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(left.as_secs().max(1)));
        }
        Refusal::Host | Refusal::NoToken | Refusal::Origin | Refusal::Header => {}
    }
}

fn is_json(uri: &Uri) -> bool {
    JSON_PATHS.iter().any(|beginning| uri.path().starts_with(beginning))
}

/// No browser should see more in an answer than it is, keep it, or show it inside something else.
const EVERYWHERE: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
];

async fn not_found(uri: Uri) -> Response {
    if is_json(&uri) {
        return problem(StatusCode::NOT_FOUND, "path", "there is no such path; /openapi.json lists all");
    }
    (StatusCode::NOT_FOUND, "not found\n").into_response()
}

async fn wrong_method(uri: Uri) -> Response {
    if is_json(&uri) {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "method", "this path does not have this method");
    }
    (StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n").into_response()
}

/// The value of [`Change::by`] for a request that has no right yet.
const LOGIN: &str = "login";

/// The audit line of an administrative change: who did what, and with which result.
#[derive(Serialize)]
struct Change<'a> {
    event: &'static str,
    source: String,
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    method: &'a str,
    path: &'a str,
    status: u16,
}

impl<'a> Change<'a> {
    fn of(
        connection: &Connection,
        access: Access,
        method: &'a Method,
        uri: &'a Uri,
        status: StatusCode,
    ) -> Self {
        let by = match access {
            Access::Reader => LOGIN,
            Access::Operator(Credential::Token(_)) => "token",
            Access::Operator(Credential::Session(_)) => "session",
        };
        let source = connection.from().to_string();
        Self {
            event: "admin",
            source,
            by,
            uid: connection.uid(),
            method: method.as_str(),
            path: uri.path(),
            status: status.as_u16(),
        }
    }

    /// Reports the change. Anyone who can connect may send a wrong token, so failed logins have one line a second.
    fn report(&self, state: &AdminState) {
        static FAILED: LogThrottle = LogThrottle::new();
        let is_login = self.by == LOGIN;
        if !is_login || self.status == StatusCode::OK.as_u16() || FAILED.tell(Instant::now()).is_some() {
            state.process.audit.event(self);
        }
    }
}

async fn live() -> &'static str {
    "live\n"
}

/// Names upstreams and kinds, never addresses: any client that can connect may read this page. Too few sentinels are no
/// reason to send clients elsewhere, because other proxies ask the same ones.
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
    let status = if reasons.is_empty() {
        reasons.push_str("ready\n");
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    for (upstream, Sentinels { naming, configured, .. }) in state.unsure_upstreams() {
        let _ = writeln!(
            reasons,
            "upstream '{upstream}': only {naming} of {configured} sentinels name the master; a failover may go unnoticed"
        );
    }
    (status, reasons)
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
