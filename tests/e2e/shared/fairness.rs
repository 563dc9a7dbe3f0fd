//! A client that floods or reads slowly does not make other clients wait, and does not use unbounded memory.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::client::command;
use e2e::{Client, Gate, Redis, eventually, own_turn};

use super::{Neighbours, sharing};

const MIB: u64 = 1024 * 1024;

/// The time limit for an answer under any load, on a machine that also runs other tests. Benchmarks measure the real
/// speed.
const SLOWEST: Duration = Duration::from_secs(1);

/// Starts a Redis with a value of 1 MiB under `big`, and a proxy.
fn start(limits: &str) -> (Redis, Gate) {
    let redis = Redis::plain();
    redis.control().assert_reply(&format!("SETRANGE big {} x", MIB - 1), &format!(":{MIB}"));
    let gate = sharing(Gate::before(&redis)).top(limits).start();
    (redis, gate)
}

/// Sends one command after another until `over` returns true. Returns the longest wait and the number of commands.
fn call_until(client: &mut Client, over: impl Fn() -> bool) -> (Duration, usize) {
    let (mut slowest, mut count) = (Duration::ZERO, 0);
    while !over() {
        let asked = Instant::now();
        client.assert_in_step(&format!("question {count}"));
        slowest = slowest.max(asked.elapsed());
        count += 1;
    }
    (slowest, count)
}

#[test]
fn a_million_commands_in_one_pipeline() {
    const COUNT: usize = 1_000_000;
    let _turn = own_turn();
    let (_redis, gate) = start("");
    let mut others: Vec<Client> = (0..4).map(|_| gate.connect()).collect();
    others.iter_mut().for_each(|client| client.assert_in_step("before"));
    let mut flood = gate.connect();
    flood.assert_reply("PING", "+PONG");
    let mut writer = flood.writer();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let batch = command("PING").repeat(1000);
            for _ in 0..COUNT / 1000 {
                writer.write_all(&batch).expect("the gate goes on reading");
            }
        });
        scope.spawn(|| {
            let due = b"+PONG\r\n";
            let mut at = 0;
            flood.read_through((COUNT * due.len()) as u64, |bytes| {
                assert!(bytes.iter().all(|byte| {
                    at += 1;
                    *byte == due[(at - 1) % due.len()]
                }));
            });
            over.store(true, Ordering::Relaxed);
        });
        let asking: Vec<_> = others
            .iter_mut()
            .map(|client| scope.spawn(|| call_until(client, || over.load(Ordering::Relaxed))))
            .collect();
        for asking in asking {
            let (slowest, count) = asking.join().expect("the command is answered");
            assert!(count > 10, "only {count} answers beside the flood");
            assert!(slowest < SLOWEST, "the slowest answer beside the flood took {slowest:?}");
        }
    });
    flood.assert_in_step("after");
}

/// Many clients flood at the same time, and read their values slowly.
#[test]
fn floods_of_many() {
    const COUNT: usize = 20_000;
    let _turn = own_turn();
    let (redis, mut gate) = start("");
    redis.control().assert_reply("SETRANGE value 999 x", ":1000");
    let mut other = gate.connect();
    other.assert_in_step("before");
    let mut floods: Vec<Client> = (0..10).map(|_| gate.connect()).collect();
    let reading = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let all: Vec<_> = floods
            .iter_mut()
            .enumerate()
            .map(|(number, flood)| {
                let mut writer = flood.writer();
                scope.spawn(move || {
                    let batch = command("GET value").repeat(100);
                    for _ in 0..COUNT / 100 {
                        writer.write_all(&batch).expect("the gate goes on reading");
                    }
                });
                scope.spawn(move || {
                    for _ in 0..COUNT / 100 {
                        if number % 2 == 0 {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                        flood.read_through(100 * 1009, |_| ());
                    }
                    flood.assert_in_step("after");
                })
            })
            .collect();
        let asking = scope.spawn(|| call_until(&mut other, || !reading.load(Ordering::Relaxed)));
        all.into_iter().for_each(|flood| flood.join().expect("every command is answered"));
        reading.store(false, Ordering::Relaxed);
        let (slowest, _) = asking.join().expect("the command is answered");
        assert!(slowest < SLOWEST, "the slowest answer beside the floods took {slowest:?}");
    });
    let peak = gate.process().peak_memory();
    assert!(peak < 48 * MIB, "{} MiB", peak / MIB);
}

/// Other clients first wait for a client that never reads. Then it is disconnected for this reason, and they continue.
#[test]
fn one_that_never_reads() {
    let _turn = own_turn();
    let (_redis, gate) = start("limits: {timeouts: {write: 5s}}");
    let mut neighbours = Neighbours::enter(&gate);
    let mut slow = Client::tcp_narrow(gate.address());
    slow.send_raw(&command("GET big").repeat(12));
    let since = Instant::now();
    let cut = || gate.metric("connections_closed_total", &[("reason", "slow")]) == 1.0;
    while !cut() {
        let asked = Instant::now();
        neighbours.assert_served();
        let took = asked.elapsed();
        assert!(took < SLOWEST, "answers took {took:?} beside it");
        assert!(since.elapsed() < e2e::PATIENCE, "the client is not cut");
    }
    neighbours.assert_served();
    drop(slow);
}

/// Clients request 5 MiB each and never read. Memory is bounded, these clients are disconnected, and others continue.
fn many_that_never_read(count: usize, limits: &str, bound: u64) {
    let _turn = own_turn();
    let (_redis, mut gate) = start(limits);
    {
        let mut neighbours = Neighbours::enter(&gate);
        let mut slow: Vec<Client> = (0..count).map(|_| Client::tcp_narrow(gate.address())).collect();
        for client in &mut slow {
            // Some may be closed already.
            let _ = client.try_send_raw(&command("GET big").repeat(5));
        }
        let since = Instant::now();
        let mut slowest = Duration::ZERO;
        let closed = |reason| gate.metric("connections_closed_total", &[("reason", reason)]);
        while closed("slow") + closed("limit") < count as f64 {
            let asked = Instant::now();
            neighbours.assert_served();
            slowest = slowest.max(asked.elapsed());
            let others = ["client", "upstream", "timeout", "protocol", "error"].map(|why| (why, closed(why)));
            assert!(
                since.elapsed() < 2 * e2e::PATIENCE,
                "not all are cut for slow reading; others: {others:?}"
            );
        }
        // Meanwhile Redis itself copies one GiB in its only thread. If the proxy waited for each client, this would
        // take 20 s.
        assert!(slowest < 8 * SLOWEST, "the slowest answer beside them took {slowest:?}");
        neighbours.assert_served();
        assert_eq!(closed("slow") + closed("limit"), count as f64, "clients were cut for slow reading");
        gate.assert_metric("clients", &[], Neighbours::COUNT as f64);
    }
    let peak = gate.process().peak_memory();
    assert!(peak < bound, "{} MiB", peak / MIB);
    // Shared connections keep their read buffer.
    eventually("no client's buffer is held", || (gate.metric("buffers_bytes", &[]) < 1e6).then_some(()));
}

#[test]
fn two_hundred_that_never_read() {
    many_that_never_read(200, "limits: {timeouts: {write: 5s}}", 300 * MIB);
}

#[test]
fn slow_readers_and_little_memory() {
    many_that_never_read(50, "limits: {buffers: 16MiB, timeouts: {write: 5s}}", 64 * MIB);
}

/// Clients that read large values are not disconnected.
#[test]
fn many_that_read_large_values() {
    let _turn = own_turn();
    let (_redis, gate) = start("");
    let mut neighbours = Neighbours::enter(&gate);
    let mut readers: Vec<Client> = (0..20).map(|_| gate.connect()).collect();
    let reading = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let all: Vec<_> = readers
            .iter_mut()
            .map(|client| {
                scope.spawn(|| {
                    for _ in 0..10 {
                        client.send("GET big");
                        client.read_through(MIB + 12, |_| ());
                    }
                    client.assert_in_step("after");
                })
            })
            .collect();
        let asking = scope.spawn(|| {
            while reading.load(Ordering::Relaxed) {
                neighbours.assert_served();
            }
        });
        all.into_iter().for_each(|reader| reader.join().expect("it has its values"));
        reading.store(false, Ordering::Relaxed);
        asking.join().expect("they are served");
    });
    assert!(gate.metric("connections_closed_total", &[("reason", "slow")]) == 0.0);
}
