//! The JSON API. A change needs the token, even on loopback, and must not come from a page of another origin in a
//! browser.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use portcullis_acl::{Group, Rule};
use portcullis_config::Host;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::AdminState;
use crate::clock::wall_clock;
use crate::control::names::NameTable;
use crate::control::reload::Request;
use crate::control::report::{Report, Trigger};
use crate::generation::explain::{self, Answer, AskedAddress, Question, json_rule, moment};
use crate::generation::store::Generation;
use crate::log::Timestamp;
use crate::metrics::ReloadResult;
use crate::run_on_thread::run_on_thread;
use crate::upstream::health::UpstreamHealth;

/// So many entries of a group are shown at a time, unless less is asked for; the next ones with `offset`.
const MAX_SHOWN: usize = 1000;

pub(super) async fn status(State(state): State<Arc<AdminState>>) -> Response {
    let made = run_on_thread("page", move || {
        let generation = state.process.store.current();
        let listeners: Vec<Value> = generation
            .listeners()
            .iter()
            .map(|listener| {
                let shadow = shadow(listener.state(), listener.has_shadow());
                let binds: Vec<String> =
                    listener.settings().binds().iter().map(ToString::to_string).collect();
                json!({
                    "name": **listener.name(),
                    "binds": binds,
                    "clients": listener.state().seat().taken(),
                    "shadow": shadow,
                })
            })
            .collect();
        let hosts: Vec<Value> =
            generation.config().hosts().iter().map(|host| host_facts(&state.names, host)).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "generation": generation.number(),
            "config": generation.config().path().display().to_string(),
            "workers": generation.workers(),
            "draining": state.is_draining(),
            "clients": state.process.seats.taken(),
            "listeners": listeners,
            "hosts": hosts,
            "upstreams": upstreams(&state),
        })
    });
    answer(made.await)
}

/// Returns null where the listener has no shadow lists, and no counts of earlier ones.
fn shadow(listener: &crate::generation::listener::ListenerState, has_one: bool) -> Value {
    let denied = listener.series().shadow_denied_total();
    if !has_one && denied == 0 {
        return Value::Null;
    }
    let (sources, truncated) = listener.shadow().sources(std::time::SystemTime::now());
    let sources: Vec<Value> = sources
        .into_iter()
        .map(|(ip, seen)| {
            json!({
                "source": ip.map_or_else(|| "unix".to_owned(), |ip| ip.to_string()),
                "count": seen.count,
                "first_seen": Timestamp(seen.first).to_string(),
                "last_seen": Timestamp(seen.last).to_string(),
            })
        })
        .collect();
    json!({
        "denied_total": denied,
        "sources": sources,
        "sources_truncated": truncated,
    })
}

fn upstreams(state: &AdminState) -> Vec<Value> {
    let shown = |(name, used, found): (String, bool, UpstreamHealth)| {
        let (up, kind, since) = match found {
            UpstreamHealth::Unknown => (None, None, None),
            UpstreamHealth::Up { since } => (Some(true), None, Some(since)),
            UpstreamHealth::Down { kind, since } => (Some(false), Some(kind.as_str()), Some(since)),
        };
        let since = since.map(|since| Timestamp(since).to_string());
        json!({"name": name, "used": used, "up": up, "kind": kind, "since": since})
    };
    state.health.upstreams().into_iter().map(shown).collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    ip: String,
    listener: Option<String>,
    user: Option<String>,
    command: Option<String>,
}

pub(super) async fn explain(
    State(state): State<Arc<AdminState>>,
    Query(question): Query<Explain>,
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

pub(super) async fn groups(State(state): State<Arc<AdminState>>) -> Response {
    let made = run_on_thread("page", move || {
        let generation = state.process.store.current();
        let groups: Vec<Value> = generation
            .policy()
            .groups()
            .map(|group| group_facts(&state, &generation, &group).into())
            .collect();
        json!({"generation": generation.number(), "groups": groups})
    });
    answer(made.await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

pub(super) async fn group(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Response {
    let made = run_on_thread("page", move || {
        let generation = state.process.store.current();
        let group = generation.policy().group(&name)?;
        let shown = page.limit.unwrap_or(MAX_SHOWN).min(MAX_SHOWN);
        let entries: Vec<Value> =
            group.entries().skip(page.offset).take(shown).map(|rule: Rule<'_>| json_rule(&rule)).collect();
        let mut facts = group_facts(&state, &generation, &group);
        facts.insert("offset".to_owned(), page.offset.into());
        facts.insert("entries_shown".to_owned(), entries.into());
        Some(Value::from(facts))
    });
    match made.await {
        Some(None) => problem(StatusCode::NOT_FOUND, "group", "unknown group"),
        made => answer(made.flatten()),
    }
}

fn group_facts(state: &AdminState, generation: &Generation, group: &Group<'_>) -> Map<String, Value> {
    let mut facts = Map::new();
    facts.insert("name".to_owned(), group.name().into());
    facts.insert("entries".to_owned(), group.entry_count().into());
    facts.insert("next_expiry".to_owned(), group.next_expiry(wall_clock()).map(moment).into());
    facts.insert("includes".to_owned(), group.includes().collect::<Vec<_>>().into());
    let hosts = generation.config().hosts().iter().filter(|host| host.group() == Some(group.name()));
    let hosts: Vec<Value> = hosts.map(|host| host_facts(&state.names, host)).collect();
    if !hosts.is_empty() {
        facts.insert("hosts".to_owned(), hosts.into());
    }
    facts
}

/// A host entry, its addresses and the age of its answer.
fn host_facts(names: &NameTable, host: &Host) -> Value {
    let facts = names.facts(host, Instant::now());
    let texts = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>();
    let age = facts.answered.and_then(|at| at.elapsed().ok());
    json!({
        "host": host.name().as_str(),
        "group": host.group(),
        "state": facts.state.as_str(),
        "addresses": texts(&mut facts.admitted.addresses.iter().map(ToString::to_string)),
        "dropped": texts(&mut facts.admitted.dropped.iter().map(|(ip, why)| format!("{ip} ({why})"))),
        "answered": facts.answered.map(|at| Timestamp(at).to_string()),
        "age_seconds": age.map(|age| age.as_secs()),
        "failures": facts.failures,
        "error": facts.error.map(|error| error.to_string()),
        "refresh_seconds": host.refresh().as_secs(),
        "keep_seconds": host.keep().as_secs(),
        "private": host.admits_private(),
        "file": host.file(),
        "line": host.line(),
        "note": host.meta().note,
        "owner": host.meta().owner,
        "until": host.meta().until.map(moment),
    })
}

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

/// Returns a response that says what is wrong: a word for programs, a text for people.
pub(super) fn problem(status: StatusCode, error: &str, text: &str) -> Response {
    (status, Json(json!({"error": error, "message": text}))).into_response()
}

fn answer(made: Option<Value>) -> Response {
    match made {
        Some(made) => Json(made).into_response(),
        None => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error: the answer could not be created",
        ),
    }
}
