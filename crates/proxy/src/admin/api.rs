//! The JSON API. A change needs the token or a session, even on loopback, and must not come from a page of another
//! origin in a browser.

pub(super) mod clients;
pub(super) mod config;
pub(super) mod explain;
pub(super) mod groups;
pub(super) mod samples;
pub(super) mod session;
pub(super) mod sources;
pub(super) mod status;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::AdminState;
use super::answers::problem;
use crate::control::reload::Request;
use crate::control::report::{Report, Trigger};
use crate::metrics::ReloadResult;

/// Answers `POST /api/reload`.
pub(super) async fn reload(State(state): State<Arc<AdminState>>) -> Response {
    match ask_for_reload(&state).await {
        Ok(report) if report.result() == ReloadResult::Rejected => {
            (StatusCode::UNPROCESSABLE_ENTITY, Json(report)).into_response()
        }
        Ok(report) => Json(report).into_response(),
        Err(response) => response,
    }
}

/// Reloads the configuration and waits for the result.
///
/// # Errors
/// The response for the caller.
pub(super) async fn ask_for_reload(state: &AdminState) -> Result<Report, Response> {
    let (answer, told) = oneshot::channel();
    let request = Request { trigger: Trigger::Api, answer };
    // One that could not be passed on is dropped, which shows below.
    if let Err(TrySendError::Full(_)) = state.requests.try_send(request) {
        return Err(problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many reloads are waiting: try again later",
        ));
    }
    told.await.map_err(|_| problem(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the proxy is shutting down"))
}
