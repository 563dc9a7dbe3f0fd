//! `auth_failures` and `block_for`: they stop guessing, a mistake blocks no other client, and the log has a line for
//! fail2ban.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::client::command;
use e2e::{Client, Gate, Redis, eventually};

use super::counts;

const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";
const BLOCKED: &str = "-ERR too many failed logins from your address, try again later";
const PASSWORD: &str = "canary-limits-login";

fn start(redis: &Redis, per_source: &str, more: &[&str]) -> Gate {
    let mut gate = Gate::before(redis)
        .allow("[127.0.0.0/8]")
        .listener("auth: users")
        .listener("users: [alice]")
        .listener(&format!("limits: {{per_source: {per_source}}}"))
        .top("users: {alice: {password: {env: GATE_TEST_ALICE}}}")
        .environment("GATE_TEST_ALICE", PASSWORD)
        .secret(PASSWORD);
    for line in more {
        gate = gate.top(line);
    }
    gate.start()
}

fn from(gate: &Gate, address: &str) -> Client {
    gate.connect_from(address, "127.0.0.1")
}

/// A client sends ten thousand guesses in one write. Guesses up to the limit get a reply, and the proxy drops the rest.
#[test]
fn ten_thousand_pipelined_guesses() {
    let redis = Redis::plain();
    let gate = start(&redis, "{auth_failures: 10/1m, block_for: 1h}", &[]);
    let mut guesser = from(&gate, "127.0.0.5");
    let mut guesses = Vec::new();
    for n in 0..10_000 {
        guesses.extend(command(&format!("AUTH alice guess-{n}")));
    }
    // This guess is correct but too late.
    guesses.extend(command(&format!("AUTH alice {PASSWORD}")));
    // The proxy closes the connection before it has received everything.
    let _ = guesser.try_send_raw(&guesses);
    let (answers, _) = guesser.read_to_end();
    assert_eq!(String::from_utf8_lossy(&answers), format!("{WRONGPASS}\r\n").repeat(10));
    gate.assert_metric("auth_failures_total", &[("listener", "public")], 10.0);
    gate.assert_metric("sources_blocked", &[("listener", "public")], 1.0);
    counts(&gate, "connections_closed_total", "limit", 1.0);

    // The source cannot even connect. Other sources can.
    for _ in 0..3 {
        let mut client = from(&gate, "127.0.0.5");
        client.assert_recv(BLOCKED);
        client.assert_closed();
    }
    counts(&gate, "connections_refused_total", "blocked", 3.0);
    from(&gate, "127.0.0.6").assert_reply(&format!("AUTH alice {PASSWORD}"), "+OK");
}

/// Guesses on many connections count together, with HELLO as with AUTH. Existing connections without a login close at
/// their next attempt. Logged-in clients stay.
#[test]
fn guesses_on_many_connections() {
    let redis = Redis::plain();
    let gate = start(&redis, "{auth_failures: 4/1m, block_for: 1h}", &[]);
    let mut inside = from(&gate, "127.0.0.5");
    inside.assert_reply(&format!("AUTH alice {PASSWORD}"), "+OK");
    let mut before = from(&gate, "127.0.0.5");
    before.assert_reply("PING", "-NOAUTH Authentication required.");
    for attempt in ["AUTH one", "AUTH alice two", "HELLO 3 AUTH alice three", "AUTH alice:four"] {
        let mut client = from(&gate, "127.0.0.5");
        client.assert_reply(attempt, WRONGPASS);
    }
    // The proxy does not even check a correct password.
    before.assert_reply(&format!("AUTH alice {PASSWORD}"), WRONGPASS);
    before.assert_closed();
    inside.assert_reply("PING", "+PONG");
}

/// Several clients have the same address. One of them repeats an old password, and the others have the right one.
#[test]
fn one_misconfigured_client_blocks_no_other_client() {
    let redis = Redis::plain();
    let gate = start(&redis, "{auth_failures: 3/1m, block_for: 1h}", &[]);
    for _ in 0..200 {
        from(&gate, "127.0.0.5").assert_reply("AUTH alice last-years-password", WRONGPASS);
    }
    from(&gate, "127.0.0.5").assert_reply(&format!("AUTH alice {PASSWORD}"), "+OK");
    gate.assert_metric("auth_failures_total", &[], 200.0);
    assert_eq!(gate.metric("sources_blocked", &[]), 0.0);
}

#[test]
fn a_block_ends() {
    let redis = Redis::plain();
    let gate = start(&redis, "{auth_failures: 2/1m, block_for: 2s}", &[]);
    let mut client = from(&gate, "127.0.0.5");
    client.assert_reply("AUTH one", WRONGPASS);
    client.assert_reply("AUTH two", WRONGPASS);
    let started = Instant::now();
    client.assert_closed();
    from(&gate, "127.0.0.5").assert_recv(BLOCKED);
    eventually("the block is over", || {
        let mut client = from(&gate, "127.0.0.5");
        (client.call(&format!("AUTH alice {PASSWORD}")).to_string() == "+OK").then_some(())
    });
    let took = started.elapsed();
    assert!(took > Duration::from_millis(1500) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(gate.metric("sources_blocked", &[]), 0.0);
}

/// The filter in docs/operations.md finds the promised line in both formats of the log.
#[test]
fn the_line_for_fail2ban() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(page).expect("the manual");
    let filter = text.split("failregex = ").nth(1).expect("the filter").to_owned();
    let regexes: Vec<&str> =
        filter.lines().take_while(|line| !line.trim().is_empty() && *line != "```").collect();
    assert_eq!(regexes.len(), 2, "{regexes:?}");
    let redis = Redis::plain();
    for format in ["text", "json"] {
        let gate =
            start(&redis, "{auth_failures: 2/1m, block_for: 1h}", &[&format!("log: {{format: {format}}}")]);
        let mut client = from(&gate, "127.0.0.5");
        client.assert_reply("AUTH one", WRONGPASS);
        client.assert_reply("AUTH two", WRONGPASS);
        client.assert_closed();
        gate.assert_log("source blocked");
        let found = hosts(&regexes, &gate.stderr());
        assert_eq!(found, "127.0.0.5\n", "{}", gate.stderr());
        let blocked = eventually("the event is audited", || {
            let blocked = gate.audited("blocked");
            (blocked.len() == 1).then_some(blocked)
        });
        assert_eq!(blocked[0]["seconds"], 3600, "{blocked:?}");
        assert!(
            blocked[0]["source"].as_str().is_some_and(|source| source.starts_with("127.0.0.5")),
            "{blocked:?}"
        );
    }
}

/// Applies the `<HOST>` and `<F-...>` of fail2ban to the log. It runs Python, because fail2ban is written in Python.
fn hosts(regexes: &[&str], log: &str) -> String {
    const SCRIPT: &str = r"
import re, sys
regexes = [line.strip() for line in sys.argv[1].splitlines()]
for line in sys.stdin:
    for regex in regexes:
        found = re.search(regex.replace('<HOST>', r'\[?(?P<host>[0-9a-fA-F:.]+?)\]?'), line)
        if found: print(found.group('host'))
";
    use std::io::Write;
    let mut child = std::process::Command::new("python3")
        .args(["-c", SCRIPT, &regexes.join("\n")])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    child.stdin.take().expect("piped").write_all(log.as_bytes()).expect("it reads");
    String::from_utf8_lossy(&child.wait_with_output().expect("it ends").stdout).into_owned()
}
