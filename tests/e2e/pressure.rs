//! Deep pipelines, large values and slow peers. The order of replies is kept, memory is bounded, and no client waits
//! for another.

use std::time::{Duration, Instant};

use e2e::client::command;
use e2e::fake::{Answer, Fake};
use e2e::{Client, Gate, Redis, Stage, Way, eventually, own_turn};
use rustix::process::Signal;

const MIB: u64 = 1024 * 1024;

/// The limit for a proxy's peak resident memory in these tests.
const BOUND: u64 = 32 * MIB;

#[track_caller]
fn assert_bounded(gate: &Gate) {
    let peak = gate.peak_memory();
    assert!(peak < BOUND, "peak memory of the gate: {} MiB", peak / MIB);
}

/// The two directions are independent: a client may send everything before it reads anything.
fn sends_everything_before_it_reads(way: Way) {
    const COUNT: usize = 300_000;
    let _turn = own_turn();
    let stage = Stage::new(way);
    let mut client = stage.connect();
    client.assert_reply(&format!("SET key {}", "v".repeat(90)), "+OK");
    client.send_raw(&command("GET key").repeat(COUNT));
    let due = format!("$90\r\n{}\r\n", "v".repeat(90));
    let mut at = 0;
    let due = due.as_bytes();
    client.read_through((due.len() * COUNT) as u64, |bytes| {
        for byte in bytes {
            assert_eq!(*byte, due[at % due.len()], "wrong reply at byte {at}");
            at += 1;
        }
    });
    client.assert_in_step("after");
    if let Some(gate) = &stage.gate {
        assert_bounded(gate);
    }
}

#[test]
fn sends_everything_before_it_reads_direct() {
    sends_everything_before_it_reads(Way::Direct);
}

#[test]
fn sends_everything_before_it_reads_trust() {
    sends_everything_before_it_reads(Way::Trust);
}

#[test]
fn sends_everything_before_it_reads_shared() {
    sends_everything_before_it_reads(Way::Shared);
}

#[test]
fn sends_everything_before_it_reads_passthrough() {
    sends_everything_before_it_reads(Way::Passthrough);
}

/// Between two replies that arrived together there are more refusals than one write holds. The second reply must be
/// sent although no further event follows.
#[test]
fn a_reply_behind_many_of_the_gates_own() {
    const REFUSED: usize = 5_000;
    let fake = Fake::start(|words| match words {
        ["GET", "first"] => Some(Answer::Nothing),
        ["GET", "last"] => Some(Answer::Bytes(b"$5\r\nfirst\r\n$4\r\nlast\r\n".to_vec())),
        _ => None,
    });
    let gate = Gate::before_address(&fake.address()).listener("auth: trust").listener("acl: +get").start();
    let mut client = gate.connect();
    for _ in 0..5 {
        client.hold(&command("GET first"));
        client.hold(&command("FLUSHALL").repeat(REFUSED));
        client.send("GET last");
        client.assert_recv("\"first\"");
        for _ in 0..REFUSED {
            assert!(client.recv().text().starts_with("NOPERM "));
        }
        client.assert_recv("\"last\"");
    }
}

/// Clients request 300 MiB and never read. Others are served, and memory stays within its limit.
#[test]
fn clients_that_never_read() {
    let _turn = own_turn();
    let stage = Stage::new(Way::Trust);
    let gate = stage.gate.as_ref().expect("a gate");
    let mut other = stage.connect();
    other.send_args(&[b"SET", b"big", &vec![b'b'; 1024 * 1024]]);
    other.assert_recv("+OK");
    let mut idle: Vec<Client> = (0..10).map(|_| stage.connect()).collect();
    for client in &mut idle {
        client.send_raw(&command("GET big").repeat(30));
    }
    let end = Instant::now() + Duration::from_secs(1);
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        let asked = Instant::now();
        other.assert_reply("PING", "+PONG");
        slowest = slowest.max(asked.elapsed());
    }
    // Meanwhile Redis itself copies 300 MiB, and other tests share the machine.
    assert!(slowest < Duration::from_secs(2), "a PING took {slowest:?} beside them");
    assert_bounded(gate);
    // The clients can still read all of it.
    for client in &mut idle {
        client.read_through((1024 * 1024 + 12) * 30, |_| ());
        client.assert_in_step("after");
    }
    assert_bounded(gate);
}

/// Redis does not read. The client's writes stop, memory is bounded, and nothing is lost when Redis continues.
#[test]
fn a_stopped_redis_stops_the_writer() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).start();
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    let chunk = command(&format!("RPUSH list {}", "x".repeat(10_000))).repeat(100);
    redis.signal(Signal::STOP);
    let mut writer = client.writer();
    let (sent, receiver) = std::sync::mpsc::channel();
    let writing = std::thread::spawn(move || {
        for _ in 0..100 {
            writer.write_all(&chunk).expect("the gate goes on reading");
            sent.send(()).expect("the test waits");
        }
    });
    let mut chunks = 0;
    while receiver.recv_timeout(Duration::from_millis(500)).is_ok() {
        chunks += 1;
    }
    assert!(chunks < 50, "{chunks} MB were taken while Redis did not read");
    assert_bounded(&gate);
    redis.signal(Signal::CONT);
    for number in 1..=10_000 {
        client.assert_recv(&format!(":{number}"));
    }
    writing.join().expect("the whole pipeline is written");
    assert_bounded(&gate);
}

/// Streams 512 MiB in both directions, with constant resident memory.
fn half_a_gigabyte_streams_through(way: Way) {
    const SIZE: u64 = 512 * MIB;
    let _turn = own_turn();
    let stage = Stage::new(way);
    stage.redis.control().assert_reply("CONFIG SET proto-max-bulk-len 1gb", "+OK");
    let gate = stage.gate.as_ref().expect("a gate");
    let mut client = stage.connect();
    let block: Vec<u8> = (0..1024 * 1024).map(|i: u32| i.to_le_bytes()[0] ^ i.to_le_bytes()[2]).collect();
    client.send_raw(format!("*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n${SIZE}\r\n").as_bytes());
    for _ in 0..SIZE / MIB {
        client.send_raw(&block);
    }
    client.send_raw(b"\r\n");
    client.assert_recv("+OK");
    assert_bounded(gate);
    client.send("GET huge");
    client.assert_recv_raw(format!("${SIZE}\r\n").as_bytes());
    let mut at = 0;
    client.read_through(SIZE, |bytes| {
        let mut rest = bytes;
        while !rest.is_empty() {
            let from = at % block.len();
            let length = rest.len().min(block.len() - from);
            assert_eq!(rest[..length], block[from..from + length], "near byte {at}");
            at += length;
            rest = &rest[length..];
        }
    });
    client.assert_recv_raw(b"\r\n");
    client.assert_in_step("after");
    assert_bounded(gate);
}

#[test]
fn half_a_gigabyte_streams_through_trust() {
    half_a_gigabyte_streams_through(Way::Trust);
}

#[test]
fn half_a_gigabyte_streams_through_shared() {
    half_a_gigabyte_streams_through(Way::Shared);
}

/// A client sends the beginning of an argument of half a gigabyte and disconnects. Redis executes nothing.
fn a_large_value_that_is_given_up(way: Way) {
    let stage = Stage::new(way);
    let mut client = stage.connect();
    client.send_raw(b"*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n$536870912\r\n");
    client.send_raw(&vec![b'x'; 5_000_000]);
    client.abort();
    eventually("Redis has no such client", || {
        let clients = stage.redis.tcp_clients();
        (!clients.iter().any(|line| line.contains("cmd=set"))).then_some(())
    });
    stage.redis.control().assert_reply("EXISTS huge", ":0");
    stage.connect().assert_reply("PING", "+PONG");
}

#[test]
fn a_large_value_that_is_given_up_trust() {
    a_large_value_that_is_given_up(Way::Trust);
}

#[test]
fn a_large_value_that_is_given_up_shared() {
    a_large_value_that_is_given_up(Way::Shared);
}

/// Each of a thousand clients gets its own replies.
fn a_thousand_clients(way: Way) {
    let _turn = own_turn();
    let stage = Stage::new(way);
    let mut clients: Vec<Client> = (0..1000).map(|_| stage.connect()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.hold(&command(&format!("SET key:{i} {i}")));
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("PING"));
        client.send(&format!("GET key:{i}"));
    }
    for (i, client) in clients.iter_mut().enumerate() {
        client.assert_recv("+OK");
        client.assert_recv(&format!(r#""{i}""#));
    }
    let gate = stage.gate.as_ref().expect("a gate");
    gate.assert_metric("clients", &[("listener", "public")], 1000.0);
    drop(clients);
    eventually("all connections are closed", || {
        (gate.metric("clients", &[("listener", "public")]) == 0.0).then_some(())
    });
    eventually("Redis has none of them", || (stage.redis.tcp_clients().len() < 5).then_some(()));
}

#[test]
fn a_thousand_clients_trust() {
    a_thousand_clients(Way::Trust);
}

#[test]
fn a_thousand_clients_shared() {
    a_thousand_clients(Way::Shared);
}
