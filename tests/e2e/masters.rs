//! Upstreams whose master moves: real sentinels, a master and two replicas.

use e2e::Masters;

/// The sentinels of the tests make planned failovers, and replace a master that was killed.
#[test]
fn the_sentinels_of_the_tests_fail_over() {
    let mut masters = Masters::plain();
    assert_eq!(masters.master(), 0);
    masters.failover(1);
    let second = masters.await_other_master(0);
    masters.await_replicas();
    masters.server(second).kill();
    let third = masters.await_other_master(second);
    assert_ne!(third, second);
}
