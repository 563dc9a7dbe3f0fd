//! Upstreams whose master moves: real sentinels, a master and two replicas.

use e2e::{Masters, Writers, eventually};

/// Waits until the writers have written a while longer.
fn write_on(writers: &Writers) {
    let before = writers.acknowledged();
    eventually("the writers go on", || (writers.acknowledged() > before + 1000).then_some(()));
}

/// A client that stays with the old master loses writes that were acknowledged: the control for the tests with the
/// proxy. The sentinels of the tests also replace a master that was killed.
#[test]
fn without_the_proxy_a_failover_loses_writes() {
    let mut masters = Masters::plain();
    let writers = Writers::start(masters.servers()[0].address(), 2, 8);
    write_on(&writers);
    masters.failover(1);
    let second = masters.await_other_master(0);
    write_on(&writers);
    masters.await_replicas();
    let written = writers.stop();
    let mut control = masters.servers()[second].control();
    for written in &written {
        written.assert_once(&mut control);
    }
    let stored: u64 = (0..2)
        .map(|n| control.call(&format!("LLEN list:{n}")).integer())
        .sum::<i64>()
        .try_into()
        .expect("lengths");
    let acknowledged: u64 = written.iter().map(|written| written.acknowledged()).sum();
    assert!(stored * 2 < acknowledged, "{stored} stored, {acknowledged} acknowledged");
    masters.server(second).kill();
    masters.await_other_master(second);
}
