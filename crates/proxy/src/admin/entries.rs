//! Adds and removes entries of groups over HTTP: the same edits as `portcullis groups add` and `remove`, then a
//! reload.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use portcullis_config::edit::{
    self, Applied, BadEntry, Change, Details, Edit, EditError, Method, NewEntry, Written,
};
use portcullis_config::{LoadOptions, Origin};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::AdminState;
use super::answers::{Body, Segment, problem};
use super::api::ask_for_reload;
use crate::clock::wall_clock;
use crate::generation::explain::moment;
use crate::run_on_thread::run_on_thread;

/// Time limit of an edit. It reads and validates the whole configuration, which takes milliseconds. An edit that a
/// file blocks for longer must not block later edits. If it is still written, an edit in between gets an error that
/// the file has changed.
const EDITING: Duration = Duration::from_secs(30);

/// The fault of an address, or of what is said about it.
#[derive(Debug)]
struct Fault {
    message: String,
    hint: String,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        refusal(StatusCode::BAD_REQUEST, "entry", &self.message, Some(self.hint))
    }
}

/// One address or several.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "'cidr' must be an address, or a list of addresses")]
enum Cidrs {
    One(String),
    Several(Vec<String>),
}

impl Cidrs {
    /// Reads each address with `read`.
    fn read<T>(&self, read: impl Fn(&String) -> Result<T, BadEntry>) -> Result<Vec<T>, Fault> {
        let list = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(list) => list,
        };
        if list.is_empty() {
            let hint = "send an address, or a list of addresses";
            return Err(Fault { message: "'cidr' is an empty list".to_owned(), hint: hint.to_owned() });
        }
        let fault = |bad: BadEntry| Fault { message: bad.to_string(), hint: bad.hint() };
        list.iter().map(read).collect::<Result<_, _>>().map_err(fault)
    }
}

/// Entries to add, or to change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    cidr: Cidrs,
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

/// Entries to remove.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    cidr: Cidrs,
    #[serde(default)]
    dry_run: bool,
    /// Also where the directory of the file is not writable, and its old text cannot be kept.
    #[serde(default)]
    in_place: bool,
}

pub(super) async fn add(
    State(state): State<Arc<AdminState>>,
    Segment(group): Segment,
    Body(asked): Body<Add>,
) -> Response {
    let entries = match asked.entries() {
        Ok(entries) => entries,
        Err(fault) => return fault.into_response(),
    };
    change(state, Writing::of(asked.dry_run, asked.in_place), move |config, options| {
        edit::add(config, &group, &entries, options)
    })
    .await
}

pub(super) async fn remove(
    State(state): State<Arc<AdminState>>,
    Segment(group): Segment,
    Body(asked): Body<Remove>,
) -> Response {
    let cidrs = match asked.cidr.read(|text| NewEntry::parse(text).map(|entry| entry.cidr())) {
        Ok(cidrs) => cidrs,
        Err(fault) => return fault.into_response(),
    };
    change(state, Writing::of(asked.dry_run, asked.in_place), move |config, options| {
        edit::remove(config, &group, &cidrs, options)
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
    fn entries(&self) -> Result<Vec<NewEntry>, Fault> {
        let now = wall_clock();
        let (note, owner, until) = (self.note.as_deref(), self.owner.as_deref(), self.until.as_deref());
        let details = Details { note, owner, until };
        let entry = |text: &String| {
            let entry = NewEntry::parse(text)?.with(&details, now)?;
            Ok(if self.force { entry.even_if_covered() } else { entry })
        };
        self.cidr.read(entry)
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
    let Origin::File(config) = state.process.store.current().config().origin().clone() else {
        let hint = "restart it with a configuration file: 'portcullis run --print-config' with the same options prints one";
        let message = "the proxy was started with options in place of a file: there is no file to edit";
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "no_file", message, Some(hint.to_owned()));
    };
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

/// Returns the edit as JSON. The keys of the first entry stand at the top too, for clients that edit one.
fn facts(edit: &Edit, applied: &Applied) -> Value {
    let entries: Vec<Value> = edit.changes().iter().map(entry_facts).collect();
    let mut facts = entries.first().cloned().unwrap_or_else(|| json!({}));
    facts["group"] = edit.group().into();
    facts["file"] = edit.file().display().to_string().into();
    facts["diff"] = edit.diff().into();
    facts["entries"] = entries.into();
    facts["shared_with"] = edit.shared_with().into();
    facts["warnings"] = json!(edit.warnings());
    facts["in_place"] = applied.in_place.into();
    facts["backup"] = json!(applied.backup);
    facts
}

fn entry_facts(change: &Change) -> Value {
    let texts = |list: &[Written]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    match change {
        Change::Added { cidr, until, covered_by, .. } => json!({
            "change": "added", "entry": cidr.to_string(), "covered_by": texts(covered_by),
            "until": until.as_ref().map(|until| moment(until.at())),
        }),
        Change::Changed { cidr, until, covered_by, .. } => json!({
            "change": "changed", "entry": cidr.to_string(), "covered_by": texts(covered_by),
            "until": until.as_ref().map(|until| moment(until.at())),
        }),
        Change::Unchanged { cidr, .. } => {
            json!({"change": "unchanged", "entry": cidr.to_string(), "covered_by": []})
        }
        Change::Removed { cidr, covered_by, .. } => {
            json!({"change": "removed", "entry": cidr.to_string(), "covered_by": texts(covered_by)})
        }
        // The endpoint edits entries only.
        Change::Created { .. } | Change::Deleted { .. } => json!({}),
    }
}

fn failure(error: &EditError) -> Response {
    let status = match error {
        EditError::UnknownGroup { .. } | EditError::NotThere { .. } => StatusCode::NOT_FOUND,
        EditError::Duplicate { .. }
        | EditError::Needless { .. }
        | EditError::Changed { .. }
        | EditError::Exists { .. }
        | EditError::InUse { .. }
        | EditError::ReadOnlyDirectory { .. } => StatusCode::CONFLICT,
        EditError::Locked { .. } => StatusCode::SERVICE_UNAVAILABLE,
        EditError::BuiltIn
        | EditError::PlainText { .. }
        | EditError::JsonList { .. }
        | EditError::BadName { .. }
        | EditError::CannotEdit { .. } => StatusCode::UNPROCESSABLE_ENTITY,
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
