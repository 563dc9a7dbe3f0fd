//! `/api/explain`: the decision about an address.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::admin::AdminState;
use crate::admin::answers::{Params, problem};
use crate::clock::wall_clock;
use crate::generation::explain::{self, Answer, AskedAddress, Question};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Explain {
    ip: String,
    listener: Option<String>,
    user: Option<String>,
    command: Option<String>,
}

pub(in crate::admin) async fn explain(
    State(state): State<Arc<AdminState>>,
    Params(question): Params<Explain>,
) -> Response {
    let generation = state.process.store.current();
    let config = generation.config();
    let source = match AskedAddress::parse(&question.ip) {
        Ok(source) => source,
        Err(why) => return problem(StatusCode::BAD_REQUEST, "address", &why.to_string()),
    };
    let rights = match Question::new(question.user, question.command) {
        Ok(rights) => rights,
        Err(why) => return problem(StatusCode::BAD_REQUEST, "command", &why.to_string()),
    };
    match explain::listeners(config, question.listener.as_deref()) {
        Ok(asked) => {
            let now = wall_clock();
            let listeners = generation.listeners().iter();
            let answers: Vec<Answer<'_>> = listeners
                .map(|listener| (&**listener.settings(), listener.logins()))
                .filter(|(listener, _)| asked.contains(listener))
                .map(|(listener, logins)| Answer::of(config, listener, logins, &source, &rights, now))
                .collect();
            Json(explain::as_json(&source, &answers)).into_response()
        }
        Err(why) => problem(StatusCode::NOT_FOUND, "listener", &why.to_string()),
    }
}
