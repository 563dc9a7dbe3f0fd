use std::net::Ipv4Addr;

use portcullis_acl::rate::Rate;

use super::*;

fn from(number: u32) -> ClientAddr {
    ClientAddr::from_socket((Ipv4Addr::from(0x0a00_0000 + number), 1).into())
}

fn table(limits: SourceLimits) -> Arc<SourceTable> {
    let table = Arc::new(SourceTable::new());
    table.set_limits(limits);
    table
}

#[test]
fn a_place_is_given_back_and_unix_peers_have_no_source() {
    let table = table(SourceLimits { clients: Some(1), ..SourceLimits::default() });
    let place = table.admit(from(1)).unwrap();
    assert_eq!(table.admit(from(1)).unwrap_err(), RefusedReason::SourceLimit);
    let _other = table.admit(from(2)).unwrap();
    drop(place);
    let _again = table.admit(from(1)).unwrap();
    let _unix = [table.admit(ClientAddr::unix()).unwrap(), table.admit(ClientAddr::unix()).unwrap()];
}

#[test]
fn distinct_wrong_passwords_block_and_the_same_one_does_not() {
    let minute = Duration::from_secs(60);
    let table = table(SourceLimits {
        auth_failures: Rate::new(3, minute),
        block_for: minute,
        ..SourceLimits::default()
    });
    for _ in 0..50 {
        assert_eq!(table.login_failed(from(1), None, b"old"), None);
    }
    assert_eq!(table.login_failed(from(1), None, b"guess"), None);
    let blocked = table.login_failed(from(1), None, b"another").expect("blocked");
    assert!(blocked.is_some_and(|left| left > Duration::from_secs(50) && left <= minute));
    assert_eq!(table.login_failed(from(1), None, b"more"), Some(None), "told once");
    assert!(table.is_blocked(from(1)) && !table.is_blocked(from(2)));
    assert_eq!(table.admit(from(1)).unwrap_err(), RefusedReason::Blocked);
    assert_eq!(table.blocked(), 1);
}

#[test]
fn connects_have_a_rate() {
    let table =
        table(SourceLimits { connects: Rate::new(2, Duration::from_secs(60)), ..SourceLimits::default() });
    drop([table.admit(from(1)).unwrap(), table.admit(from(1)).unwrap()]);
    assert_eq!(table.admit(from(1)).unwrap_err(), RefusedReason::Rate);
    assert!(table.admit(from(2)).is_ok());
}

#[test]
fn without_limits_nothing_is_kept() {
    let table = table(SourceLimits::default());
    let _place = table.admit(from(1)).unwrap();
    assert_eq!(table.login_failed(from(1), None, b"x"), None);
    assert!(table.lock().is_empty());
}

#[test]
fn a_block_can_be_ended() {
    let minute = Duration::from_secs(60);
    let auth_failures = Rate::new(2, minute);
    let table = table(SourceLimits { auth_failures, block_for: minute, ..SourceLimits::default() });
    for password in [b"one", b"two"] {
        let _ = table.login_failed(from(1), None, password);
    }
    let blocks = table.blocks(10);
    let [(source, left)] = blocks.as_slice() else { panic!("{blocks:?}") };
    assert_eq!(*source, Source::of(from(1)).unwrap());
    assert!(*left <= minute && *left > minute / 2, "{left:?}");
    assert!(table.unblock(*source) && !table.unblock(*source));
    assert!(!table.is_blocked(from(1)) && table.blocks(10).is_empty());
}
