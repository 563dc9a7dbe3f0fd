use portcullis_acl::UnixSeconds;

use super::*;
use crate::log;

fn rule(line: u32) -> Rule<'static> {
    Rule {
        group: Some("office"),
        group_index: Some(1),
        cidr: Some("203.0.113.0/24".parse().expect("a network")),
        host: None,
        note: None,
        owner: None,
        until: Some(UnixSeconds(951_782_400)),
        file: Some("portcullis.yaml"),
        line,
    }
}

#[test]
fn an_entry_is_one_line_with_the_connections_of_all_workers() {
    let (expiries, start) = (Expiries::default(), Instant::now());
    let logged = log::captured(|| {
        expiries.log(start);
        for milliseconds in [0, 250, 999] {
            let now = start + Duration::from_millis(milliseconds);
            expiries.add(&rule(7), now);
            expiries.log(now);
        }
        expiries.add(&Rule { group: None, ..rule(9) }, start);
        for milliseconds in [1000, 5000] {
            expiries.log(start + Duration::from_millis(milliseconds));
        }
    });
    let lines: Vec<_> = logged.lines().map(|line| line.split_once("Z  ").expect("a time").1).collect();
    let until = "entry=203.0.113.0/24 until=2000-02-29T00:00:00Z file=portcullis.yaml";
    let expected = [
        format!("INFO entry expired: its clients are disconnected group=office {until} line=7 connections=3"),
        format!("INFO entry expired: its clients are disconnected {until} line=9 connections=1"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn many_entries_share_a_line() {
    let (expiries, now) = (Expiries::default(), Instant::now());
    let logged = log::captured(|| {
        for line in 0..u32::try_from(MOST).expect("few") + 5 {
            expiries.add(&rule(line), now);
        }
        expiries.finish();
    });
    assert_eq!(logged.lines().count(), MOST + 1);
    assert!(
        logged.ends_with("further entries expired: their clients are disconnected connections=5\n"),
        "{logged}"
    );
}
