//! Reloads: their triggers, rejected reloads, and changes while clients are connected.

mod changes;
mod cut;
mod cut_yaml;
mod refused;
mod watched;

use e2e::{Client, Gate, Redis};
use serde_json::Value;

/// A configuration with one listener and one group, which is reloaded only on request.
pub(crate) const BASE: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [office]}
upstreams: {main: {address: {redis}}}
groups: {office: [127.0.0.1]}
admin: {bind: '127.0.0.1:{admin}'}
reload: signal
";

pub(crate) fn start(redis: &Redis, yaml: &str) -> Gate {
    Gate::before(redis).config(yaml).start()
}

/// Returns the text with `to` in place of `from`.
#[track_caller]
pub(crate) fn edit(yaml: &str, from: &str, to: &str) -> String {
    assert!(yaml.contains(from), "no {from:?} in {yaml}");
    yaml.replacen(from, to, 1)
}

#[track_caller]
pub(crate) fn assert_admits(gate: &Gate, source: &str) -> Client {
    let mut client = gate.connect_from(source, "127.0.0.1");
    client.assert_reply("PING", "+PONG");
    client
}

#[track_caller]
pub(crate) fn assert_refuses(gate: &Gate, source: &str) {
    let (read, _) = gate.connect_from(source, "127.0.0.1").read_to_end();
    assert_eq!(read.escape_ascii().to_string(), "-DENIED source address not allowed\\r\\n");
}

pub(crate) fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// After SIGHUP, metrics and log agree. Files with unchanged content are not a new configuration.
#[test]
fn by_signal() {
    let redis = Redis::plain();
    let gate = start(&redis, BASE);
    let mut stays = assert_admits(&gate, "127.0.0.1");
    assert_refuses(&gate, "127.0.0.2");
    let report = gate.reload_with(&edit(BASE, "[127.0.0.1]", "[127.0.0.1, {cidr: 127.0.0.2, note: new}]"));
    assert_eq!(report["result"], "applied", "{report}");
    assert_eq!(report["trigger"], "signal", "{report}");
    assert_eq!(report["generation"], 2, "{report}");
    assert_eq!(report["cut"], 0, "{report}");
    assert_eq!(report["groups"][0]["group"], "office", "{report}");
    assert_eq!(report["groups"][0]["gained_entries"][0], "127.0.0.2", "{report}");
    assert!(report["time"].is_string(), "{report}");
    assert_admits(&gate, "127.0.0.2");
    let again = gate.reload();
    assert_eq!((&again["result"], &again["generation"]), (&"unchanged".into(), &2.into()), "{again}");
    // The start counts as an applied reload.
    for (result, count) in [("applied", 2.0), ("unchanged", 1.0), ("rejected", 0.0)] {
        gate.assert_metric("config_reloads_total", &[("result", result)], count);
    }
    gate.assert_metric("config_last_reload_successful", &[], 1.0);
    gate.assert_log("reload applied");
    stays.assert_reply("PING", "+PONG");
}

/// A signal during a reload is not lost, because the reload may have read the file before the change.
#[test]
fn the_last_of_many_signals_counts() {
    let redis = Redis::plain();
    let gate = start(&redis, BASE);
    for round in 0..5 {
        for i in 1..=40 {
            gate.configure(&edit(BASE, "[127.0.0.1]", &format!("[127.0.{round}.{i}]")));
            gate.send_sighup();
        }
        e2e::eventually("the last config is in force", || {
            let (_, body) = gate.get(&format!("/api/explain?ip=127.0.{round}.40"));
            body.contains("\"allowed\":true").then_some(())
        });
    }
}
