//! `/api/slowlog`, `/api/bigkeys` and `/api/hotkeys`: samples of commands that stood out.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json, response::IntoResponse};
use serde_json::{Value, json};

use crate::admin::AdminState;
use crate::admin::guard::Access;
use crate::log::Timestamp;
use crate::process::samples::{Hot, Ranked, Sample};
use crate::worker::watch::DRAWN_OF;

/// The keys of a listener that are shown.
const MOST_KEYS: usize = 50;

/// Answers `/api/slowlog`.
pub(in crate::admin) async fn slowlog(
    State(state): State<Arc<AdminState>>,
    Extension(access): Extension<Access>,
) -> Response {
    let generation = state.process.store.current();
    let threshold = generation.config().observe().slow().map(|slow| slow.as_secs_f64());
    let Ranked { newest, highest } = state.process.samples.slow();
    let list =
        |samples: &[Arc<Sample>]| list(samples, access, "seconds", |sample| json!(sample.value as f64 / 1e9));
    let answer = json!({"threshold_seconds": threshold, "newest": list(&newest), "slowest": list(&highest)});
    Json(answer).into_response()
}

/// Answers `/api/bigkeys`.
pub(in crate::admin) async fn bigkeys(
    State(state): State<Arc<AdminState>>,
    Extension(access): Extension<Access>,
) -> Response {
    let generation = state.process.store.current();
    let Ranked { newest, highest } = state.process.samples.large();
    let list = |samples: &[Arc<Sample>]| list(samples, access, "bytes", |sample| json!(sample.value));
    let threshold = generation.config().observe().large();
    let answer = json!({"threshold_bytes": threshold, "newest": list(&newest), "largest": list(&highest)});
    Json(answer).into_response()
}

/// Answers `/api/hotkeys`. Keys are for operators, so others get the listeners without keys.
pub(in crate::admin) async fn hotkeys(
    State(state): State<Arc<AdminState>>,
    Extension(access): Extension<Access>,
) -> Response {
    let generation = state.process.store.current();
    let hot = state.process.samples.hot_keys(MOST_KEYS);
    let key =
        |hot: &Hot| json!({"key": hot.key, "commands": hot.count * DRAWN_OF, "error": hot.error * DRAWN_OF});
    let listeners = hot.iter().map(|(listener, keys)| {
        let keys: Vec<Value> = if access.is_operator() { keys.iter().map(key).collect() } else { Vec::new() };
        json!({"listener": **listener, "keys": keys})
    });
    let answer = json!({
        "counted": generation.config().observe().hot(),
        "sampled_of": DRAWN_OF,
        "listeners": listeners.collect::<Vec<_>>(),
    });
    Json(answer).into_response()
}

fn list(samples: &[Arc<Sample>], access: Access, unit: &str, value: impl Fn(&Sample) -> Value) -> Vec<Value> {
    let facts = |sample: &Arc<Sample>| {
        let mut facts = json!({
            "time": Timestamp(sample.at).to_string(),
            "listener": *sample.listener,
            "user": sample.user,
            "source": sample.source,
            "command": sample.command,
            "of": if sample.of_reply { "reply" } else { "request" },
        });
        facts[unit] = value(sample);
        if access.is_operator() {
            facts["key"] = sample.key.as_deref().into();
        }
        facts
    };
    samples.iter().map(facts).collect()
}
