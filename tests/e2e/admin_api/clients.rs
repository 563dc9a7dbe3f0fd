//! `/api/clients`: search, pages and disconnecting.

use e2e::Client;

use super::*;

fn list(gate: &Gate, query: &str) -> Value {
    let (code, _, body) = asked(gate, &format!("GET /api/clients{query}"), &[&bearer()]);
    assert_eq!(code, 200, "{query}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e} in {body}"))
}

fn ids(list: &Value) -> Vec<u64> {
    let clients = list["clients"].as_array().expect("a list");
    clients.iter().map(|client| client["id"].as_u64().expect("a number")).collect()
}

fn close(gate: &Gate, id: &str) -> u16 {
    status(gate, &format!("POST /api/clients/{id}/close"), &[&bearer(), "Content-Length: 0"])
}

#[test]
fn pages_and_search_over_all_workers() {
    let redis = Redis::plain();
    let yaml = edit(&with_token(), "allow: [office]", "allow: [office], acl: '@public'") + "workers: 3\n";
    let yaml = edit(&yaml, "[127.0.0.1]", "[127.0.0.0/24]");
    let gate = before(&redis, &yaml).start();
    let mut clients: Vec<Client> = (0..25).map(|_| assert_admits(&gate, "127.0.0.1")).collect();
    clients.push(assert_admits(&gate, "127.0.0.77"));
    clients[3].assert_reply("CLIENT SETNAME Worker-3", "+OK");

    let whole = list(&gate, "");
    assert_eq!((ids(&whole).len(), &whole["matched"], &whole["next"]), (26, &json!(26), &Value::Null));
    assert_eq!(whole["missing"], 0);
    let mut paged = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let page = list(&gate, &format!("?limit=10&after={after}"));
        paged.extend(ids(&page));
        after = page["next"].clone();
    }
    assert_eq!(paged, ids(&whole));

    let first = &whole["clients"][0];
    assert_eq!(
        (&first["listener"], &first["entry"], &first["group"], &first["state"], &first["resp"]),
        (&json!("public"), &json!("127.0.0.0/24"), &json!("office"), &json!("normal"), &json!(2))
    );
    assert_eq!(first["address"], clients[0].local().to_string());
    for query in
        ["?q=127.0.0.77", "?address=127.0.0.77:", "?q=worker-3", "?name=WORKER", "?q=KER-3&listener=public"]
    {
        assert_eq!(list(&gate, query)["matched"], 1, "{query}");
    }
    for query in ["?q=nothing", "?listener=other", "?user=worker-3", "?address=worker"] {
        assert_eq!(list(&gate, query)["matched"], 0, "{query}");
    }
    for query in ["?limit=0", "?limit=x", "?after=-1", "?page=2", &format!("?q={}", "x".repeat(2000))] {
        assert_eq!(status(&gate, &format!("GET /api/clients{query}"), &[&bearer()]), 400, "{query}");
    }
}

#[test]
fn one_client_is_disconnected_and_no_other() {
    let redis = Redis::plain();
    let gate = before(&redis, &(with_token() + "workers: 2\n")).start();
    let mut clients: Vec<Client> = (0..6).map(|_| assert_admits(&gate, "127.0.0.1")).collect();
    clients[2].assert_reply("SUBSCRIBE channel", "[\"subscribe\" \"channel\" :1]");
    let own = clients[2].local().to_string();
    let whole = list(&gate, "");
    let all = whole["clients"].as_array().expect("a list");
    let client = all.iter().find(|client| client["address"] == own).expect("the client");
    assert_eq!((&client["state"], &client["subscriptions"]), (&json!("subscribed"), &json!(1)));
    let id = client["id"].to_string();
    assert_eq!(close(&gate, &id), 200);
    clients[2].assert_closed();
    for (number, other) in clients.iter_mut().enumerate().filter(|(number, _)| *number != 2) {
        other.assert_reply("PING", "+PONG");
        assert_ne!(number, 2);
    }
    e2e::eventually("the client is gone", || (list(&gate, "")["matched"] == 5).then_some(()));
    for unknown in [id.as_str(), "999999", "0", "-1", "x", "%00", "99999999999999999999999"] {
        assert_eq!(close(&gate, unknown), 404, "{unknown}");
    }
    gate.assert_metric("connections_closed_total", &[("reason", "admin")], 1.0);
    let told = e2e::eventually("the change is audited", || gate.audited("admin").into_iter().next());
    assert_eq!(told["path"], format!("/api/clients/{id}/close"));
}

/// Without a token the answer has no address of a load balancer, and no client can be disconnected.
#[test]
fn without_a_token_clients_are_only_shown() {
    let redis = Redis::plain();
    let gate = before(&redis, BASE).start();
    let mut client = assert_admits(&gate, "127.0.0.1");
    let shown = read(&gate, "/api/clients");
    assert_eq!(shown["matched"], 1);
    assert!(shown["clients"][0].get("sender").is_none(), "{shown}");
    let id = &shown["clients"][0]["id"];
    assert_eq!(status(&gate, &format!("POST /api/clients/{id}/close"), &["Content-Length: 0"]), 403);
    client.assert_reply("PING", "+PONG");
}
