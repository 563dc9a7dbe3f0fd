//! Refused commands are observable: a metric with the command's name, and a log line with the deciding rule.

use std::time::Duration;

use e2e::{Gate, Redis, eventually};

/// A text that no output may contain. Clients choose it as an argument, a key, a channel or a name.
const CANARY: &str = "canary";

fn lines(gate: &Gate) -> Vec<String> {
    let log = gate.stderr();
    log.lines().filter(|line| line.contains("command refused")).map(str::to_owned).collect()
}

/// Returns the only log line of a command, from the field after the listener on.
fn line(gate: &Gate, command: &str) -> String {
    let found = eventually("the refusal is logged", || {
        lines(gate).into_iter().find(|line| line.contains(&format!(" command={command} ")))
    });
    found.split_once(" listener=").map(|(_, rest)| rest.to_owned()).expect("a listener")
}

#[test]
fn the_log_names_client_command_and_rule() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .listener("auth: users")
        .listener("users: [reporting]")
        .listener("acl: \"+@all -@dangerous -@scripting +config|get ~canary:* ~report:*\"")
        .top("users: {reporting: {password: {env: SECRET}, acl: \"@public -getdel ~report:*\"}}")
        .environment("SECRET", "canary-password")
        .start();
    let mut client = gate.connect();
    client.assert_reply("GET canary", "-NOAUTH Authentication required.");
    client.assert_reply("AUTH reporting canary-password", "+OK");
    for command in [
        "FLUSHALL canary",
        "EVAL canary 1 canary",
        "CONFIG GET canary",
        "GETDEL report:canary",
        "SET canary:1 canary",
        "SCAN 0 MATCH canary COUNT 20000",
        "canary canary",
    ] {
        let reply = client.call(command).to_string();
        assert!(reply.starts_with('-'), "{command}: {reply}");
    }
    for (command, due) in [
        ("get", "reason=login rule=\"login\" left_out=0"),
        ("flushall", "reason=command acl=listener rule=\"-@dangerous\" left_out=0"),
        ("eval", "reason=command acl=listener rule=\"-@scripting\" left_out=0"),
        ("config|get", "reason=command acl=user rule=\"@public\" left_out=0"),
        ("getdel", "reason=command acl=user rule=\"-getdel\" left_out=0"),
        ("set", "reason=key acl=user rule=\"no key pattern allows it\" left_out=0"),
        ("scan", "reason=size acl=user rule=\"limits.count\" left_out=0"),
        ("other", "reason=command acl=listener rule=\"only a rule with its name allows it\" left_out=0"),
    ] {
        let line = line(&gate, command);
        let user = if command == "get" { "" } else { "user=reporting " };
        assert_eq!(
            line,
            format!("{} {user}command={command} {due}", line.split(' ').next().unwrap_or_default())
        );
    }
    let denied = |reason: &str, command: &str| {
        gate.assert_metric("commands_denied_total", &[("reason", reason), ("command", command)], 1.0);
    };
    for (reason, command) in [("login", "get"), ("command", "config"), ("key", "set"), ("size", "scan")] {
        denied(reason, command);
    }
    denied("command", "other");
    let (page, metrics) = (gate.stderr(), gate.get("/metrics").1);
    let refusals = page.lines().filter(|line| line.contains("command refused"));
    assert!(refusals.clone().count() >= 8);
    assert!(refusals.into_iter().all(|line| !line.contains(CANARY)), "{page}");
    assert!(!metrics.contains(CANARY));
}

/// Thousands of refusals cause one line at once, and then one line each second. The metric counts all of them.
#[test]
fn a_flood_of_refusals_is_a_line_a_second() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).top("workers: 2").listener("acl: \"+@all -@dangerous\"").start();
    let mut clients: Vec<_> = (0..4).map(|_| gate.connect()).collect();
    for client in &mut clients {
        client.send_raw(&"KEYS *\r\n".repeat(500).into_bytes());
        for _ in 0..500 {
            client.assert_recv("-NOPERM User default has no permissions to run the 'keys' command");
        }
    }
    gate.assert_metric("commands_denied_total", &[("reason", "command"), ("command", "keys")], 2000.0);
    let first = eventually("the first is logged", || lines(&gate).into_iter().next());
    assert!(first.ends_with("rule=\"-@dangerous\" left_out=0"), "{first}");
    std::thread::sleep(Duration::from_millis(1100));
    clients[0].assert_reply("KEYS *", "-NOPERM User default has no permissions to run the 'keys' command");
    eventually("the others are counted in the log", || {
        let left_out: u64 = lines(&gate)
            .iter()
            .map(|line| line.rsplit_once('=').and_then(|(_, n)| n.parse::<u64>().ok()).expect("a number"))
            .sum();
        (left_out + u64::try_from(lines(&gate).len()).expect("few") == 2001).then_some(())
    });
    assert!(lines(&gate).len() <= 30, "{:?}", lines(&gate));
}

/// All unknown names count as one command, so they make one series and one line.
#[test]
fn unknown_names_are_one_command() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).listener("acl: \"+@all\"").start();
    let mut client = gate.connect();
    for number in 0..500 {
        assert!(client.call(&format!("canary{number} x")).is_error());
    }
    gate.assert_metric("commands_denied_total", &[("command", "other")], 500.0);
    let page = gate.get("/metrics").1;
    let series = page.lines().filter(|line| line.starts_with("portcullis_commands_denied_total{"));
    assert_eq!(series.count(), 1, "{page}");
    assert!(lines(&gate).iter().all(|line| line.contains(" command=other ") && !line.contains(CANARY)));
    // A slow machine may log a line for each second.
    assert!(lines(&gate).len() <= 20, "{:?}", lines(&gate));
}
