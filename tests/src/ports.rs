//! Finds free TCP ports on loopback.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::{LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// The lowest port. The range is below Linux's ephemeral ports, so that no outgoing connection takes a port between
/// this check and the server's bind.
const LOWEST: u16 = 11_000;
const HIGHEST: u16 = 31_000;

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// Returns a port that is free on 127.0.0.1 and ::1, and that no other test of this process got. Another process may
/// still take the port, so the caller tries again with another one.
pub fn free() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let span = HIGHEST - LOWEST;
    let start = seed() % u32::from(span);
    for step in 0..u32::from(span) {
        let offset = (start + step * 7919) % u32::from(span);
        let port = LOWEST + u16::try_from(offset).expect("less than the span");
        if !given.contains(&port) && is_free(port) {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port between {LOWEST} and {HIGHEST}");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok()
}

fn seed() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.subsec_nanos() ^ std::process::id().wrapping_mul(2_654_435_761)
}
