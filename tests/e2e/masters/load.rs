//! Failovers while clients write.

use std::io::Write;
use std::time::Instant;

use e2e::{Gate, Masters, Writers, Written, eventually};
use rustix::process::Signal;

/// What a command in flight reads when the master changes.
const IN_FLIGHT: &str =
    "-ERR portcullis: upstream 'main' changed its master; this command may or may not have run";

const UNAVAILABLE: &str = "-ERR portcullis: upstream 'main' unavailable";

/// The planned failovers of a test, one after the other. `PORTCULLIS_FAILOVERS` sets another number; with `--nocapture`, the
/// test prints its figures.
const FAILOVERS: usize = 2;

/// Waits until the writers have written a while longer.
#[track_caller]
fn write_on(writers: &Writers) {
    let before = writers.acknowledged();
    eventually("the writers go on", || (writers.acknowledged() > before + 1000).then_some(()));
}

/// Two proxies before the same masters, one with dedicated and one with shared connections, and their clients.
struct Load {
    gates: [Gate; 2],
    writers: Vec<Writers>,
}

impl Load {
    fn start(masters: &Masters) -> Self {
        let gate = || masters.gate().listener("auth: trust");
        let gates = [gate().start(), gate().upstream("connections: shared").start()];
        // The clients of both write to lists of their own.
        let writers = gates.iter().zip([0, CLIENTS]);
        let writers =
            writers.map(|(gate, first)| Writers::start_at(first, gate.address(), CLIENTS, DEPTH)).collect();
        Self { gates, writers }
    }

    #[track_caller]
    fn write_on(&self) {
        self.writers.iter().for_each(write_on);
    }

    fn acknowledged(&self) -> u64 {
        self.writers.iter().map(Writers::acknowledged).sum()
    }

    /// Returns the time from the beginning of each proxy's last pause until the server became the master, by their logs.
    fn held_before(&self, log: &str) -> [i64; 2] {
        let promoted = last_time(log, "MASTER MODE enabled");
        self.gates.each_ref().map(|gate| promoted - last_time(&gate.stderr(), "commands are held"))
    }

    #[track_caller]
    fn assert_failovers(&self, count: usize) {
        let count = u32::try_from(count).expect("a small number");
        for gate in &self.gates {
            gate.assert_metric("upstream_failovers_total", &[("upstream", "main")], count.into());
        }
    }

    fn stop(self) -> Vec<Written> {
        self.writers.into_iter().flat_map(Writers::stop).collect()
    }
}

fn print(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Returns the time of the last line with this text, in milliseconds since the full hour: the time zones differ.
fn last_time(log: &str, text: &str) -> i64 {
    let line = log.lines().rfind(|line| line.contains(text)).expect("the line");
    let time = line.split([' ', 'T', 'Z']).find(|word| word.matches(':').count() == 2).expect("a time");
    let [minute, second] = [3..5, 6..8].map(|range| time[range].parse::<i64>().expect("a number"));
    let milliseconds: i64 = time[9..12].parse().expect("milliseconds");
    (minute * 60 + second) * 1000 + milliseconds
}

/// The clients of each proxy, and the pairs of commands that each sends at once.
const CLIENTS: usize = 3;
const DEPTH: u64 = 8;

/// Checks that no client was closed, and that each error that clients read begins with one of `allowed`.
#[track_caller]
fn assert_told(written: &[Written], allowed: &[&str]) {
    for one in written {
        assert_eq!(one.closed(), 0, "a client was closed: {:?}", one.errors());
        let strange = one.errors().keys().find(|text| !allowed.iter().any(|known| text.starts_with(known)));
        assert_eq!(strange, None);
    }
}

/// A client that stays with the old master loses writes that were acknowledged: the control for the tests with the
/// proxy.
#[test]
fn without_the_proxy_a_failover_loses_writes() {
    let masters = Masters::plain();
    let writers = Writers::start(masters.servers()[0].address(), 2, DEPTH);
    write_on(&writers);
    masters.failover(1);
    let second = masters.await_other_master(0);
    write_on(&writers);
    masters.await_replicas();
    let written = writers.stop();
    let mut control = masters.servers()[second].control();
    written.iter().for_each(|written| written.assert_once(&mut control));
    let stored: u64 = written.iter().map(|written| written.stored(&mut control)).sum();
    let acknowledged: u64 = written.iter().map(Written::acknowledged).sum();
    assert!(stored < acknowledged, "{stored} stored, {acknowledged} acknowledged");
}

/// Each write that a client knows to be done is stored after every failover, and none is stored twice.
#[test]
fn planned_failovers_lose_nothing() {
    // Longer than the half minute for which a sentinel on a busy machine may stop acting.
    let masters = Masters::builder().failover_timeout(60_000).start();
    let load = Load::start(&masters);
    let count = std::env::var("PORTCULLIS_FAILOVERS").map_or(FAILOVERS, |n| n.parse().expect("a number"));
    let mut master = 0;
    for number in 1..=count {
        load.write_on();
        let begun = Instant::now();
        masters.failover(number % 3);
        master = masters.await_other_master(master);
        load.assert_failovers(number);
        let took = begun.elapsed();
        load.write_on();
        let held = load.held_before(&masters.servers()[master].log());
        let acknowledged = load.acknowledged();
        print(&format!(
            "failover {number}: {took:.1?}, commands held {held:?} ms before the promotion, {acknowledged} acknowledged"
        ));
        masters.await_replicas();
    }
    let written = load.stop();
    assert_told(&written, &[IN_FLIGHT, "-READONLY"]);
    let mut control = masters.servers()[master].control();
    written.iter().for_each(|written| written.assert_nothing_lost(&mut control));
    let stored: u64 = written.iter().map(|written| written.stored(&mut control)).sum();
    let sum = |count: fn(&Written) -> u64| written.iter().map(count).sum::<u64>();
    let (acknowledged, sent) = (sum(Written::acknowledged), sum(Written::sent));
    print(&format!("{acknowledged} acknowledged <= {stored} stored <= {sent} sent"));
    assert!(acknowledged <= stored && stored <= sent);
}

/// A replica that does not answer delays the end of the failover. Meanwhile the leading sentinel names the old address
/// with the new epoch.
#[test]
fn a_planned_failover_beside_a_stopped_replica_loses_nothing() {
    let masters = Masters::builder().line("replica-priority 10").start();
    // The sentinels choose the replica with the lower number.
    masters.servers()[1].control().assert_reply("CONFIG SET replica-priority 1", "+OK");
    let sees_priority = || {
        (0..3).all(|sentinel| {
            let replicas = masters.sentinel(sentinel).call("SENTINEL REPLICAS mymaster");
            replicas.to_string().contains(r#""slave-priority" "1""#)
        })
    };
    eventually("the sentinels know the priority", || sees_priority().then_some(()));
    let load = Load::start(&masters);
    load.write_on();
    masters.servers()[2].signal(Signal::STOP);
    masters.failover(0);
    load.assert_failovers(1);
    load.write_on();
    let written = load.stop();
    masters.servers()[2].signal(Signal::CONT);
    assert_told(&written, &[IN_FLIGHT, "-READONLY"]);
    let mut control = masters.servers()[1].control();
    written.iter().for_each(|written| written.assert_nothing_lost(&mut control));
}

/// A master that is killed may lose what its replicas did not get. No command is executed twice, and the clients go on.
#[test]
fn clients_go_on_after_a_master_was_killed() {
    let mut masters = Masters::builder().down_after(1000).start();
    let load = Load::start(&masters);
    load.write_on();
    masters.server(0).kill();
    let master = masters.await_other_master(0);
    load.assert_failovers(1);
    load.write_on();
    // It still believes that it is the master.
    masters.server(0).start_again(&[], true);
    load.write_on();
    let written = load.stop();
    let lost = "-ERR portcullis: upstream 'main' ";
    assert_told(&written, &[IN_FLIGHT, UNAVAILABLE, lost]);
    let mut control = masters.servers()[master].control();
    written.iter().for_each(|written| written.assert_once(&mut control));
}
