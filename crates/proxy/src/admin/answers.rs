//! Answers in JSON, and the extractors whose errors are such answers.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Returns a response that says what is wrong: a word for programs, a text for people.
pub(super) fn problem(status: StatusCode, error: &str, text: &str) -> Response {
    (status, Json(json!({"error": error, "message": text}))).into_response()
}

/// Returns the answer that a thread of its own has made. `None` means that the thread failed.
pub(super) fn answer(made: Option<Value>) -> Response {
    match made {
        Some(made) => Json(made).into_response(),
        None => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error: the answer could not be created",
        ),
    }
}

/// The parameters behind the question mark.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let found: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        match found {
            Ok(Query(found)) => Ok(Self(found)),
            Err(rejection) => Err(problem(rejection.status(), "query", &rejection.body_text())),
        }
    }
}

/// The variable part of a path: a name or a number.
#[derive(Debug)]
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let found: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        match found {
            Ok(Path(found)) => Ok(Self(found)),
            Err(rejection) => Err(problem(rejection.status(), "path", &rejection.body_text())),
        }
    }
}

/// The JSON body of a request.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let found: Result<Json<T>, JsonRejection> = Json::from_request(request, state).await;
        match found {
            Ok(Json(found)) => Ok(Self(found)),
            Err(rejection) => Err(problem(rejection.status(), "body", &rejection.body_text())),
        }
    }
}
