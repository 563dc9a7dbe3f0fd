//! `POST /api/session` and its end: a browser trades the token for a cookie, so that a page need not keep the token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::admin::AdminState;
use crate::admin::answers::{Body, problem};
use crate::admin::guard::{Access, Credential};
use crate::admin::routes::refused;
use crate::admin::server::Connection;
use crate::admin::sessions::{LIFETIME, set_cookie};

/// The token. It has no `Debug`, so that no message shows it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Login {
    token: String,
}

pub(in crate::admin) async fn open(
    State(state): State<Arc<AdminState>>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    Body(login): Body<Login>,
) -> Response {
    let token = SecretString::from(login.token);
    let verdict = state.guard.load().verify(token.expose_secret(), connection.from(), &state.attempts);
    if let Err(refusal) = verdict {
        return refused(refusal);
    }
    match state.sessions.open(Instant::now()) {
        Some(cookie) => with_cookie(&cookie, LIFETIME, &headers),
        None => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the system has no random bytes"),
    }
}

/// Answers `DELETE /api/session`.
pub(in crate::admin) async fn close(
    State(state): State<Arc<AdminState>>,
    Extension(access): Extension<Access>,
    headers: HeaderMap,
) -> Response {
    if let Access::Operator(Credential::Session(key)) = access {
        state.sessions.close(&key);
    }
    with_cookie("", Duration::ZERO, &headers)
}

fn with_cookie(cookie: &str, lifetime: Duration, headers: &HeaderMap) -> Response {
    let mut response = Json(json!({"seconds": lifetime.as_secs()})).into_response();
    if let Ok(value) = HeaderValue::try_from(set_cookie(cookie, lifetime, headers)) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}
