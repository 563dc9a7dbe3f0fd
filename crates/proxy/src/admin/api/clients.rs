//! `/api/clients`: the connected clients, a page at a time, and the order to disconnect one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::AdminState;
use crate::admin::answers::{Params, Segment, problem};
use crate::admin::guard::Access;
use crate::process::roster::{Matter, Row, Search};

/// The rows of a page, unless the request names another number.
const PAGE: usize = 100;

/// The most rows of a page.
const MAX_PAGE: usize = 1000;

/// The longest text to search for: the longest name that the proxy keeps.
const MAX_TEXT: usize = 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::admin) struct Wanted {
    q: String,
    address: String,
    user: String,
    name: String,
    listener: Option<String>,
    after: u64,
    limit: Option<usize>,
}

impl Wanted {
    /// # Errors
    /// A text is too long, or the page has no rows.
    fn search(self) -> Result<Search, &'static str> {
        let limit = self.limit.unwrap_or(PAGE).min(MAX_PAGE);
        if limit == 0 {
            return Err("limit must be at least 1");
        }
        let texts = [&self.q, &self.address, &self.user, &self.name];
        if texts.iter().any(|text| text.len() > MAX_TEXT) {
            return Err("a text to search for has at most 1024 bytes");
        }
        let [any, address, user, name] = texts.map(|text| text.trim().to_lowercase());
        // An empty choice of a form means all listeners.
        let listener = self.listener.filter(|listener| !listener.is_empty());
        Ok(Search { any, address, user, name, listener, after: self.after, limit })
    }
}

pub(in crate::admin) async fn clients(
    State(state): State<Arc<AdminState>>,
    Extension(access): Extension<Access>,
    Params(wanted): Params<Wanted>,
) -> Response {
    let search = match wanted.search() {
        Ok(search) => search,
        Err(why) => return problem(StatusCode::BAD_REQUEST, "query", why),
    };
    let Some(roster) = state.process.ask_as_operator(Matter::Page(search)).await else { return busy() };
    let rows: Vec<Value> = roster.rows().map(|(id, row)| facts(id, row, access)).collect();
    Json(json!({
        "clients": rows,
        "matched": roster.matched(),
        "next": roster.next(),
        "missing": roster.missing(),
    }))
    .into_response()
}

/// Answers `POST /api/clients/{id}/close`.
pub(in crate::admin) async fn close(State(state): State<Arc<AdminState>>, Segment(id): Segment) -> Response {
    let unknown = || problem(StatusCode::NOT_FOUND, "client", "no client with this number is connected");
    let Ok(id) = id.parse() else { return unknown() };
    match state.process.ask_as_operator(Matter::Close(id)).await {
        None => busy(),
        Some(roster) if roster.matched() > 0 => Json(json!({"closed": id})).into_response(),
        Some(roster) if roster.missing() > 0 => busy(),
        Some(_) => unknown(),
    }
}

fn busy() -> Response {
    let why = "the workers did not answer in time: try again";
    problem(StatusCode::SERVICE_UNAVAILABLE, "busy", why)
}

/// Returns the client as JSON. The load balancer that named its address is an inner address, so only an operator sees
/// it.
fn facts(id: u64, row: &Row, access: Access) -> Value {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let known = &row.facts;
    let mut facts = json!({
        "id": id,
        "address": row.address,
        "listener": *row.listener,
        "user": known.user,
        "name": text(&known.name),
        "library": text(&known.library),
        "db": known.db,
        "resp": if known.resp3 { 3 } else { 2 },
        "age_seconds": row.age.map(|age| age.as_secs()),
        "idle_seconds": row.idle.as_secs(),
        "state": state(row),
        "subscriptions": known.subscriptions,
        "group": row.group,
        "entry": row.entry,
    });
    if access.is_operator() {
        facts["sender"] = row.sender.as_deref().into();
    }
    facts
}

/// Returns what the client does, in one word.
fn state(row: &Row) -> &'static str {
    let facts = &row.facts;
    if row.age.is_none() {
        "starting"
    } else if facts.monitors {
        "monitor"
    } else if facts.subscriptions > 0 {
        "subscribed"
    } else if facts.blocks {
        "blocked"
    } else if facts.in_transaction {
        "transaction"
    } else {
        "normal"
    }
}
