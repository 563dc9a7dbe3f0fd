//! `status`, `top`, `clients` and `sources`: views of the running proxy on the terminal.

use std::path::Path;

use e2e::gate::{binary, portcullis};
use e2e::reload::TOKEN;
use e2e::terminal::Terminal;
use e2e::{Gate, Redis, eventually};
use serde_json::Value;

use super::{stderr, stdout};

/// Runs a command that must succeed, and returns its output.
#[track_caller]
fn shows(gate: &Gate, words: &[&str]) -> String {
    let output = portcullis(gate.directory(), words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
    stdout(&output)
}

/// Runs a command that must fail with this code, and returns its messages.
#[track_caller]
fn fails(directory: &Path, words: &[&str], code: i32) -> String {
    let output = portcullis(directory, words);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {}", stderr(&output));
    assert!(stdout(&output).is_empty(), "{words:?}: {}", stdout(&output));
    stderr(&output)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn the_state_of_the_running_proxy() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).token(TOKEN).start();
    let mut client = gate.connect();
    client.assert_reply("SET k v", "+OK");
    crate::reload::assert_refuses(&gate, "127.0.0.2");
    let status = shows(&gate, &["status"]);
    for part in ["portcullis 0.", "clients: 1 of ", "public ", "passthrough", "127.0.0.2 ", "not_allowed"] {
        assert!(status.contains(part), "{part}\n{status}");
    }
    let status = json(&shows(&gate, &["status", "--json"]));
    assert_eq!((&status["listeners"][0]["name"], &status["access"]), (&"public".into(), &"full".into()));

    let top = shows(&gate, &["top", "--once"]);
    for part in
        ["clients 1/", "commands/s ", "Listeners\n", "Upstreams\n", "main ", "Clients\n", "127.0.0.1:"]
    {
        assert!(top.contains(part), "{part}\n{top}");
    }
    let sample = json(&shows(&gate, &["top", "--once", "--json"]));
    assert_eq!(sample["listeners"][0]["clients"], 1, "{sample}");
}

#[test]
fn clients_are_found_and_disconnected() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).token(TOKEN).start();
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    assert!(shows(&gate, &["clients"]).contains(" public "));
    assert_eq!(shows(&gate, &["clients", "203.0.113.9"]), "no client\n");
    let clients = json(&shows(&gate, &["clients", "127.0.0.1", "--json"]));
    let id = clients[0]["id"].to_string();
    assert_eq!(shows(&gate, &["clients", "--close", &id]), format!("client {id} is disconnected\n"));
    client.assert_closed();
    let told = fails(gate.directory(), &["clients", "--close", &id], 1);
    assert!(told.contains("404 Not Found") && told.contains("no client with this number"), "{told}");
}

#[test]
fn a_blocked_source_is_listed_and_unblocked() {
    let redis = Redis::plain();
    let users = format!("users: {{reporting: {{password: {{sha256: {}}}}}}}", "5e".repeat(32));
    let gate = Gate::before(&redis)
        .listener("auth: users")
        .listener("users: [reporting]")
        .listener("limits: {per_source: {auth_failures: 2/1m, block_for: 10m}}")
        .top(&users)
        .token(TOKEN)
        .start();
    assert_eq!(shows(&gate, &["sources"]), "no source is blocked\n");
    let mut client = gate.connect();
    client.send("AUTH reporting one");
    client.send("AUTH reporting two");
    client.read_to_end();
    let sources = shows(&gate, &["sources"]);
    assert!(sources.contains("127.0.0.1 ") && sources.contains(" auth_failures "), "{sources}");
    assert_eq!(json(&shows(&gate, &["sources", "--json"]))["total"], 1);
    let unblock = ["sources", "--unblock", "127.0.0.1", "--listener", "public"];
    assert_eq!(shows(&gate, &unblock), "127.0.0.1 is no longer blocked on public\n");
    assert!(fails(gate.directory(), &unblock, 1).contains("this source is not blocked"));
    assert!(gate.connect().call("AUTH reporting three").is_error(), "it may try again");
}

#[test]
fn what_stands_between_the_command_and_the_proxy_is_named() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).token(TOKEN).file("wrong", "another token").start();
    let here = gate.directory().to_owned();
    let url = format!("http://{}", gate.admin());
    let told = fails(&here, &["status", "--admin", &url], 1);
    assert!(told.contains("needs a token") && told.contains("--token-file"), "{told}");
    let told = fails(&here, &["top", "--once", "--token-file", "wrong"], 1);
    assert!(told.contains("refused the admin token") && !told.contains("another token"), "{told}");
    assert!(
        fails(&here, &["clients", "--token-file", "absent"], 1).contains("cannot read the token from absent")
    );
    let named = shows(&gate, &["status", "--admin", &url, "--token-file", "token", "--json"]);
    assert_eq!(json(&named)["access"], "full");
    assert!(fails(&here, &["status", "--admin", "https://gate"], 64).contains("no TLS of its own"));
    assert!(fails(&here, &["top"], 64).contains("not a terminal"));
    assert!(fails(&here, &["sources", "--config", "absent.yaml"], 78).contains("absent.yaml"));
    let off = "listeners: [{name: public, bind: 127.0.0.1:16379, upstream: main, allow: [127.0.0.1]}]\n\
               upstreams: {main: {address: 127.0.0.1:16380}}\nadmin: off\n";
    std::fs::write(here.join("off.yaml"), off).expect("writable");
    assert!(fails(&here, &["status", "--config", "off.yaml"], 1).contains("has `admin: off`"));
    gate.process().kill();
    assert!(fails(&here, &["status"], 1).contains("no proxy answers on 127.0.0.1:"));
}

#[test]
fn the_live_view_follows_the_proxy_and_restores_the_terminal() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    let here = gate.directory().to_owned();
    let program = binary();
    let words = [program.to_str().expect("UTF-8"), "top"];
    let mut terminal = Terminal::run(&here, &words, &[("TERM", "xterm-256color")]);
    for part in ["\x1b[?1049h", "Listeners", "public", "Upstreams", "127.0.0.1:"] {
        terminal.assert_shows(part);
    }
    gate.process().kill();
    terminal.assert_shows("offline, trying again:");
    terminal.type_text("q");
    eventually("the view ends", || terminal.ended());
    assert!(terminal.screen().contains("\x1b[?1049l"), "the terminal is restored: {:?}", terminal.screen());
}
