use portcullis_acl::UnixSeconds;
use portcullis_config::edit::parse_time;

use super::status::{ListenerStatus, Status};
use super::suggest::Suggestion;
use crate::cli::table::aligned;

fn now() -> UnixSeconds {
    parse_time("2026-11-22T12:00:00Z").unwrap()
}

fn suggestion(json: &str) -> Suggestion {
    let status: Status = serde_json::from_str(json).unwrap();
    let listeners: Vec<&ListenerStatus> = status.listeners.iter().collect();
    Suggestion::of(&listeners, now())
}

/// A source older than a day is left out; one whose time cannot be parsed is kept.
#[test]
fn sources_of_the_last_day_become_networks() {
    let suggestion = suggestion(
        r#"{"version": "9", "listeners": [
            {"name": "public", "clients": 1, "shadow": {"denied_total": 30, "sources_truncated": false, "sources": [
                {"source": "203.0.113.9", "count": 12, "first_seen": "2026-11-20T12:00:00Z", "last_seen": "2026-11-22T11:00:00.5Z"},
                {"source": "203.0.113.8", "count": 1, "first_seen": "x", "last_seen": "2026-11-21T12:00:01Z"},
                {"source": "203.0.113.10", "count": 1, "first_seen": "x", "last_seen": "2026-11-21T12:00:00Z"},
                {"source": "2001:db8::1", "count": 2, "first_seen": "x", "last_seen": "?"}]}},
            {"name": "plain"},
            {"name": "inner", "shadow": {"sources_truncated": true, "sources": [
                {"source": "::ffff:203.0.113.9", "count": 3, "last_seen": "2026-11-22T13:00:00+02:00"},
                {"source": "unix", "count": 3, "last_seen": "2026-11-22T11:00:00Z"}]}}]}"#,
    );
    assert_eq!(
        suggestion.yaml(),
        "# 3 sources in 24 hours that the shadow rules of public, inner would refuse\n    \
         - 203.0.113.8/31  # connections: 16\n    \
         - \"2001:db8::1\"  # connections: 2\n"
    );
    assert_eq!(
        suggestion.remarks(),
        [
            "listener 'inner' had more sources than the proxy keeps: this list is incomplete",
            "skipped unix on listener 'inner': it has no address",
        ]
    );
}

#[test]
fn nothing_seen_is_an_empty_list() {
    let suggestion = suggestion(r#"{"listeners": [{"name": "public", "shadow": {"sources": []}}]}"#);
    assert_eq!(suggestion.yaml(), "# 0 sources in 24 hours that the shadow rules of public would refuse\n");
}

#[test]
fn columns_are_as_wide_as_they_must_be() {
    let rows = [["a", "", "ende"], ["für", "", ""], ["b", "", "x"]].map(|row| row.map(str::to_owned));
    assert_eq!(aligned(&rows), "a    ende\nfür\nb    x\n");
}
