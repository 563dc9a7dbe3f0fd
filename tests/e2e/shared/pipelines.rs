//! A client writes a long pipeline before it reads a byte. Redis holds its replies, as on a direct connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::client::{command, encode};
use e2e::{Client, Gate, Redis, own_turn};

use super::{Neighbours, sharing};

const MIB: u64 = 1024 * 1024;

/// The time limit for an answer to a neighbour, under any load and beside other tests.
const SLOWEST: Duration = Duration::from_secs(1);

/// Starts a proxy with shared connections. It listens on TCP and on a unix socket, whose buffers are much smaller.
fn start(limits: &str) -> (Redis, Gate) {
    let redis = Redis::plain();
    let gate = sharing(Gate::before(&redis))
        .bind("127.0.0.1:{port}")
        .bind("unix:{dir}/gate.sock")
        .allow("[127.0.0.1, unix]")
        .top(limits)
        .start();
    (redis, gate)
}

fn by_unix(gate: &Gate) -> Client {
    Client::unix(&gate.directory().join("gate.sock"))
}

/// Checks that the next bytes are `reply`, `count` times.
#[track_caller]
fn assert_recv_all(client: &mut Client, reply: &[u8], count: usize) {
    let block = reply.repeat(64 * 1024 / reply.len() + 2);
    let mut at = 0;
    client.read_through((reply.len() * count) as u64, |bytes| {
        let mut rest = bytes;
        while !rest.is_empty() {
            let from = at % reply.len();
            let length = rest.len().min(block.len() - from);
            assert!(rest[..length] == block[from..from + length], "wrong reply near byte {at}");
            at += length;
            rest = &rest[length..];
        }
    });
}

/// Checks that the next bytes are `due`.
#[track_caller]
fn assert_recv_bytes(client: &mut Client, due: &[u8]) {
    let mut at = 0;
    client.read_through(due.len() as u64, |bytes| {
        assert!(bytes == &due[at..at + bytes.len()], "wrong reply near byte {at}");
        at += bytes.len();
    });
}

/// Checks that no client was disconnected for slow reading, and that the proxy used little memory.
#[track_caller]
fn assert_within_limits(gate: &Gate) {
    assert!(
        gate.metric("connections_closed_total", &[("reason", "slow")]) == 0.0,
        "a client was cut for slow reading"
    );
    let peak = gate.peak_memory();
    assert!(peak < 32 * MIB, "peak memory of the gate: {} MiB", peak / MIB);
}

/// Runs `work`. Meanwhile the neighbours send commands and check that the replies arrive in time.
fn beside_neighbours(gate: &Gate, work: impl FnOnce() + Send) {
    let mut neighbours = Neighbours::enter(gate);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                neighbours.assert_served();
                slowest = slowest.max(asked.elapsed());
            }
            slowest
        });
        let working = scope.spawn(work);
        let done = working.join();
        over.store(true, Ordering::Relaxed);
        let slowest = asking.join().expect("they are served");
        done.expect("it is served");
        assert!(slowest < SLOWEST, "neighbours waited {slowest:?}");
    });
}

fn many_gets(mut client: Client) {
    const COUNT: usize = 480_000;
    client.assert_reply(&format!("SET key {}", "v".repeat(36)), "+OK");
    client.send_raw(&command("GET key").repeat(COUNT));
    assert_recv_all(&mut client, format!("$36\r\n{}\r\n", "v".repeat(36)).as_bytes(), COUNT);
    client.assert_in_step("after");
}

#[test]
fn many_gets_direct() {
    let _turn = own_turn();
    many_gets(Redis::plain().control());
}

#[test]
fn many_gets_by_tcp() {
    let _turn = own_turn();
    let (_redis, gate) = start("");
    many_gets(gate.connect());
    assert_within_limits(&gate);
}

#[test]
fn many_gets_by_a_unix_socket() {
    let _turn = own_turn();
    let (_redis, gate) = start("");
    many_gets(by_unix(&gate));
    assert_within_limits(&gate);
}

/// The throughput test in the test suite of hiredis: 10,000 times `LRANGE mylist 0 499`, pipelined.
fn many_ranges(mut client: Client) {
    const COUNT: usize = 10_000;
    const ELEMENTS: usize = 500;
    let mut push: Vec<&[u8]> = vec![b"RPUSH", b"mylist"];
    push.resize(2 + ELEMENTS, b"foo");
    client.send_args(&[b"DEL", b"mylist"]);
    client.recv();
    client.send_args(&push);
    client.assert_recv(&format!(":{ELEMENTS}"));
    client.send_raw(&command("LRANGE mylist 0 499").repeat(COUNT));
    let reply = format!("*{ELEMENTS}\r\n{}", "$3\r\nfoo\r\n".repeat(ELEMENTS));
    assert_recv_all(&mut client, reply.as_bytes(), COUNT);
    client.assert_in_step("after");
}

#[test]
fn many_ranges_direct() {
    let _turn = own_turn();
    many_ranges(Redis::plain().control());
}

#[test]
fn many_ranges_by_tcp() {
    let _turn = own_turn();
    let (_redis, gate) = start("");
    many_ranges(gate.connect());
    assert_within_limits(&gate);
}

#[test]
fn many_ranges_by_a_unix_socket() {
    let _turn = own_turn();
    let (_redis, gate) = start("");
    many_ranges(by_unix(&gate));
    assert_within_limits(&gate);
}

/// Other clients share the connection, and the limits of memory are low.
#[test]
fn many_ranges_beside_neighbours() {
    let _turn = own_turn();
    let (_redis, gate) = start("limits: {client_output_buffer: 128KiB}");
    beside_neighbours(&gate, || many_ranges(by_unix(&gate)));
    assert_within_limits(&gate);
}

/// Two clients share a connection only with each other.
#[test]
fn two_at_once() {
    let _turn = own_turn();
    let (_redis, gate) = start("limits: {client_output_buffer: 128KiB}");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = by_unix(&gate);
                client.assert_reply(&format!("SET key {}", "v".repeat(36)), "+OK");
                client.send_raw(&command("GET key").repeat(100_000));
                assert_recv_all(&mut client, format!("$36\r\n{}\r\n", "v".repeat(36)).as_bytes(), 100_000);
            });
        }
    });
    assert_within_limits(&gate);
}

/// The first reply is larger than the limit of held bytes. The client reads it after it has written the rest.
#[test]
fn a_large_reply_first() {
    const COUNT: usize = 200_000;
    let _turn = own_turn();
    let (redis, gate) = start("");
    redis.control().assert_reply(&format!("SETRANGE big {} x", 3 * MIB - 1), &format!(":{}", 3 * MIB));
    let mut client = by_unix(&gate);
    client.hold(&command("GET big"));
    client.send_raw(&command("INCR n").repeat(COUNT));
    client.assert_recv_raw(format!("${}\r\n", 3 * MIB).as_bytes());
    client.read_through(3 * MIB + 2, |_| ());
    let due: String = (1..=COUNT).map(|number| format!(":{number}\r\n")).collect();
    assert_recv_bytes(&mut client, due.as_bytes());
    redis.control().assert_reply("GET n", &format!("\"{COUNT}\""));
    assert_within_limits(&gate);
}

/// The replies are small at first, and then 5 KiB. When the proxy learns this, many of them have been requested
/// already.
#[test]
fn replies_that_grow() {
    const SMALL: usize = 50_000;
    const LARGE: usize = 10_000;
    let _turn = own_turn();
    let (redis, gate) = start("");
    redis.control().assert_reply("SETRANGE value 4999 x", ":5000");
    let mut client = by_unix(&gate);
    client.hold(&command("GET nothing").repeat(SMALL));
    client.send_raw(&command("GET value").repeat(LARGE));
    assert_recv_all(&mut client, b"$-1\r\n", SMALL);
    assert_recv_all(&mut client, &[b"$5000\r\n", &[0; 4999][..], b"x\r\n"].concat(), LARGE);
    client.assert_in_step("after");
    assert_within_limits(&gate);
}

/// The pipeline begins on a lease, which ends while the client still writes.
#[test]
fn a_lease_that_ends_while_the_client_writes() {
    const PIECES: usize = 25;
    const COUNT: usize = 4_000;
    let _turn = own_turn();
    let (redis, gate) = start("");
    redis.control().assert_reply("SETRANGE value 999 x", ":1000");
    let mut client = by_unix(&gate);
    client.send_raw(&encode(&[b"EVAL", b"return 1", b"0"]));
    for _ in 0..PIECES {
        client.send_raw(&command("GET value").repeat(COUNT));
        std::thread::sleep(Duration::from_millis(100));
    }
    client.assert_recv(":1");
    assert_recv_all(&mut client, &[b"$1000\r\n", &[0; 999][..], b"x\r\n"].concat(), PIECES * COUNT);
    client.assert_in_step("after");
    assert_within_limits(&gate);
}

/// Some commands in the middle need a lease. Each command runs once, in its place.
#[test]
fn transactions_in_the_middle() {
    const ROUNDS: usize = 40;
    const COUNT: usize = 5_000;
    let _turn = own_turn();
    let (redis, gate) = start("limits: {client_output_buffer: 64KiB}");
    let mut client = by_unix(&gate);
    for _ in 0..ROUNDS {
        client.hold(&command("INCR n").repeat(COUNT));
        client.hold(&command("MULTI"));
        client.hold(&command("INCR n"));
        client.hold(&command("EXEC"));
        client.hold(&encode(&[b"EVAL", b"return redis.call('INCR', 'n')", b"0"]));
    }
    client.send_raw(b"");
    let (mut number, mut due) = (0, String::new());
    for _ in 0..ROUNDS {
        for _ in 0..COUNT {
            number += 1;
            due += &format!(":{number}\r\n");
        }
        due += &format!("+OK\r\n+QUEUED\r\n*1\r\n:{}\r\n:{}\r\n", number + 1, number + 2);
        number += 2;
    }
    assert_recv_bytes(&mut client, due.as_bytes());
    redis.control().assert_reply("GET n", &format!("\"{number}\""));
    assert_within_limits(&gate);
}

/// The proxy judges each command separately, but the pending replies use no more memory than a run of equal ones.
#[test]
fn scripts_without_end() {
    const COUNT: usize = 60_000;
    let _turn = own_turn();
    let (_redis, gate) = start("");
    let mut client = gate.connect();
    let value = "v".repeat(500);
    client.send_raw(&encode(&[b"EVAL", b"return ARGV[1]", b"0", value.as_bytes()]).repeat(COUNT));
    assert_recv_all(&mut client, format!("$500\r\n{value}\r\n").as_bytes(), COUNT);
    client.assert_in_step("after");
    assert_within_limits(&gate);
}

/// Local replies come between replies of Redis, while so many bytes are pending for the client that there is no room
/// for them.
#[test]
fn the_gates_replies_in_the_middle() {
    const COUNT: usize = 5000;
    let _turn = own_turn();
    for limits in ["", "limits: {client_output_buffer: 64KiB}"] {
        for own in ["SELECT 0", "CLIENT ID", "CLIENT GETNAME"] {
            let (_redis, gate) = start(limits);
            beside_neighbours(&gate, || {
                let mut client = gate.connect();
                let said = match own {
                    "SELECT 0" => "+OK\r\n".to_owned(),
                    "CLIENT ID" => format!(":{}\r\n", client.call(own).integer()),
                    _ => "$-1\r\n".to_owned(),
                };
                let value = "v".repeat(4000);
                let both = [command(own), encode(&[b"ECHO", value.as_bytes()])].concat();
                client.send_raw(&both.repeat(COUNT));
                assert_recv_all(&mut client, format!("{said}$4000\r\n{value}\r\n").as_bytes(), COUNT);
                client.assert_in_step("after");
            });
            let broken = gate.metric("upstream_errors_total", &[("upstream", "main"), ("kind", "protocol")]);
            assert!(broken == 0.0, "replies did not match their commands ({own}, {limits})");
            assert_within_limits(&gate);
        }
    }
}
