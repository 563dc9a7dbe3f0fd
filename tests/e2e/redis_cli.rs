//! redis-cli, with the commands that an operator uses.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::{Gate, Redis, Stage, Way};

fn redis_cli(gate: &Gate, arguments: &[&str], input: &[u8]) -> Output {
    redis_cli_to(gate.port(), arguments, input)
}

fn redis_cli_to(port: u16, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed");
    child.stdin.take().expect("piped").write_all(input).expect("redis-cli reads");
    child.wait_with_output().expect("redis-cli ends")
}

fn output_of(gate: &Gate, arguments: &[&str], input: &[u8]) -> String {
    let output = redis_cli(gate, arguments, input);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn single_commands() {
    let stage = Stage::new(Way::Trust);
    let gate = stage.gate.as_ref().expect("a gate");
    assert_eq!(output_of(gate, &["SET", "a", "b c"], b""), "OK");
    assert_eq!(output_of(gate, &["GET", "a"], b""), "b c");
    assert_eq!(output_of(gate, &["-3", "GET", "a"], b""), "b c");
    assert_eq!(output_of(gate, &["-3", "HGETALL", "none"], b""), "");
    assert_eq!(output_of(gate, &["-n", "5", "SET", "five", "1"], b""), "OK");
    assert_eq!(output_of(gate, &["-n", "5", "EXISTS", "five"], b""), "1");
    assert_eq!(output_of(gate, &["EXISTS", "five"], b""), "0");
    assert_eq!(
        output_of(gate, &["--no-auth-warning", "--user", "default", "--pass", "any", "PING"], b""),
        "PONG"
    );
}

#[test]
fn a_session_from_standard_input() {
    let stage = Stage::new(Way::Trust);
    let gate = stage.gate.as_ref().expect("a gate");
    for protocol in [&[][..], &["-3"]] {
        let text = output_of(gate, protocol, b"MULTI\nSET a 1\nINCR a\nEXEC\nRESET\nGET a\n");
        assert_eq!(text, "OK\nQUEUED\nQUEUED\nOK\n2\nRESET\n2", "{protocol:?}");
    }
}

/// The debugger answers each of its commands. The script's own reply comes after the last command.
#[test]
fn the_debugger_shows_the_reply_of_the_script() {
    const SCRIPT: &str = "local a = redis.call('GET', KEYS[1])\nreturn {a, ARGV[1], 'the reply'}\n";
    let session = |port: u16, mode: &str, script: &Path| {
        let script = script.to_str().expect("a path");
        let arguments = [mode, "--eval", script, "k", ",", "argument"];
        let output = redis_cli_to(port, &arguments, b"step\nprint a\ncontinue\nquit\n");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for way in [Way::Trust, Way::Shared, Way::Passthrough] {
        let stage = Stage::new(way);
        let gate = stage.gate.as_ref().expect("a gate");
        let script = gate.directory().join("script.lua");
        std::fs::write(&script, SCRIPT).expect("writable");
        stage.redis.control().assert_reply("SET k value", "+OK");
        let beside = Redis::plain();
        beside.control().assert_reply("SET k value", "+OK");
        for mode in ["--ldb", "--ldb-sync-mode"] {
            let due = session(beside.address().port(), mode, &script);
            assert!(due.contains("the reply"), "{due}");
            assert_eq!(session(gate.port(), mode, &script), due, "{way:?} {mode}");
        }
        gate.connect().assert_reply("GET k", "\"value\"");
    }
}

/// Mass insertion: `--pipe` sends everything, and then an ECHO whose reply marks the end.
#[test]
fn pipe_mode() {
    const COUNT: usize = 200_000;
    for way in [Way::Trust, Way::Passthrough, Way::Shared] {
        let stage = Stage::new(way);
        let gate = stage.gate.as_ref().expect("a gate");
        let mut input = Vec::new();
        for i in 0..COUNT {
            write!(input, "SET key:{i} value:{i}\r\n").expect("memory");
        }
        let text = output_of(gate, &["--pipe"], &input);
        assert!(text.ends_with(&format!("errors: 0, replies: {COUNT}")), "{text}");
        stage.redis.control().assert_reply("DBSIZE", &format!(":{COUNT}"));
        stage.redis.control().assert_reply("GET key:199999", r#""value:199999""#);
    }
}

#[test]
fn refused_clients_read_the_reason() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).allow("[127.0.0.2]").start();
    let output = redis_cli(&gate, &["PING"], b"");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("DENIED source address not allowed"), "{text}");
}

/// The tools of redis-cli: --bigkeys scans, --latency pings, --intrinsic needs no server.
#[test]
fn scanning() {
    let stage = Stage::new(Way::Trust);
    let gate = stage.gate.as_ref().expect("a gate");
    stage.redis.control().assert_reply("DEBUG POPULATE 1000", "+OK");
    let keys = output_of(gate, &["--scan", "--pattern", "key:*"], b"");
    assert_eq!(keys.lines().count(), 1000);
    assert!(output_of(gate, &["--bigkeys"], b"").contains("Sampled 1000 keys"));
}
