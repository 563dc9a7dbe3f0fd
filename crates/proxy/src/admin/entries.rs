//! Adds and removes entries of groups over HTTP: the same edits as `portcullis groups add` and `remove`, then a
//! reload.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use portcullis_acl::Cidr;
use portcullis_config::LoadOptions;
use portcullis_config::edit::{self, Applied, BadEntry, Edit, EditError, Method, NewEntry};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::AdminState;
use super::api::{ask_for_reload, problem};
use crate::run_on_thread::run_on_thread;

/// Time limit of an edit. It reads and validates the whole configuration, which takes milliseconds. An edit that a
/// file blocks for longer must not block later edits. If it is still written, an edit in between gets an error that
/// the file has changed.
const EDITING: Duration = Duration::from_secs(30);

/// One entry more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    cidr: String,
    note: Option<String>,
    owner: Option<String>,
    until: Option<String>,
    /// Also where another entry covers it.
    #[serde(default)]
    force: bool,
    #[serde(default)]
    dry_run: bool,
    /// Also where the directory of the file is not writable, and its old text cannot be kept.
    #[serde(default)]
    in_place: bool,
}

/// One entry less.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    cidr: String,
    #[serde(default)]
    dry_run: bool,
    /// Also where the directory of the file is not writable, and its old text cannot be kept.
    #[serde(default)]
    in_place: bool,
}

pub(super) async fn add(
    State(state): State<Arc<AdminState>>,
    Path(group): Path<String>,
    body: Result<Json<Add>, JsonRejection>,
) -> Response {
    let Json(asked) = match body {
        Ok(asked) => asked,
        Err(rejection) => return problem(rejection.status(), "body", &rejection.body_text()),
    };
    let entry = match asked.entry() {
        Ok(entry) => entry,
        Err(bad) => return refusal(StatusCode::BAD_REQUEST, "entry", &bad.to_string(), Some(bad.hint())),
    };
    change(state, Writing::of(asked.dry_run, asked.in_place), move |config, options| {
        edit::add(config, &group, &entry, options)
    })
    .await
}

pub(super) async fn remove(
    State(state): State<Arc<AdminState>>,
    Path(group): Path<String>,
    body: Result<Json<Remove>, JsonRejection>,
) -> Response {
    let Json(asked) = match body {
        Ok(asked) => asked,
        Err(rejection) => return problem(rejection.status(), "body", &rejection.body_text()),
    };
    let cidr: Cidr = match asked.cidr.parse::<Cidr>() {
        Ok(cidr) => cidr,
        Err(bad) => return refusal(StatusCode::BAD_REQUEST, "entry", &bad.to_string(), Some(bad.hint())),
    };
    change(state, Writing::of(asked.dry_run, asked.in_place), move |config, options| {
        edit::remove(config, &group, cidr, options)
    })
    .await
}

/// The way to write an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Dry,
    Apply(Method),
}

impl Writing {
    fn of(dry_run: bool, in_place: bool) -> Self {
        match (dry_run, in_place) {
            (true, _) => Self::Dry,
            (false, true) => Self::Apply(Method::InPlace),
            (false, false) => Self::Apply(Method::Replace),
        }
    }
}

impl Add {
    fn entry(&self) -> Result<NewEntry, BadEntry> {
        let mut entry = NewEntry::parse(&self.cidr)?;
        if let Some(note) = &self.note {
            entry = entry.with_note(note)?;
        }
        if let Some(owner) = &self.owner {
            entry = entry.with_owner(owner)?;
        }
        if let Some(until) = &self.until {
            entry = entry.with_until(until)?;
        }
        Ok(if self.force { entry.even_if_covered() } else { entry })
    }
}

/// Runs an edit as a task of its own: an edit that has begun is finished and applied, even if the caller has
/// disconnected.
async fn change(
    state: Arc<AdminState>,
    writing: Writing,
    plan: impl FnOnce(&std::path::Path, &LoadOptions) -> Result<Edit, EditError> + Send + 'static,
) -> Response {
    let done = tokio::spawn(async move { carry_out(&state, writing, plan).await }).await;
    done.unwrap_or_else(|_| not_made())
}

/// Runs one edit at a time: the next one starts from the file that the first one wrote.
async fn carry_out(
    state: &AdminState,
    writing: Writing,
    plan: impl FnOnce(&std::path::Path, &LoadOptions) -> Result<Edit, EditError> + Send + 'static,
) -> Response {
    let _alone = state.edits.lock().await;
    let config = state.process.store.current().config().path().to_owned();
    let done = run_on_thread("edit", move || {
        let edit = plan(&config, &LoadOptions::new())?;
        let applied = match writing {
            Writing::Dry => Applied::default(),
            Writing::Apply(method) => edit.apply(method)?,
        };
        Ok(facts(&edit, &applied))
    });
    let Ok(done) = timeout(EDITING, done).await else {
        let why = "reading the configuration files timed out (a pipe, or a file system that hangs); check whether the entry exists before you try again";
        return problem(StatusCode::SERVICE_UNAVAILABLE, "late", why);
    };
    match done {
        None => not_made(),
        Some(Err(error)) => failure(&error),
        Some(Ok(facts)) if writing == Writing::Dry => Json(facts).into_response(),
        Some(Ok(mut facts)) => match ask_for_reload(state).await {
            Ok(report) => {
                if let (Value::Object(facts), Ok(report)) = (&mut facts, serde_json::to_value(report)) {
                    facts.insert("reload".to_owned(), report);
                }
                Json(facts).into_response()
            }
            Err(response) => response,
        },
    }
}

fn not_made() -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error: the edit was aborted")
}

fn facts(edit: &Edit, applied: &Applied) -> Value {
    let texts = |list: &[edit::Written]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "group": edit.group(),
        "entry": edit.cidr().to_string(),
        "file": edit.file().display().to_string(),
        "diff": edit.diff(),
        "covered_by": texts(edit.covered_by()),
        "shared_with": edit.shared_with(),
        "warnings": edit.warnings(),
        "in_place": applied.in_place,
        "backup": applied.backup,
    })
}

fn failure(error: &EditError) -> Response {
    let status = match error {
        EditError::UnknownGroup { .. } | EditError::NotThere { .. } => StatusCode::NOT_FOUND,
        EditError::Duplicate { .. }
        | EditError::Needless { .. }
        | EditError::Changed { .. }
        | EditError::ReadOnlyDirectory { .. } => StatusCode::CONFLICT,
        EditError::Locked { .. } => StatusCode::SERVICE_UNAVAILABLE,
        EditError::BuiltIn | EditError::PlainText { .. } | EditError::CannotEdit { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        EditError::Invalid(problems) => {
            let body = json!({"error": error.kind(), "message": error.to_string(), "problems": problems});
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response();
        }
        EditError::Io { .. } | EditError::NoBackup { .. } | EditError::HalfWritten { .. } => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let message = match error {
        EditError::ReadOnlyDirectory { .. } => {
            format!("{error}; send \"in_place\": true to write into the file")
        }
        _ => error.to_string(),
    };
    refusal(status, error.kind(), &message, error.hint())
}

fn refusal(status: StatusCode, error: &str, message: &str, hint: Option<String>) -> Response {
    (status, Json(json!({"error": error, "message": message, "hint": hint}))).into_response()
}
