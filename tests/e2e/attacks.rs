//! Peers that stall, send slowly, flood or disconnect in the middle. Each attack affects only its own connection.

use std::time::{Duration, Instant};

use e2e::client::{End, command};
use e2e::{Client, Gate, Redis, Stage, Way, eventually, holds_for};
use rustix::process::Signal;

/// The share of a core above which the proxy counts as busy. A busy loop uses a whole core.
const BUSY: f64 = 0.5;

#[track_caller]
fn assert_calm(gate: &mut Gate) {
    let share = gate.process().cpu_share_over(Duration::from_secs(1));
    assert!(share < BUSY, "the gate uses {:.0} % of a core", share * 100.0);
}

fn impatient(redis: &Redis) -> Gate {
    Gate::before(redis).top("limits: {timeouts: {frame: 1s}}").start()
}

/// The client sends half a command as its first bytes, and nothing after it.
#[test]
fn half_of_the_first_command() {
    let redis = Redis::plain();
    let gate = impatient(&redis);
    for half in ["*1\r\n$4\r\nPI", "PIN", "*", "*2\r\n$3\r\nGET\r\n$100\r\nx"] {
        let mut client = gate.connect();
        client.send_raw(half.as_bytes());
        let started = Instant::now();
        client.assert_closed();
        let took = started.elapsed();
        assert!(took > Duration::from_millis(500) && took < Duration::from_secs(5), "{half:?}: {took:?}");
    }
    eventually("all are counted", || {
        (gate.metric("connections_closed_total", &[("reason", "timeout")]) == 4.0).then_some(())
    });
}

/// The client sends a byte at a time, in an inline command and in a large argument.
#[test]
fn a_trickle() {
    let redis = Redis::plain();
    let gate = impatient(&redis);
    for head in ["", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n"] {
        let mut client = gate.connect();
        client.assert_reply("PING", "+PONG");
        client.send_raw(head.as_bytes());
        let started = Instant::now();
        while client.try_send_raw(b"x").is_ok() {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "a client that trickles is served without a time limit"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The time limit of a command starts at its first byte. A client may be idle before, and send the command in two
/// pieces.
#[test]
fn two_pieces_after_a_rest() {
    let redis = Redis::plain();
    let gate = impatient(&redis);
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(1500));
        client.send_raw(b"*1\r\n$4\r\nPI");
        std::thread::sleep(Duration::from_millis(600));
        client.send_raw(b"NG\r\n");
        client.assert_recv("+PONG");
    }
}

/// The client always stops in the middle of a command, for longer than one command may take.
#[test]
fn a_pipeline_that_is_always_in_the_middle() {
    let redis = Redis::plain();
    let gate = impatient(&redis);
    let mut client = gate.connect();
    let ping = command("PING");
    client.send_raw(&ping[..5]);
    let end = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < end {
        client.send_raw(&ping[5..]);
        client.assert_recv("+PONG");
        client.send_raw(&ping[..5]);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The time that a command waits for Redis does not count for the next command.
#[test]
fn two_pieces_behind_a_blocked_command() {
    let redis = Redis::plain();
    let gate = impatient(&redis);
    let mut client = gate.connect();
    client.send("BLPOP list 3");
    std::thread::sleep(Duration::from_millis(1500));
    client.send_raw(&command("PING")[..5]);
    std::thread::sleep(Duration::from_millis(600));
    client.send_raw(&command("PING")[5..]);
    client.assert_recv("nil[]");
    client.assert_recv("+PONG");
}

/// A reply of the proxy itself waits for the end of a message that arrives in pieces.
#[test]
fn no_answer_in_the_middle_of_a_message() {
    const SIZE: usize = 20_000_000;
    let stage = Stage::new(Way::Trust);
    let mut client = stage.connect();
    client.call("HELLO 3");
    client.assert_reply("SUBSCRIBE c", r#">["subscribe" "c" :1]"#);
    stage.redis.control().send_args(&[b"PUBLISH", b"c", &vec![b'x'; SIZE]]);
    let head = format!(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${SIZE}\r\n");
    client.assert_recv_raw(head.as_bytes());
    client.send("AUTH default any");
    std::thread::sleep(Duration::from_millis(200));
    client.read_through(SIZE as u64, |bytes| assert!(bytes.iter().all(|byte| *byte == b'x')));
    client.assert_recv_raw(b"\r\n+OK\r\n");
}

/// A client that repeats its command does not extend the timeout of a silent upstream.
#[test]
fn a_silent_upstream_under_questions() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).upstream("response_timeout: 1s").start();
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    redis.signal(Signal::STOP);
    let started = Instant::now();
    while client.try_send_raw(&command("PING")).is_ok() {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "the proxy waits for a silent upstream without a time limit"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    redis.signal(Signal::CONT);
}

/// After RESET the proxy logs in again. This login waits for the client's earlier commands, and `connect_timeout` does
/// not apply to it.
#[test]
fn a_login_behind_a_blocked_command() {
    let redis = Redis::builder().password("canary-9d1f").start();
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .password("canary-9d1f")
        .upstream("connect_timeout: 1s")
        .start();
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    client.hold(&command("BLPOP list 2"));
    client.hold(&command("RESET"));
    client.send("PING");
    client.assert_recv("nil[]");
    client.assert_recv("+RESET");
    client.assert_recv("+PONG");
}

/// Half-closed clients, clients that never read, and an upstream that never reads do not make the proxy spin.
#[test]
fn stalled_peers_cost_no_time() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let mut half_closed = gate.connect();
    half_closed.send("DEBUG SLEEP 0");
    half_closed.send_raw(b"*1\r\n");
    half_closed.half_close();
    redis.control().send_args(&[b"SET", b"big", &vec![b'b'; 1024 * 1024]]);
    let mut deaf: Vec<Client> = (0..20).map(|_| gate.connect()).collect();
    for client in &mut deaf {
        client.send_raw(&command("GET big").repeat(10));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert_calm(&mut gate);
    redis.signal(Signal::STOP);
    let mut writers: Vec<Client> = (0..5).map(|_| gate.connect()).collect();
    for client in &mut writers {
        client.send_raw(&command("PING").repeat(2000));
        client.send_raw(b"*1\r\n$4\r\n");
        client.half_close();
    }
    assert_calm(&mut gate);
    redis.signal(Signal::CONT);
    drop((half_closed, deaf, writers));
    assert_all_is_given_back(&gate);
}

/// Local replies for clients that never read stay pending and use no CPU time.
#[test]
fn unread_local_replies_cost_no_time() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).listener("auth: trust").start();
    let mut batch = command("AUTH default any");
    batch.extend(command("AUTH other any"));
    let batch = std::sync::Arc::new(batch.repeat(1000));
    let writers: Vec<_> = (0..20)
        .map(|_| {
            let client = gate.connect();
            let mut writer = client.writer();
            let batch = std::sync::Arc::clone(&batch);
            std::thread::spawn(move || {
                // The write fails when the proxy accepts no more bytes.
                while writer.write_all(&batch).is_ok() {}
                client
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs(3));
    assert_calm(&mut gate);
    assert!(gate.peak_memory() < 64 * 1024 * 1024, "{} bytes", gate.peak_memory());
    gate.connect().assert_reply("PING", "+PONG");
    drop(gate);
    for writer in writers {
        writer.join().expect("it ends with the gate");
    }
}

/// Checks that no client, no upstream connection and no buffer is left after any kind of close.
#[track_caller]
fn assert_all_is_given_back(gate: &Gate) {
    eventually("no client, connection or buffer is left", || {
        let none = gate.metric("clients", &[]) == 0.0
            && gate.metric("upstream_connections", &[("state", "used")]) == 0.0
            && gate.metric("buffers_bytes", &[]) == 0.0;
        none.then_some(())
    });
}

/// Clients disconnect in every way, many times. The gauges return to zero, and the descriptors are closed.
#[test]
fn a_storm_of_ends() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    gate.connect().assert_reply("PING", "+PONG");
    assert_all_is_given_back(&gate);
    let descriptors = |gate: &mut Gate| {
        std::fs::read_dir(format!("/proc/{}/fd", gate.process().pid())).expect("it runs").count()
    };
    let before = descriptors(&mut gate);
    for round in 0..200 {
        let mut client = gate.connect();
        match round % 8 {
            0 => client.assert_reply("QUIT", "+OK"),
            1 => client.send("BLPOP list 0"),
            2 => client.send("SUBSCRIBE c"),
            3 => client.send_raw(b"*1\r\n$4\r\nPI"),
            4 => client.send_raw(b"POST / HTTP/1.1\r\n\r\n"),
            5 => client.send_raw(b"*1\r\n$x\r\n"),
            6 => client.send_raw(&command("PING").repeat(500)),
            _ => {}
        }
        if round % 3 == 0 { client.abort() } else { drop(client) }
    }
    assert_all_is_given_back(&gate);
    eventually("the descriptors are closed", || (descriptors(&mut gate) <= before + 2).then_some(()));
    let refused = gate.connect_from("127.0.0.2", "127.0.0.1").read_to_end().0;
    assert_eq!(refused, b"-DENIED source address not allowed\r\n");
}

/// 3000 connections are refused. Meanwhile an admitted client is served, and the log stays short.
#[test]
fn a_flood_of_strangers() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).start();
    let mut client = gate.connect();
    let mut slowest = Duration::ZERO;
    for _ in 0..30 {
        for _ in 0..100 {
            drop(gate.connect_from("127.0.0.2", "127.0.0.1"));
        }
        let asked = Instant::now();
        client.assert_reply("PING", "+PONG");
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "a PING took {slowest:?} beside them");
    eventually("all are counted", || {
        (gate.metric("connections_refused_total", &[("reason", "not_allowed")]) == 3000.0).then_some(())
    });
    let lines = gate.stderr().lines().count() + gate.stdout().lines().count();
    assert!(lines < 200, "{lines} lines for one source");
}

/// Stalled clients use up the buffers. The proxy closes them and serves other clients.
#[test]
fn stalled_clients_that_hold_the_buffers_are_closed() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).top("workers: 1\nlimits: {buffers: 1MiB}").start();
    let head = format!("*3\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n${}\r\n", 10_000);
    let mut greedy: Vec<Client> = (0..200).map(|_| gate.connect()).collect();
    for client in &mut greedy {
        client.hold(head.as_bytes());
        let _ = client.try_send_raw(&[b'x'; 5000]);
    }
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    holds_for(Duration::from_millis(500), "memory stays within the limit", || {
        gate.metric("buffers_bytes", &[]) <= 1_048_576.0
    });
    drop(greedy);
    wait_until_idle(&gate);
}

#[track_caller]
fn wait_until_idle(gate: &Gate) {
    eventually("no buffer is held", || (gate.metric("buffers_bytes", &[]) == 0.0).then_some(()));
}

/// The proxy disconnects all clients when the drain time ends, and the audit trail names this reason.
#[test]
fn the_drain_is_the_reason() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).top("limits: {timeouts: {drain: 1s}}").start();
    let mut clients: Vec<Client> = (0..150).map(|_| gate.connect()).collect();
    for client in &mut clients {
        client.assert_reply("SUBSCRIBE c", r#"["subscribe" "c" :1]"#);
    }
    gate.process().signal(Signal::TERM);
    assert_eq!(gate.process().wait().code(), Some(0));
    let told = gate.stdout();
    let ends = told.lines().filter(|line| line.contains(r#""event":"closed""#));
    let (drained, others): (Vec<_>, Vec<_>) = ends.partition(|line| line.contains(r#""reason":"drain""#));
    assert_eq!((drained.len(), others.len()), (150, 0), "{others:?}");
}

/// The last replies arrive completely, even if the client keeps sending while the proxy stops.
#[test]
fn last_replies_outlive_the_gate() {
    const SIZE: usize = 1024 * 1024;
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    redis.control().send_args(&[b"SET", b"big", &vec![b'b'; SIZE]]);
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    client.send("GET big");
    client.assert_recv_raw(format!("${SIZE}\r\n").as_bytes());
    gate.process().signal(Signal::TERM);
    let mut writer = client.writer();
    let writing = std::thread::spawn(move || {
        let end = Instant::now() + Duration::from_millis(600);
        while Instant::now() < end && writer.write_all(&command("PING")).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    std::thread::sleep(Duration::from_millis(300));
    client.read_through(SIZE as u64 + 2, |_| ());
    writing.join().expect("it writes");
    let (rest, end) = client.read_to_end();
    assert!(rest.chunks(7).all(|reply| reply == b"+PONG\r\n"), "{}", rest.escape_ascii());
    assert_eq!(end, End::Eof);
    assert_eq!(gate.process().wait().code(), Some(0));
}
