//! The API of the admin endpoint: its access control and its answers. Threat 31.

mod clients;
mod config;
mod described;
mod events;
mod samples;
mod session;
mod shadow;
mod sources;

use e2e::reload::TOKEN;
use e2e::{Gate, GateBuilder, Redis, gate::portcullis, http};
use serde_json::{Value, json};

use crate::reload::{BASE, assert_admits, edit};

const READ: [&str; 12] = [
    "/openapi.json",
    "/api/status",
    "/api/upstreams",
    "/api/clients",
    "/api/sources",
    "/api/slowlog",
    "/api/bigkeys",
    "/api/hotkeys",
    "/api/config",
    "/api/groups",
    "/api/groups/office",
    "/api/explain?ip=127.0.0.1",
];
/// Paths that change something.
const CHANGE: [&str; 5] = [
    "/api/reload",
    "/api/groups/office/entries",
    "/api/groups/office/entries/remove",
    "/api/clients/1/close",
    "/api/sources/unblock",
];
/// Paths that need no token.
const OPEN: [&str; 7] = ["/live", "/ready", "/metrics", "/", "/app.js", "/app.css", "/favicon.ico"];

fn with_token() -> String {
    edit(BASE, "{admin}'", "{admin}', token: {file: token}")
}

fn before(redis: &Redis, yaml: &str) -> GateBuilder {
    Gate::before(redis).config(yaml).file("token", TOKEN).secret(TOKEN)
}

/// Returns the status of a request with these header lines. Adds a correct Host header if there is none.
#[track_caller]
fn status(gate: &Gate, line: &str, headers: &[&str]) -> u16 {
    asked(gate, line, headers).0
}

/// Returns the status, head and body of the answer. Checks that it does not allow other origins and does not contain
/// the token.
#[track_caller]
fn asked(gate: &Gate, line: &str, headers: &[&str]) -> (u16, String, String) {
    let mut request = format!("{line} HTTP/1.1\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        request += "Host: localhost\r\n";
    }
    for header in headers {
        request += &format!("{header}\r\n");
    }
    let (status, head, body) =
        http::ask_with_head(gate.admin(), &format!("{request}\r\n")).expect("the admin endpoint answers");
    assert!(!head.contains("access-control-"), "{line}: {head}");
    assert!(!head.contains(TOKEN) && !body.contains(TOKEN), "{line}: {head} {body}");
    if status != 400 {
        assert!(head.contains("x-content-type-options: nosniff"), "{line}: {head}");
        assert!(head.contains("content-security-policy: default-src 'none'"), "{line}: {head}");
    }
    (status, head, body)
}

#[track_caller]
fn read(gate: &Gate, path: &str) -> Value {
    let (status, head, body) = asked(gate, &format!("GET {path}"), &[]);
    assert_eq!(status, 200, "{path}: {body}");
    assert!(head.contains("content-type: application/json"), "{path}: {head}");
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e} in {body}"))
}

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}")
}

/// DNS rebinding: a foreign page uses a name of its own that resolves to this machine.
#[test]
fn names_of_other_machines_are_not_answered() {
    let redis = Redis::plain();
    for yaml in [BASE.to_owned(), with_token()] {
        let gate = before(&redis, &yaml).start();
        let token = bearer();
        for path in READ.iter().chain(&OPEN) {
            for host in ["Host: evil.example", "Host: localhost.evil.example:9377", "Host: 198.51.100.1"] {
                assert_eq!(status(&gate, &format!("GET {path}"), &[host, &token]), 403, "{path} {host}");
            }
            let absolute = |host: &str| status(&gate, &format!("GET http://{host}{path}"), &[&token]);
            assert_eq!(absolute("evil.example"), 403, "{path}");
            let open = absolute("localhost");
            assert!(open == 200 || (*path == "/ready" && open == 503), "{path}: {open}");
        }
        for path in CHANGE {
            let post = |line: &str, host: &str| status(&gate, line, &[host, &token, "Content-Length: 0"]);
            assert_eq!(post(&format!("POST {path}"), "Host: evil.example"), 403, "{path}");
            assert_eq!(post(&format!("POST http://evil.example{path}"), "Host: localhost"), 403, "{path}");
        }
        assert!(gate.audited("reload").is_empty());
    }
}

#[test]
fn with_a_token_all_but_monitoring_wants_it() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    let wrong = format!("Authorization: Bearer {}", &TOKEN[1..]);
    let basic = format!("Authorization: Basic {TOKEN}");
    let right = bearer();
    for path in READ.iter().chain(&["/api/nonexistent", "/api/groups/nonexistent"]) {
        let line = format!("GET {path}");
        for headers in [&[][..], &[&wrong], &[&basic], &[&right, &right]] {
            let headers: Vec<&str> = headers.iter().map(|header: &&String| header.as_str()).collect();
            assert_eq!(status(&gate, &line, &headers), 401, "{path} {headers:?}");
        }
        let expected = if path.ends_with("nonexistent") { 404 } else { 200 };
        assert_eq!(status(&gate, &line, &[&right]), expected, "{path}");
    }
    for path in OPEN {
        assert!(matches!(status(&gate, &format!("GET {path}"), &[]), 200 | 503), "{path}");
    }
    for path in CHANGE {
        for headers in [vec!["Content-Length: 0"], vec!["Content-Length: 0", &wrong]] {
            assert_eq!(status(&gate, &format!("POST {path}"), &headers), 401, "{path}");
        }
    }
    assert!(gate.audited("reload").is_empty());
    let open = before(&redis, BASE).start();
    for (line, code) in [("PUT /live", 405), ("PUT /api/session", 405), ("POST /api/groups/office", 405)] {
        assert_eq!(status(&open, line, &["Content-Length: 0"]), code, "{line}");
    }
    for line in ["POST /api/reload", "POST /api/groups/office/entries", "POST /api/nonexistent"] {
        assert_eq!(status(&open, line, &["Content-Length: 0"]), 403, "{line}");
    }
}

/// On loopback, reading needs no token, but every change does.
#[test]
fn without_a_token_nothing_can_be_changed() {
    let redis = Redis::plain();
    let gate = before(&redis, BASE).start();
    for path in READ {
        assert_eq!(status(&gate, &format!("GET {path}"), &[]), 200, "{path}");
    }
    for path in CHANGE {
        let (code, _, body) = asked(&gate, &format!("POST {path}"), &["Content-Length: 0", &bearer()]);
        assert!(code == 403 && body.contains("admin.token"), "{path}: {code} {body}");
    }
    assert!(gate.audited("reload").is_empty());
}

/// Cross-site requests: a foreign page makes the operator's browser send a request, but the request has no token. Such
/// a page reaches nothing.
#[test]
fn pages_of_other_origins_change_nothing() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    let token = bearer();
    let post = |path: &str, header: &str| {
        status(&gate, &format!("POST {path}"), &["Content-Length: 0", &token, header])
    };
    for foreign in [
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: http://localhost:1",
        "Origin: http://localhost.evil.example",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        for path in CHANGE {
            assert_eq!(post(path, foreign), 403, "{path} {foreign}");
        }
    }
    assert!(gate.audited("reload").is_empty());
    for own in
        ["Origin: http://localhost", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "X-Other: x"]
    {
        assert_eq!(post("/api/reload", own), 200, "{own}");
    }
    let (code, head, _) = asked(
        &gate,
        "OPTIONS /api/reload",
        &["Origin: http://evil.example", "Access-Control-Request-Method: POST"],
    );
    assert!(code == 403, "{code} {head}");
}

#[test]
fn methods() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    let token = bearer();
    for path in CHANGE {
        assert_eq!(status(&gate, &format!("GET {path}"), &[&token]), 405, "{path}");
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
            let line = format!("{method} {path}");
            assert_eq!(status(&gate, &line, &[&token, "Content-Length: 0"]), 405, "{line}");
            assert_eq!(status(&gate, &line, &["Content-Length: 0"]), 401, "{line}");
        }
    }
    for path in READ.iter().chain(&OPEN) {
        let line = format!("POST {path}");
        assert_eq!(status(&gate, &line, &[&token, "Content-Length: 0"]), 405, "{path}");
    }
    assert!(gate.audited("reload").is_empty());
}

/// If other machines can connect, only the token counts, with any Host header.
#[test]
fn on_every_address() {
    let redis = Redis::plain();
    let yaml = edit(&with_token(), "bind: '127.0.0.1:{admin}'", "bind: '0.0.0.0:{admin}'");
    let gate = before(&redis, &yaml).start();
    let host = "Host: gate.example.com";
    assert_eq!(status(&gate, "GET /api/status", &[host, &bearer()]), 200);
    assert_eq!(status(&gate, "GET /api/status", &[host]), 401);
    assert_eq!(status(&gate, "POST /api/reload", &[host, &bearer(), "Content-Length: 0"]), 200);
}

#[test]
fn status_shows_what_is_in_force() {
    let redis = Redis::plain();
    let gate = before(&redis, &format!("{BASE}workers: 2\n")).start();
    let _client = assert_admits(&gate, "127.0.0.1");
    e2e::eventually("the upstream is probed", || (gate.get("/ready").0 == 200).then_some(()));
    let status = read(&gate, "/api/status");
    assert_eq!(status["generation"], 1);
    assert_eq!(status["workers"], 2);
    assert_eq!(status["draining"], false);
    assert_eq!(status["clients"], 1);
    assert!(
        status["version"].is_string()
            && status["config"].as_str().is_some_and(|c| c.ends_with("portcullis.yaml"))
    );
    let listener = &status["listeners"][0];
    assert_eq!(listener["binds"], json!([format!("127.0.0.1:{}", gate.port())]));
    assert_eq!(
        (&listener["name"], &listener["clients"], &listener["accepted_total"], &listener["shadow"]),
        (&json!("public"), &json!(1), &json!(1), &Value::Null)
    );
    let upstream = &status["upstreams"][0];
    assert!(upstream["since"].is_string(), "{upstream}");
    assert_eq!(
        (&upstream["name"], &upstream["used"], &upstream["up"], &upstream["kind"]),
        (&json!("main"), &json!(true), &json!(true), &Value::Null)
    );
    gate.apply(&edit(BASE, "upstreams: {", "upstreams: {spare: {address: '127.0.0.1:1'}, "));
    let status = read(&gate, "/api/status");
    assert_eq!((&status["generation"], status["upstreams"].as_array().map(Vec::len)), (&json!(2), Some(2)));
}

/// Compares the explanations of the command line and the API with the decision itself.
#[test]
fn explain_agrees_with_the_command_line_and_the_decision() {
    let redis = Redis::plain();
    let yaml = edit(BASE, "allow: [office]", "allow: [office, 127.0.0.4], deny: [bad]");
    let yaml = edit(
        &yaml,
        "office: [127.0.0.1]",
        "office: [127.0.0.1, {cidr: 127.0.1.0/24, note: guests, owner: ops, until: 2999-01-01T00:00:00Z}, \
         {cidr: 127.0.0.9, until: 2001-01-01T00:00:00Z}], bad: [127.0.1.7]",
    );
    let gate = before(&redis, &yaml).start();
    let config = gate.directory().join("portcullis.yaml");
    let sources = [
        ("127.0.0.1", true),
        ("127.0.0.4", true),
        ("127.0.1.5", true),
        ("127.0.1.7", false),
        ("127.0.0.9", false),
        ("127.0.0.2", false),
    ];
    for (source, allowed) in sources {
        let answer = read(&gate, &format!("/api/explain?ip={source}"));
        assert_eq!(answer["allowed"], allowed, "{answer}");
        let words = ["explain", source, "--json", "--config"].map(std::ffi::OsStr::new);
        let told = portcullis(gate.directory(), words.into_iter().chain([config.as_os_str()]));
        assert_eq!(told.status.code(), Some(i32::from(!allowed)), "{source}");
        let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
        assert_eq!(answer, told, "{source}");
        let (read, _) = {
            let mut client = gate.connect_from(source, "127.0.0.1");
            let _ = client.try_send_raw(b"QUIT\r\n");
            client.read_to_end()
        };
        assert_eq!(read.starts_with(b"+OK"), allowed, "{source}: {}", read.escape_ascii());
    }
    for same in ["::ffff:127.0.0.1", "%3A%3Affff%3A127.0.0.1&listener=public"] {
        assert_eq!(read(&gate, &format!("/api/explain?ip={same}"))["source"], "127.0.0.1");
    }
    for (query, code) in [
        ("", 400),
        ("?ip=", 400),
        ("?ip=10.0.0.0/8", 400),
        ("?ip=127.0.0.01", 400),
        ("?ip=127.0.0.1&ip=127.0.0.2", 400),
        ("?ip=127.0.0.1&lisener=public", 400),
        ("?ip=127.0.0.1&listener=nowhere", 404),
    ] {
        let (found, _, body) = asked(&gate, &format!("GET /api/explain{query}"), &[]);
        assert_eq!(found, code, "{query}: {body}");
        assert!(!body.is_empty(), "{query}");
    }
}

#[test]
fn groups_in_pages() {
    let redis = Redis::plain();
    let many: String = (0..2500).map(|i| format!("10.{}.{}.0/24\n", i / 250, i % 250)).collect();
    let yaml = edit(
        BASE,
        "office: [127.0.0.1]",
        "office: [127.0.0.1, {cidr: 10.9.0.1, note: n, owner: o, until: 2999-01-01T00:00:00Z}], many: {file: many.txt}, all: [{group: office}]",
    );
    let gate = before(&redis, &yaml).file("many.txt", &many).start();
    let groups = read(&gate, "/api/groups");
    assert_eq!(groups["generation"], 1);
    let found = |name: &str| {
        let list = groups["groups"].as_array().expect("a list");
        list.iter().find(|group| group["name"] == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    assert_eq!(
        found("office"),
        json!({"name": "office", "entries": 2, "next_expiry": "2999-01-01T00:00:00Z", "includes": [],
               "note": null, "owner": null, "hits": 0, "used_by": ["public.allow"]})
    );
    assert_eq!(found("all")["includes"], json!(["office"]));

    let office = read(&gate, "/api/groups/office");
    let path = gate.directory().join("portcullis.yaml").display().to_string();
    assert_eq!(
        office["entries_shown"][0],
        json!({"entry": "10.9.0.1", "group": "office", "file": path, "line": 4, "note": "n", "owner": "o", "until": "2999-01-01T00:00:00Z"})
    );

    let page = |query: &str| read(&gate, &format!("/api/groups/many{query}"));
    let shown = |page: &Value| page["entries_shown"].as_array().map_or(0, Vec::len);
    let (first, rest) = (page(""), page("?offset=2000"));
    assert_eq!((&first["entries"], &first["offset"], shown(&first)), (&json!(2500), &json!(0), 1000));
    assert_eq!((shown(&rest), &rest["entries_shown"][0]["entry"]), (500, &json!("10.8.0.0/24")));
    assert_eq!(rest["entries_shown"][0]["line"], 2001);
    assert_eq!(shown(&page("?limit=10")), 10);
    assert_eq!(shown(&page("?limit=99999")), 1000);
    assert_eq!(shown(&page("?offset=99999&limit=1")), 0);
    for (path, code) in [
        ("/api/groups/nowhere", 404),
        ("/api/groups/many?limit=x", 400),
        ("/api/groups/many?offset=-1", 400),
        ("/api/groups/many?of=1", 400),
    ] {
        assert_eq!(status(&gate, &format!("GET {path}"), &[]), code, "{path}");
    }
}

/// One request applies the change, and the others find it applied. Requests that do not fit into the queue are refused.
#[test]
fn ten_reloads_requested_at_once() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    for round in 1..=5 {
        gate.configure(&edit(&with_token(), "[127.0.0.1]", &format!("[127.0.0.1, 127.0.1.{round}]")));
        let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..10).map(|_| scope.spawn(|| gate.post_reload())).collect();
            asking.into_iter().map(|thread| thread.join().expect("an answer")).collect()
        });
        let count = |result: &str| answers.iter().filter(|(_, report)| report["result"] == result).count();
        assert_eq!(count("applied"), 1, "{answers:?}");
        for (status, report) in &answers {
            match status {
                200 => assert_eq!(
                    (&report["generation"], &report["trigger"]),
                    (&json!(round + 1), &json!("api")),
                    "{report}"
                ),
                503 => assert_eq!(report["error"], "busy", "{report}"),
                other => panic!("{other}: {report}"),
            }
        }
        assert!(count("unchanged") >= 7, "{answers:?}");
    }
}

/// The API's answer is the audit line without its time.
#[test]
fn the_report_is_the_audit_line() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    for (yaml, code) in [
        (edit(&with_token(), "[127.0.0.1]", "[127.0.0.1, 127.0.0.2]"), 200),
        (edit(&with_token(), "[127.0.0.1]", "[10.1.2.3/8]"), 422),
        (edit(&with_token(), "[127.0.0.1]", "[127.0.0.1, 127.0.0.2]"), 200),
    ] {
        gate.configure(&yaml);
        let ((status, report), mut line) = gate.reload_by_http();
        assert_eq!(status, code, "{report}");
        line.as_object_mut().expect("an object").remove("time").expect("a time");
        assert_eq!(report, line);
    }
}
