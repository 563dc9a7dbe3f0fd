//! `/api/sources`: blocked sources, and the end of a block.

use super::*;

fn unblock(gate: &Gate, body: &Value) -> u16 {
    http::post_json(gate.admin(), "/api/sources/unblock", TOKEN, body).expect("an answer").0
}

#[test]
fn a_blocked_source_is_listed_and_unblocked() {
    let redis = Redis::plain();
    let limits = "limits: {per_source: {auth_failures: 2/1m, block_for: 10m}}";
    let users = format!("users: {{reporting: {{password: {{sha256: {}}}}}}}\n", "5e".repeat(32));
    let listener = format!("allow: [office], auth: users, users: [reporting], {limits}");
    let yaml = edit(&with_token(), "allow: [office]", &listener) + &users;
    let gate = before(&redis, &yaml).start();
    let mut client = gate.connect();
    client.send("AUTH reporting one");
    client.send("AUTH reporting two");
    client.read_to_end();
    let shown = || {
        let body = asked(&gate, "GET /api/sources", &[&bearer()]).2;
        serde_json::from_str::<Value>(&body).expect("JSON")
    };
    let blocked = &shown()["blocked"][0];
    assert_eq!(
        (&blocked["source"], &blocked["listener"], &blocked["reason"]),
        (&json!("127.0.0.1"), &json!("public"), &json!("auth_failures"))
    );
    assert!(blocked["seconds_left"].as_u64().is_some_and(|left| left <= 600), "{blocked}");
    assert!(gate.connect().read_to_end().0.starts_with(b"-"), "it is refused");

    assert_eq!(unblock(&gate, &json!({"source": "127.0.0.1", "listener": "other"})), 404);
    assert_eq!(unblock(&gate, &json!({"source": "127.0.0.9"})), 404);
    assert_eq!(unblock(&gate, &json!({"source": "somewhere"})), 400);
    assert_eq!(unblock(&gate, &json!({"address": "127.0.0.1"})), 422);
    assert_eq!(unblock(&gate, &json!({"source": "127.0.0.1", "listener": "public"})), 200);
    assert_eq!(shown(), json!({"blocked": [], "total": 0}));
    assert!(gate.connect().call("AUTH reporting three").is_error(), "it may try again");
}
