//! Slots that move and masters that change while clients write to all nodes.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::random::number;
use e2e::{Cluster, ClusterWriters, ClusterWritten, Gate, Random, Stored, eventually};
use rustix::process::Signal;

use super::commands::{ready, started};

/// What a command in flight reads when its node is lost, or has lost its slots.
pub(super) const CLOSED: &str =
    "-ERR portcullis: upstream 'main' closed the connection; this command may or may not have run";
pub(super) const CHANGED: &str =
    "-ERR portcullis: upstream 'main' changed a master; this command may or may not have run";

/// What a client in a transaction reads when its node is lost, before its connection is closed.
const ENDS: &str = "-ERR portcullis: upstream 'main' closed the connection; this session ends (multi)";

const UNAVAILABLE: &str = "-ERR portcullis: upstream 'main' unavailable (";
pub(super) const TRYAGAIN: &str = "-TRYAGAIN ";
pub(super) const ABORTED: &str = "-EXECABORT ";
/// The error of a node that has heard too little of the others. With the node timeout of the tests, a busy machine is
/// enough for that.
pub(super) const DOWN: &str = "-CLUSTERDOWN ";

/// The writers of a test, and their hash tags.
const CLIENTS: usize = 4;
const TAGS: usize = 48;

/// The slots that move in a test, and the planned failovers. `PORTCULLIS_MOVES` and `PORTCULLIS_FAILOVERS` set other
/// numbers; with `--nocapture`, the tests print their figures.
const MOVES: u64 = 1000;
const FAILOVERS: u64 = 2;

/// The times that the same slots move while connections break. `PORTCULLIS_ROUNDS` sets another number.
const ROUNDS: u64 = 4;

/// The time for which a node stalls: too short for the others to replace it.
const STALL: Duration = Duration::from_millis(300);

fn print(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A proxy before a cluster, with its writers.
struct Load {
    gate: Gate,
    writers: ClusterWriters,
}

impl Load {
    fn start(cluster: &Cluster, tags: &[String], may_lose: bool) -> Self {
        Self::at(started(cluster), tags, may_lose)
    }

    fn at(gate: Gate, tags: &[String], may_lose: bool) -> Self {
        let writers = ClusterWriters::start(gate.address(), CLIENTS, tags, may_lose);
        Self { gate, writers }
    }

    /// Waits until the writers have written a while longer.
    #[track_caller]
    fn write_on(&self) {
        let before = self.writers.acknowledged();
        eventually("the writers go on", || (self.writers.acknowledged() > before + 1000).then_some(()));
    }

    fn redirects(&self, kind: &str) -> f64 {
        self.gate.metric("upstream_redirects_total", &[("upstream", "main"), ("kind", kind)])
    }

    /// Stops the writers, and checks what they were told. Each error must begin with one of `allowed`.
    #[track_caller]
    fn finish(self, cluster: &Cluster, allowed: &[&str]) {
        let redirects: Vec<String> = ["moved", "ask", "tryagain"]
            .iter()
            .map(|kind| format!("{kind} {}", self.redirects(kind)))
            .collect();
        let written = self.writers.stop();
        cluster.await_ok();
        for one in &written {
            let ends = one.errors().keys().any(|text| text.starts_with(ENDS));
            assert!(ends || one.closed() == 0, "a client was closed: {:?}", one.errors());
            let strange =
                one.errors().keys().find(|text| !allowed.iter().any(|known| text.starts_with(known)));
            assert_eq!(strange, None);
        }
        let mut found = Stored::of(cluster);
        let stored: u64 = written.iter().map(|one| one.assert_stored(&mut found)).sum();
        let sum = |count: fn(&ClusterWritten) -> u64| written.iter().map(count).sum::<u64>();
        let (acknowledged, sent) = (sum(ClusterWritten::acknowledged), sum(ClusterWritten::sent));
        let errors: u64 = written.iter().flat_map(|one| one.errors().values()).sum();
        let slowest = written.iter().map(ClusterWritten::slowest).max().unwrap_or_default();
        print(&format!(
            "{acknowledged} acknowledged, {stored} stored, {sent} sent, {errors} errors, slowest {slowest:.1?}, {}",
            redirects.join(", ")
        ));
    }
}

/// A node joins and gets its first slots, slots move between old nodes, and the node gives its slots away and leaves.
#[test]
fn slots_that_move_under_load_lose_nothing() {
    let mut cluster = Cluster::builder().without_replicas().patient().start();
    let part = u16::try_from((number("PORTCULLIS_MOVES", MOVES) / 3).max(1)).expect("few slots");
    // Most hash tags are in the slots that move.
    let first = 1000..=1000 + part - 1;
    let second = 6000..=6000 + part - 1;
    let tags = [
        cluster.tags(&first, TAGS / 3),
        cluster.tags(&second, TAGS / 3),
        cluster.tags(&(11_000..=16_383), TAGS / 3),
    ];
    let load = Load::start(&cluster, &tags.concat(), false);
    load.write_on();
    let begun = Instant::now();
    let added = cluster.add_master();
    let mut keys = cluster.move_slots(first.clone(), 0, added);
    load.write_on();
    keys += cluster.move_slots(second, 1, 2);
    load.write_on();
    keys += cluster.move_slots(first, added, 1);
    load.write_on();
    cluster.remove(added);
    load.write_on();
    print(&format!("{} slots with {keys} keys in {:.1?}", 3 * part, begun.elapsed()));
    assert!(load.redirects("moved") > 0.0 && load.redirects("ask") > 0.0);
    load.finish(&cluster, &[TRYAGAIN, ABORTED, DOWN]);
}

/// The writers also use transactions, for which they have connections of their own, and return.
#[test]
fn slots_that_move_under_load_of_shared_connections() {
    let cluster = Cluster::builder().without_replicas().patient().start();
    let slots = 6000..=6199;
    let tags = [cluster.tags(&slots, TAGS / 2), cluster.tags(&(0..=16_383), TAGS / 2)].concat();
    let load = Load::at(ready(cluster.gate().upstream("connections: shared")), &tags, false);
    for (from, to) in [(1, 2), (2, 0), (0, 1)] {
        load.write_on();
        cluster.move_slots(slots.clone(), from, to);
    }
    load.write_on();
    assert!(load.redirects("moved") > 0.0 && load.redirects("ask") > 0.0);
    load.finish(&cluster, &[TRYAGAIN, ABORTED, DOWN]);
}

/// TLS may hold replies that the socket does not show.
#[test]
fn slots_that_move_under_load_over_tls() {
    let cluster =
        Cluster::builder().without_replicas().patient().tls().password("a-password-of-nodes").start();
    let slots = 6000..=6099;
    let tags = [cluster.tags(&slots, TAGS / 2), cluster.tags(&(0..=16_383), TAGS / 2)].concat();
    let load = Load::at(ready(cluster.gate().upstream("tls: {ca: ca.pem}")), &tags, false);
    for (from, to) in [(1, 2), (2, 0)] {
        load.write_on();
        cluster.move_slots(slots.clone(), from, to);
    }
    load.write_on();
    load.finish(&cluster, &[TRYAGAIN, ABORTED, DOWN]);
}

/// Closes the proxy's connections at a node.
fn cut_connections(cluster: &Cluster, node: usize) -> usize {
    let id = |line: &String| Some(line.strip_prefix("id=")?.split(' ').next()?.to_owned());
    let mut control = cluster.node(node).control();
    let clients = cluster.node(node).tcp_clients();
    let kill = |id: String| control.call(&format!("CLIENT KILL ID {id}"));
    clients.iter().filter(|line| !line.contains("cmd=restore")).filter_map(id).map(kill).count()
}

/// Connections break and nodes stall while commands are under way to the old and to the new owner of a slot. What was in flight may or
/// may not have run, and was not acknowledged.
#[test]
fn connections_that_break_while_slots_move_lose_nothing() {
    let cluster = Cluster::builder().without_replicas().patient().start();
    let slots = 1000..=1039;
    let tags = [cluster.tags(&slots, TAGS / 2), cluster.tags(&(2000..=16_383), TAGS / 2)].concat();
    let load = Load::start(&cluster, &tags, false);
    let rounds = number("PORTCULLIS_ROUNDS", ROUNDS);
    let over = AtomicBool::new(false);
    let cut = std::thread::scope(|scope| {
        let cutter = scope.spawn(|| {
            let (mut random, mut cut) = (Random::new(7), 0);
            while !over.load(Ordering::Relaxed) {
                let node = random.below(3);
                if random.one_in(10) {
                    cluster.node(node).signal(Signal::STOP);
                    std::thread::sleep(STALL);
                    cluster.node(node).signal(Signal::CONT);
                } else {
                    cut += cut_connections(&cluster, node);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            cut
        });
        let mut from = 0;
        for _ in 0..rounds {
            let to = (from + 1) % 3;
            cluster.move_slots(slots.clone(), from, to);
            from = to;
        }
        over.store(true, Ordering::Relaxed);
        cutter.join().expect("the connections were cut")
    });
    load.write_on();
    print(&format!("{cut} connections cut in {rounds} rounds"));
    load.finish(&cluster, &[CLOSED, ENDS, TRYAGAIN, ABORTED, DOWN]);
}

#[test]
fn planned_failovers_of_nodes_lose_nothing() {
    let cluster = Cluster::builder().patient().start();
    let load = Load::start(&cluster, &cluster.tags(&(0..=16_383), TAGS), false);
    let begun = Instant::now();
    let failovers = number("PORTCULLIS_FAILOVERS", FAILOVERS);
    for round in 0..failovers {
        load.write_on();
        // Of the nodes n and n + 3, one is the replica of the other.
        let slot = [0, 8000, 16_000][usize::try_from(round % 3).expect("small")];
        let replica = (cluster.owner(slot) + 3) % 6;
        cluster.failover(replica);
        load.write_on();
        cluster.await_ok();
    }
    print(&format!("{failovers} failovers in {:.1?}", begun.elapsed()));
    load.finish(&cluster, &[CLOSED, CHANGED, TRYAGAIN, ABORTED, DOWN]);
}

/// A master that is killed may lose what its replica did not get. No command is executed twice, and the clients go on.
#[test]
fn writers_go_on_after_a_master_was_killed() {
    let mut cluster = Cluster::plain();
    let load = Load::start(&cluster, &cluster.tags(&(0..=16_383), TAGS), true);
    load.write_on();
    cluster.kill(0);
    cluster.await_master(3);
    load.write_on();
    cluster.start_again(0);
    cluster.await_ok();
    load.write_on();
    load.finish(&cluster, &[CLOSED, CHANGED, ENDS, UNAVAILABLE, TRYAGAIN, ABORTED, DOWN]);
}

/// The connections to the killed node are lost for all clients that share them, and each client reads its own errors.
#[test]
fn writers_on_shared_connections_go_on_after_failovers() {
    let mut cluster = Cluster::builder().patient().start();
    let gate = ready(cluster.gate().upstream("connections: shared"));
    let load = Load::at(gate, &cluster.tags(&(0..=16_383), TAGS), true);
    load.write_on();
    cluster.failover(4);
    load.write_on();
    cluster.await_ok();
    cluster.kill(0);
    cluster.await_master(3);
    load.write_on();
    cluster.start_again(0);
    cluster.await_ok();
    load.write_on();
    load.finish(&cluster, &[CLOSED, CHANGED, ENDS, UNAVAILABLE, TRYAGAIN, ABORTED, DOWN]);
}

/// A master that stops loses its slots. It continues as a master, with commands in its sockets, and only then hears that
/// it is none.
#[test]
fn writers_go_on_after_a_master_was_stopped() {
    let cluster = Cluster::plain();
    let load = Load::start(&cluster, &cluster.tags(&(0..=16_383), TAGS), true);
    load.write_on();
    cluster.node(0).signal(Signal::STOP);
    cluster.await_master(3);
    load.write_on();
    cluster.node(0).signal(Signal::CONT);
    eventually("the former master is a replica", || {
        cluster.call(0, "INFO replication").contains("role:slave").then_some(())
    });
    cluster.await_ok();
    load.write_on();
    load.finish(&cluster, &[CLOSED, CHANGED, ENDS, UNAVAILABLE, TRYAGAIN, ABORTED, DOWN]);
}
