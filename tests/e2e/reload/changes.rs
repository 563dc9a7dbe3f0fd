//! Settings that can change while clients are connected, and the effect on these clients.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use e2e::client::End;
use e2e::reload::TOKEN;
use e2e::{Client, Gate, Redis, eventually, holds_for, http, ports};
use serde_json::Value;

use super::{BASE, assert_admits, assert_refuses, edit, start, texts};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[track_caller]
fn assert_serves(to: SocketAddr) -> Client {
    let mut client = Client::tcp(to);
    client.assert_reply("PING", "+PONG");
    client
}

fn is_shut(to: SocketAddr) -> bool {
    TcpStream::connect(to).is_err()
}

/// Checks that the reload disconnected the client and that the audit trail has an entry for it.
#[track_caller]
fn assert_revoked(gate: &Gate, client: &mut Client) {
    let source = client.local().to_string();
    client.assert_closed();
    let closed = eventually("the event is audited", || {
        gate.audited("closed").into_iter().find(|line| line["source"] == source.as_str())
    });
    assert_eq!(closed["reason"], "revoked", "{closed}");
}

#[test]
fn listeners_come_move_change_names_and_go() {
    let redis = Redis::plain();
    let gate = start(&redis, BASE);
    let (first, second) = (ports::free(), ports::free());
    let mut public = assert_admits(&gate, "127.0.0.1");
    let with = |listener: &str| edit(BASE, "upstreams:", &format!("  - {listener}\nupstreams:"));
    let more = |name: &str, bind: u16| {
        with(&format!("{{name: {name}, bind: '127.0.0.1:{bind}', upstream: main, allow: [127.0.0.1]}}"))
    };

    let report = gate.apply(&more("second", first));
    assert_eq!(texts(&report["changes"]), ["listener 'second' added"], "{report}");
    let mut client = assert_serves(local(first));

    // A listener with another port is the same listener, so connected clients stay.
    let report = gate.apply(&more("second", second));
    assert_eq!((&report["cut"], texts(&report["changes"])), (&0.into(), vec!["listener 'second' changed"]));
    assert!(is_shut(local(first)), "the old port is still open");
    client.assert_reply("PING", "+PONG");
    let mut other = assert_serves(local(second));

    // A listener with another name is another listener.
    let report = gate.apply(&more("renamed", second));
    assert_eq!(report["cut"], 2, "{report}");
    assert_revoked(&gate, &mut client);
    assert_revoked(&gate, &mut other);
    let mut client = assert_serves(local(second));
    eventually("it is audited under that name", || {
        (gate.audited("accepted").last()?["listener"] == "renamed").then_some(())
    });

    let report = gate.apply(BASE);
    assert_eq!((&report["cut"], texts(&report["changes"])), (&1.into(), vec!["listener 'renamed' removed"]));
    assert_revoked(&gate, &mut client);
    assert!(is_shut(local(second)), "the port is still open");
    public.assert_reply("PING", "+PONG");
    eventually("no client of the old listener is left", || {
        (!gate.get("/metrics").1.contains("listener=\"renamed\"")).then_some(())
    });
}

/// In one reload, two listeners change from one socket for both families to one socket for each family, and later
/// back. Connected clients stay.
#[test]
fn one_socket_for_both_families_and_one_each() {
    let redis = Redis::plain();
    let other = ports::free();
    let dual = |port: &str| format!("'[::]:{port}'");
    let split = |port: &str| format!("['0.0.0.0:{port}', '[::]:{port}']");
    let yaml = |form: &dyn Fn(&str) -> String| {
        let both = format!(
            "{}, upstream: main, allow: [office]}}\n  - {{name: other, bind: {}, upstream: main, allow: [office]}}",
            form("{port}"),
            form(&other.to_string())
        );
        edit(
            &edit(BASE, "'127.0.0.1:{port}', upstream: main, allow: [office]}", &both),
            "[127.0.0.1]",
            "[127.0.0.1, '::1']",
        )
    };
    let gate = start(&redis, &yaml(&dual));
    let connect = |to: &str, port: u16| assert_serves(SocketAddr::new(to.parse().expect("an address"), port));
    let everywhere = || {
        let ways = [("127.0.0.1", gate.port()), ("::1", gate.port()), ("127.0.0.1", other), ("::1", other)];
        ways.map(|(to, port)| connect(to, port))
    };
    let mut clients = everywhere();
    for form in [&split as &dyn Fn(&str) -> String, &dual, &split] {
        let report = gate.apply(&yaml(form));
        assert_eq!(report["cut"], 0, "{report}");
        clients.iter_mut().for_each(|client| client.assert_reply("PING", "+PONG"));
        everywhere();
    }
}

#[test]
fn unix_sockets() {
    let redis = Redis::plain();
    let gate = start(&redis, BASE);
    let at = |path: &str| {
        let binds = format!("['127.0.0.1:{{port}}', 'unix:{{dir}}/{path}']");
        edit(&edit(BASE, "'127.0.0.1:{port}'", &binds), "[office]", "[office, unix]")
    };
    let [one, two] = ["one.sock", "two.sock"].map(|name| gate.directory().join(name));
    gate.apply(&at("one.sock"));
    let mut client = Client::unix(&one);
    client.assert_reply("PING", "+PONG");
    gate.apply(&at("two.sock"));
    assert!(!one.exists(), "the old socket file is still there");
    client.assert_reply("PING", "+PONG");
    Client::unix(&two).assert_reply("PING", "+PONG");
    gate.assert_metric("clients", &[], 1.0);
    assert_eq!(gate.apply(BASE)["cut"], 1, "unix sockets are no longer allowed");
    client.assert_closed();
    assert!(!two.exists(), "the old socket file is still there");
}

/// Existing connections keep the old upstream address; new connections use the new one.
#[test]
fn another_upstream_address() {
    let (old, new) = (Redis::plain(), Redis::plain());
    old.control().assert_reply("SET who old", "+OK");
    new.control().assert_reply("SET who new", "+OK");
    let gate = start(&old, BASE);
    let mut before = gate.connect();
    before.assert_reply("GET who", r#""old""#);
    let mut undecided = gate.connect();
    eventually("both clients are connected", || (gate.metric("clients", &[]) == 2.0).then_some(()));
    let report = gate.apply(&edit(BASE, "{redis}", &format!("'{}'", new.address())));
    assert_eq!((report["cut"].as_u64(), texts(&report["changes"]).len()), (Some(0), 1), "{report}");
    assert!(texts(&report["changes"])[0].starts_with("upstream 'main' changed"), "{report}");
    before.assert_reply("GET who", r#""old""#);
    gate.connect().assert_reply("GET who", r#""new""#);
    undecided.assert_reply("GET who", r#""new""#);
    before.assert_reply("GET who", r#""old""#);
    drop(old);
    before.assert_closed();
    eventually("the proxy probes the new address", || (gate.get("/ready").0 == 200).then_some(()));
}

/// Redis gets another password, and then the proxy. No restart is needed, no client is disconnected, and no password is
/// shown.
#[test]
fn rotated_credentials() {
    let redis = Redis::builder().password("canary-first").start();
    let mut control = redis.control();
    let yaml = edit(
        &edit(BASE, "allow: [office]", "allow: [office], auth: trust"),
        "{redis}",
        "{redis}, credentials: {password: {file: password}}",
    );
    let gate = Gate::before(&redis)
        .config(&yaml)
        .file("password", "canary-first\n")
        .secret("canary-first")
        .secret("canary-second")
        .start();
    let mut before = assert_admits(&gate, "127.0.0.1");
    control.assert_reply("CONFIG SET requirepass canary-second", "+OK");
    let mut early = gate.connect();
    assert!(early.call("PING").text().contains("unavailable (auth)"), "the old password still works");
    gate.put("password", "canary-second\n");
    let report = gate.reload();
    assert_eq!((&report["result"], &report["cut"]), (&"applied".into(), &0.into()), "{report}");
    assert!(texts(&report["changes"])[0].starts_with("upstream 'main' changed"), "{report}");
    assert_admits(&gate, "127.0.0.1");
    before.assert_reply("PING", "+PONG");
    assert_eq!(gate.reload()["result"], "unchanged");
}

#[test]
fn another_style_of_refusal() {
    let redis = Redis::plain();
    let gate = start(&redis, BASE);
    assert_refuses(&gate, "127.0.0.2");
    let cases: [(&str, &[u8], Option<End>); 4] = [
        ("illegal_address", b"-ERR illegal address\r\n", None),
        ("close", b"", Some(End::Eof)),
        ("reset", b"", Some(End::Reset)),
        ("denied", b"-DENIED source address not allowed\r\n", None),
    ];
    for (style, line, end) in cases {
        gate.apply(&edit(BASE, "allow: [office]", &format!("allow: [office], refusal: {style}")));
        let (read, ended) = gate.connect_from("127.0.0.2", "127.0.0.1").read_to_end();
        assert_eq!(read.escape_ascii().to_string(), line.escape_ascii().to_string(), "{style}");
        assert!(end.is_none_or(|end| end == ended), "{style}: {ended:?}");
    }
}

/// A limit below the number of clients disconnects no client. New clients are admitted only when there is room.
#[test]
fn fewer_and_more_clients() {
    let redis = Redis::plain();
    let gate = start(&redis, BASE);
    let of_process = |n: u64| format!("{BASE}limits: {{clients: {n}}}\n");
    let of_listener =
        |n: u64| edit(BASE, "allow: [office]", &format!("allow: [office], limits: {{clients: {n}}}"));
    for limited in [&of_process as &dyn Fn(u64) -> String, &of_listener] {
        let mut clients: Vec<Client> = (0..3).map(|_| assert_admits(&gate, "127.0.0.1")).collect();
        assert_eq!(gate.apply(&limited(2))["cut"], 0);
        clients.iter_mut().for_each(|client| client.assert_reply("PING", "+PONG"));
        let (read, _) = gate.connect().read_to_end();
        assert_eq!(read, b"-ERR max number of clients reached\r\n");
        // Two of three clients must disconnect before there is room.
        clients.truncate(1);
        eventually("there is room", || {
            let mut client = gate.connect();
            let _ = client.try_send_raw(b"PING\r\n");
            let mut read = Vec::new();
            client.read_up_to(7, &mut read);
            (read == b"+PONG\r\n").then_some(())
        });
        gate.apply(&limited(100));
        clients.extend((0..5).map(|_| assert_admits(&gate, "127.0.0.1")));
        gate.apply(BASE);
        drop(clients);
        eventually("all clients have disconnected", || (gate.metric("clients", &[]) == 0.0).then_some(()));
    }
}

/// A client that was idle before the reload is disconnected when the new limit is reached, as if the limit had always
/// applied.
#[test]
fn a_limit_for_idle_clients() {
    let redis = Redis::plain();
    let gate = start(&redis, BASE);
    let mut used = assert_admits(&gate, "127.0.0.1");
    let mut unused = gate.connect();
    let mut subscribed = gate.connect();
    subscribed.assert_reply("SUBSCRIBE c", r#"["subscribe" "c" :1]"#);
    eventually("all clients are connected", || (gate.metric("clients", &[]) == 3.0).then_some(()));
    let started = Instant::now();
    gate.apply(&format!("{BASE}limits: {{timeouts: {{idle: 1s}}}}\n"));
    used.assert_closed();
    unused.assert_closed();
    assert!(started.elapsed() < Duration::from_secs(4), "it took {:?}", started.elapsed());
    eventually("the reason is counted", || {
        (gate.metric("connections_closed_total", &[("reason", "idle")]) >= 2.0).then_some(())
    });
    gate.apply(BASE);
    let mut stays = assert_admits(&gate, "127.0.0.1");
    stays.assert_silent_for(Duration::from_millis(1600));
    stays.assert_reply("PING", "+PONG");
}

#[test]
fn another_place_for_the_audit_trail() {
    let redis = Redis::plain();
    let gate = start(&redis, BASE);
    assert_admits(&gate, "127.0.0.1");
    eventually("the event is audited", || gate.audited("closed").pop());
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(gate.directory().join("audit.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    gate.configure(&format!("{BASE}audit: {{path: audit.log}}\n"));
    gate.send_sighup();
    let report = eventually("the reload is in the new file", || {
        lines().into_iter().find(|line| line["event"] == "reload")
    });
    assert_eq!(texts(&report["changes"]), ["audit changed"], "{report}");
    let before = gate.audit().len();
    assert_admits(&gate, "127.0.0.1");
    eventually("clients are in the new file", || lines().into_iter().find(|line| line["event"] == "closed"));
    assert_eq!(gate.audit().len(), before, "lines still go to the old place");
    assert_eq!(
        gate.reload_after(|| {
            gate.configure(BASE);
            gate.send_sighup();
        })["result"],
        "applied"
    );
}

#[test]
fn another_log() {
    let redis = Redis::plain();
    let gate = start(&redis, BASE);
    assert_admits(&gate, "127.0.0.1");
    gate.apply(&format!("{BASE}log: {{format: json, level: debug}}\n"));
    let client = assert_admits(&gate, "127.0.0.1");
    let source = client.local().to_string();
    let line: Value = eventually("it is logged", || {
        let text = gate.stderr();
        let line = text.lines().find(|line| line.contains(&source))?;
        serde_json::from_str(line).ok()
    });
    assert_eq!((&line["level"], &line["message"]), (&"DEBUG".into(), &"accepted".into()), "{line}");
    gate.apply(&format!("{BASE}log: {{level: error}}\n"));
    // The output thread may still be writing earlier lines.
    std::thread::sleep(Duration::from_millis(300));
    let before = gate.stderr();
    assert_refuses(&gate, "127.0.0.2");
    gate.reload();
    holds_for(Duration::from_millis(300), "refusals and reloads are no errors", || gate.stderr() == before);
}

#[test]
fn another_admin_token() {
    const OTHER: &str = "another-token-of-the-tests-77";
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .config(BASE)
        .file("token", TOKEN)
        .file("other", &format!("{OTHER}\n"))
        .secret(TOKEN)
        .secret(OTHER)
        .start();
    let with = |file: &str| edit(BASE, "{admin}'", &format!("{{admin}}', token: {{file: {file}}}"));
    let with_token = |token: &str| {
        let head =
            format!("GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
        http::call(gate.admin(), &head).expect("it answers").0
    };
    assert_eq!((gate.get("/api/status").0, with_token(TOKEN)), (200, 200));
    assert_eq!(http::post(gate.admin(), "/api/reload", TOKEN).expect("it answers").0, 403);
    gate.apply(&with("token"));
    assert_eq!((gate.get("/api/status").0, with_token(TOKEN), with_token(OTHER)), (401, 200, 401));
    assert_eq!(gate.reload_by_http().0.0, 200);
    gate.apply(&with("other"));
    assert_eq!((gate.get("/api/status").0, with_token(TOKEN), with_token(OTHER)), (401, 401, 200));
    // The configured file stays the same, and only its content changes.
    gate.put("other", TOKEN);
    assert_eq!(gate.reload()["result"], "applied");
    assert_eq!((with_token(TOKEN), with_token(OTHER)), (200, 401));
    gate.apply(BASE);
    assert_eq!(gate.get("/api/status").0, 200);
}

/// The proxy reports settings that need a restart. It does not apply a part of them.
#[test]
fn settings_that_need_a_restart() {
    let redis = Redis::plain();
    let gate = start(&redis, &format!("{BASE}workers: 2\n"));
    let moved = edit(BASE, "127.0.0.1:{admin}", &format!("127.0.0.1:{}", ports::free()));
    let report =
        gate.apply(&format!("{}workers: 3\n", edit(&moved, "[127.0.0.1]", "[127.0.0.1, 127.0.0.2]")));
    let said = texts(&report["not_applied"]);
    assert_eq!(said.len(), 2, "{report}");
    assert!(said[0].starts_with("workers: 3 (running with 2)"), "{report}");
    assert!(
        said[1].starts_with("admin: ") && said[1].ends_with(&format!("(running with {})", gate.admin())),
        "{report}"
    );
    for line in said {
        gate.assert_log(line);
    }
    // The other changes are in force, and the old address still answers.
    assert_admits(&gate, "127.0.0.2");
    assert!(gate.get("/api/status").1.contains("\"workers\":2"));
    let off = gate.apply(&edit(&format!("{BASE}workers: 2\n"), "{bind: '127.0.0.1:{admin}'}", "off"));
    assert_eq!(texts(&off["not_applied"]).len(), 1, "{off}");
    assert_eq!(gate.get("/live").0, 200);
    let back = gate.apply(&format!("{BASE}workers: 2\n"));
    assert!(back["not_applied"].is_null(), "{back}");
}

/// With another `auth`, the identity of a client is no longer valid. Other listeners are not affected.
#[test]
fn another_way_to_authenticate() {
    let redis = Redis::plain();
    let other = ports::free();
    let base = edit(
        BASE,
        "upstreams:",
        &format!(
            "  - {{name: other, bind: '127.0.0.1:{other}', upstream: main, allow: [office]}}\nupstreams:"
        ),
    );
    let gate = start(&redis, &base);
    let mut cut = assert_admits(&gate, "127.0.0.1");
    let mut stays = assert_serves(local(other));
    let report = gate.apply(&edit(&base, "allow: [office]", "allow: [office], auth: trust"));
    assert_eq!(report["cut"], 1, "{report}");
    assert!(
        texts(&report["changes"]).contains(&"listener 'public': auth changed, its clients are disconnected"),
        "{report}"
    );
    assert_revoked(&gate, &mut cut);
    stays.assert_reply("PING", "+PONG");
    let mut client = assert_admits(&gate, "127.0.0.1");
    client.assert_reply("AUTH default x", "+OK");
}

/// By default a socket file is accessible to its owner and group. A reload that changes the mode keeps the clients.
#[test]
fn a_socket_file_has_its_mode() {
    use std::os::unix::fs::PermissionsExt;

    let redis = Redis::plain();
    let yaml = edit(
        BASE,
        "[office]}",
        "[office]}\n  - {name: local, bind: 'unix:{dir}/gate.sock', upstream: main, allow: [unix]}",
    );
    let gate = start(&redis, &yaml);
    let path = gate.directory().join("gate.sock");
    let mode = || std::fs::metadata(&path).expect("it listens").permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o660);
    let mut early = Client::unix(&path);
    early.assert_reply("PING", "+PONG");
    for bits in ["0600", "0666"] {
        let bind = format!("{{unix: '{{dir}}/gate.sock', mode: '{bits}'}}");
        gate.apply(&edit(&yaml, "'unix:{dir}/gate.sock'", &bind));
        assert_eq!(format!("{:04o}", mode()), bits);
        Client::unix(&path).assert_reply("PING", "+PONG");
        early.assert_reply("PING", "+PONG");
    }
    let bind = "{unix: '{dir}/gate.sock', group: no-such-group}";
    assert_eq!(gate.reload_with(&edit(&yaml, "'unix:{dir}/gate.sock'", bind))["result"], "rejected");
    Client::unix(&path).assert_reply("PING", "+PONG");
}

/// An entry that gets another end is not lost meanwhile, and no client is disconnected.
#[test]
fn an_entry_with_another_end() {
    let redis = Redis::plain();
    let gate = start(&redis, BASE);
    let mut stays = assert_admits(&gate, "127.0.0.1");
    let until = |end: &str| edit(BASE, "[127.0.0.1]", &format!("[{{cidr: 127.0.0.1, until: '{end}'}}]"));
    let report = gate.apply(&until("2999-12-31T18:00:00Z"));
    let group = &report["groups"][0];
    assert_eq!(
        (&group["gained"], &group["lost"], &group["changed"]),
        (&0.into(), &0.into(), &1.into()),
        "{report}"
    );
    assert_eq!(texts(&group["changed_entries"]), ["127.0.0.1 until 2999-12-31T18:00:00Z (was never)"]);
    assert_eq!(report["cut"], 0, "{report}");
    gate.apply(&until("2998-12-31T18:00:00Z"));
    gate.assert_log(
        "reload: group changed group=office gained=0 lost=0 changed=1 \
         ends=127.0.0.1 until 2998-12-31T18:00:00Z (was 2999-12-31T18:00:00Z)",
    );
    stays.assert_reply("PING", "+PONG");
}
