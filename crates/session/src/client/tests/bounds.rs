use crate::client::Until;
use crate::pending::MAX_RUNS;
use crate::tests::pair::{Pair, frames};

#[test]
fn depth_costs_runs_and_not_commands() {
    let mut pair = Pair::passthrough();
    pair.client_bytes(&frames("GET a;SET a 1;PING").repeat(100_000));
    assert!(pair.session.held() < 512 * 1024, "{}", pair.session.held());
    assert_eq!(pair.waits, None);
    let replies = b"$-1\r\n+OK\r\n+PONG\r\n".repeat(100_000);
    pair.upstream_bytes(&replies);
    assert_eq!(pair.count.answered, 300_000);
    assert!(pair.session.is_idle());
    assert!(pair.session.held() + pair.link.held() < 2048, "an idle session is small");
}

#[test]
fn runs_that_cannot_be_joined_are_bounded() {
    let mut pair = Pair::passthrough();
    let total = 2 * MAX_RUNS;
    pair.commands("BLPOP a 0");
    pair.client_bytes(&frames("MULTI;EXEC").repeat(total / 2));
    assert_eq!(pair.waits, Some(Until::FewerPending));
    assert!(!pair.client_input.is_empty());
    assert!(pair.session.held() + pair.link.held() < 256 * MAX_RUNS, "{}", pair.session.held());
    let left = pair.client_input.len();
    pair.upstream("*-1|");
    assert!(pair.client_input.len() < left, "one run was answered");
    for _ in 0..total / 2 {
        pair.upstream("+OK|*0|");
    }
    assert!(pair.session.is_idle() && pair.fault.is_none());
}

/// The gate's replies after a missing reply accumulate only up to a limit, and count as memory.
#[test]
fn the_gates_own_replies_are_bounded() {
    let mut pair = Pair::passthrough();
    pair.commands("BLPOP a 0");
    pair.client_bytes(&frames("SYNC;PSYNC").repeat(MAX_RUNS));
    assert_eq!(pair.waits, Some(Until::FewerPending));
    assert!(pair.session.held() > 64 * MAX_RUNS && pair.session.held() < 512 * MAX_RUNS);
    pair.upstream("*-1|");
    assert!(pair.session.is_idle() && pair.session.held() < 2048);
}

#[test]
fn the_canonical_form_of_an_inline_command_is_not_kept() {
    let mut pair = Pair::passthrough();
    pair.client(&format!("ECHO {}|", "x".repeat(60_000)));
    pair.upstream("+x|");
    assert!(pair.session.held() < 2048, "{}", pair.session.held());
}
