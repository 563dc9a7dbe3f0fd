//! Failovers while clients write.

use e2e::{Masters, Writers, Written, eventually};

/// Waits until the writers have written a while longer.
#[track_caller]
fn write_on(writers: &Writers) {
    let before = writers.acknowledged();
    eventually("the writers go on", || (writers.acknowledged() > before + 1000).then_some(()));
}

/// The pairs of commands that each client sends at once.
const DEPTH: u64 = 8;

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
