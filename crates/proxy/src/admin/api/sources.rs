//! `/api/sources`: the blocked sources, and the order to end a block.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use portcullis_acl::ClientAddr;
use portcullis_acl::rate::Source;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::AdminState;
use crate::admin::answers::{Body, answer, problem};
use crate::run_on_thread::run_on_thread;

/// The most blocked sources of a listener that are listed.
const MAX_BLOCKS: usize = 1000;

/// The source to unblock.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Unblock {
    source: String,
    /// All listeners if it is absent.
    listener: Option<String>,
}

pub(in crate::admin) async fn sources(State(state): State<Arc<AdminState>>) -> Response {
    let made = run_on_thread("page", move || {
        let generation = state.process.store.current();
        let mut blocked = Vec::new();
        let mut total = 0;
        for listener in generation.listeners() {
            let sources = listener.state().sources();
            total += sources.blocked();
            let shown = sources.blocks(MAX_BLOCKS).into_iter().map(|(source, left)| -> Value {
                json!({
                    "source": shown(source),
                    "listener": **listener.name(),
                    "reason": "auth_failures",
                    "seconds_left": left.as_secs(),
                })
            });
            blocked.extend(shown);
        }
        json!({"blocked": blocked, "total": total})
    });
    answer(made.await)
}

/// Answers `POST /api/sources/unblock`.
pub(in crate::admin) async fn unblock(
    State(state): State<Arc<AdminState>>,
    Body(asked): Body<Unblock>,
) -> Response {
    let Some(source) = parse(&asked.source) else {
        let why = "'source' must be an address, such as 203.0.113.9 or 2001:db8::1";
        return problem(StatusCode::BAD_REQUEST, "source", why);
    };
    let generation = state.process.store.current();
    if let Some(name) = &asked.listener
        && generation.listener(name).is_none()
    {
        return problem(StatusCode::NOT_FOUND, "listener", "unknown listener");
    }
    let mut ended = Vec::new();
    for listener in generation.listeners() {
        let is_meant = asked.listener.as_ref().is_none_or(|name| **name == **listener.name());
        if is_meant && listener.state().sources().unblock(source) {
            tracing::info!(source = %shown(source), listener = %listener.name(), "source unblocked");
            ended.push(listener.name().to_string());
        }
    }
    if ended.is_empty() {
        return problem(StatusCode::NOT_FOUND, "source", "this source is not blocked");
    }
    Json(json!({"source": shown(source), "listeners": ended})).into_response()
}

/// Parses an address, or a network as this API shows one.
fn parse(text: &str) -> Option<Source> {
    let address = text.strip_suffix("/64").unwrap_or(text);
    Source::of(ClientAddr::from_socket((address.parse::<std::net::IpAddr>().ok()?, 0).into()))
}

/// An IPv6 source is a network of 64 bits.
fn shown(source: Source) -> String {
    let ip = source.ip();
    if ip.is_ipv6() { format!("{ip}/64") } else { ip.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_sent_back() {
        for (sent, seen) in [("203.0.113.9", "203.0.113.9"), ("2001:db8::1", "2001:db8::/64")] {
            let source = parse(sent).unwrap();
            assert_eq!(shown(source), seen);
            assert_eq!(parse(seen), Some(source));
        }
        for wrong in ["", "unix", "203.0.113.0/24", "2001:db8::/48"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
