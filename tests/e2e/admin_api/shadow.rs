//! Shadow lists are evaluated together with the real lists. They are counted and shown, but have no effect.

use std::net::{IpAddr, Ipv4Addr};

use e2e::gate::portcullis;
use e2e::{Client, Redis, eventually};
use serde_json::{Value, json};

use super::{before, read};
use crate::reload::{BASE, assert_admits, assert_refuses, edit};

/// The number of sources that the proxy distinguishes for each listener.
const MAX_SOURCES: usize = 4096;

fn with(shadow: &str) -> String {
    let listener = format!("allow: [office], shadow: {shadow}");
    edit(&edit(BASE, "allow: [office]", &listener), "[127.0.0.1]", "[127.0.0.0/16]")
}

fn shadow(gate: &e2e::Gate) -> Value {
    read(gate, "/api/status")["listeners"][0]["shadow"].clone()
}

#[test]
fn counted_and_shown_without_a_refusal() {
    let redis = Redis::plain();
    let gate = before(&redis, &with("{allow: [127.0.0.0/24], deny: [127.0.0.5]}")).start();
    let mut there = vec![assert_admits(&gate, "127.0.0.1")];
    for source in ["127.0.1.2", "127.0.0.5", "127.0.1.2", "127.0.1.2"] {
        there.push(assert_admits(&gate, source));
    }
    assert_refuses(&gate, "127.1.0.1");
    let seen = shadow(&gate);
    assert_eq!((&seen["denied_total"], &seen["sources_truncated"]), (&json!(4), &json!(false)), "{seen}");
    let counts: Vec<(&Value, &Value)> = seen["sources"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|seen| (&seen["source"], &seen["count"]))
        .collect();
    assert_eq!(counts, [(&json!("127.0.0.5"), &json!(1)), (&json!("127.0.1.2"), &json!(3))]);
    for source in seen["sources"].as_array().into_iter().flatten() {
        assert!(source["first_seen"].is_string() && source["last_seen"].is_string(), "{source}");
    }
    gate.assert_metric("shadow_denied_total", &[("listener", "public")], 4.0);
    gate.assert_metric("connections_refused_total", &[], 1.0);

    // Without an allow list of its own, the shadow uses the list of the listener. The counts stay.
    let report = gate.apply(&with("{deny: [127.0.1.0/24]}"));
    assert_eq!(report["cut"], 0, "{report}");
    assert!(report["groups"].to_string().contains("public.shadow.deny"), "{report}");
    there.iter_mut().for_each(|client| client.assert_reply("PING", "+PONG"));
    there.push(assert_admits(&gate, "127.0.0.5"));
    assert_eq!(shadow(&gate)["denied_total"], 4);
    there.push(assert_admits(&gate, "127.0.1.9"));
    assert_eq!(shadow(&gate)["denied_total"], 5);
    gate.apply(&edit(&with("{}"), ", shadow: {}", ""));
    there.push(assert_admits(&gate, "127.0.1.9"));
    assert_eq!(shadow(&gate)["denied_total"], 5);
    there.iter_mut().for_each(|client| client.assert_reply("PING", "+PONG"));
}

#[test]
fn only_so_many_sources_are_kept() {
    let redis = Redis::plain();
    let gate = before(&redis, &with("{deny: [office]}")).start();
    let all = MAX_SOURCES + 100;
    for number in 0..all {
        let [.., high, low] = number.to_be_bytes();
        drop(Client::tcp_from(IpAddr::V4(Ipv4Addr::new(127, 0, high, low)), gate.address()));
    }
    eventually("all were judged", || (shadow(&gate)["denied_total"] == all).then_some(()));
    let seen = shadow(&gate);
    assert_eq!(seen["sources"].as_array().map(Vec::len), Some(MAX_SOURCES));
    assert_eq!(seen["sources_truncated"], true);
    assert!(gate.metric("connections_refused_total", &[]) == 0.0);
    // A known source is still counted.
    assert_admits(&gate, "127.0.0.0");
    assert_eq!(shadow(&gate)["sources"][0]["count"], 2);
}

/// Turns the observations of the shadow into an allowlist with commands only, as an operator would.
#[test]
fn observations_become_an_allowlist() {
    let redis = Redis::plain();
    let watched = edit(&with("{allow: [127.0.0.1/32]}"), "reload: signal", "reload: watch");
    let gate = before(&redis, &watched).start();
    let _there = [
        assert_admits(&gate, "127.0.0.1"),
        assert_admits(&gate, "127.0.0.6"),
        assert_admits(&gate, "127.0.0.7"),
    ];
    let groups = |words: &str| {
        let output = portcullis(gate.directory(), words.split(' '));
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let suggested = groups("groups suggest --config portcullis.yaml");
    assert!(suggested.contains("127.0.0.6/31") && !suggested.contains("127.0.0.1"), "{suggested}");
    assert_eq!(shadow(&gate)["denied_total"], 2);
    groups("groups add office 127.77.0.0/16 --note seen --config portcullis.yaml");
    eventually("the running proxy admits the address", || {
        let rules = read(&gate, "/api/explain?ip=127.77.0.1");
        (rules["allowed"] == true).then_some(())
    });
    let _new = assert_admits(&gate, "127.77.0.1");
    groups("groups remove office 127.77.0.0/16 --config portcullis.yaml");
    eventually("and then no more", || {
        (read(&gate, "/api/explain?ip=127.77.0.1")["allowed"] == false).then_some(())
    });
    assert_refuses(&gate, "127.77.0.1");
}
