//! INFO, ROLE, CONFIG GET and HELLO of redis-server 7.0.15, of 8.0.2 and of valkey-server 8, cut to what matters.

use proptest::prelude::*;

use super::*;
use crate::tests::pair::{show, wire};

/// The address of the upstream, which no rewritten reply may contain.
const INNER: [&str; 4] = ["127.0.1.", "6390", "inner.example", "zone-a"];

const MASTER: &str = "# Server|redis_version:7.0.15|redis_mode:standalone|os:Linux 6.1 x86_64|tcp_port:6390|\
    executable:/opt/inner.example/redis-server|config_file:/etc/inner.example.conf|io_threads_active:0|\
    availability_zone:zone-a|listener0:name=tcp,bind=127.0.1.1,bind=-::1,port=6390|\
    listener1:name=unix,bind=/run/inner.example.sock||# Clients|connected_clients:1||# Replication|role:master|\
    connected_slaves:2|slave0:ip=127.0.1.2,port=6390,state=online,offset=14,lag=0|\
    slave1:ip=127.0.1.3,port=6390,state=online,offset=14,lag=0|master_failover_state:no-failover|\
    master_replid:6390ab|master_replid2:6390cd|master_repl_offset:14|second_repl_offset:-1||# Cluster|\
    cluster_enabled:1||# Keyspace|db0:keys=1,expires=0,avg_ttl=0|";

const REPLICA: &str = "# Replication|role:slave|master_host:127.0.1.1|master_port:6390|master_link_status:up|\
    master_last_io_seconds_ago:1|master_sync_in_progress:0|slave_read_repl_offset:14|slave_repl_offset:14|\
    slave_priority:100|slave_read_only:1|replica_announced:1|connected_slaves:0|\
    master_failover_state:no-failover|master_replid:6390ab|master_repl_offset:14|";

fn rewrite(of: Rewritten) -> Rewrite {
    Rewrite { of, mode: Mode::Standalone, port: Some(7000) }
}

fn text(text: &str, resp3: bool) -> Vec<u8> {
    let mut out = Vec::new();
    encode::verbatim(&mut out, &wire(text), resp3);
    out
}

fn written(rewrite: Rewrite, frame: &[u8]) -> String {
    let mut out = Vec::new();
    rewrite.write(frame, &mut out).expect("a reply that can be rewritten");
    let shown = show(&out);
    for inner in INNER {
        assert!(!shown.contains(inner), "{inner} in {shown}");
    }
    // The reply is still one frame.
    let whole = ReplyScanner::new().next(&out);
    assert!(matches!(whole, Ok(Reply::Whole { len, .. }) if len == out.len()), "{shown}");
    shown
}

#[test]
fn info_describes_the_gate() {
    for resp3 in [false, true] {
        let info = written(rewrite(Rewritten::Info), &text(MASTER, resp3));
        assert!(info.starts_with(if resp3 { '=' } else { '$' }), "{info}");
        for line in [
            "redis_version:7.0.15|",
            "redis_mode:standalone|",
            "tcp_port:7000|",
            "role:master|",
            "connected_slaves:0|",
            "master_failover_state:no-failover|",
            "master_repl_offset:14|",
            "cluster_enabled:0|",
            "|# Keyspace|db0:keys=1,expires=0,avg_ttl=0|",
        ] {
            assert!(info.contains(line), "{line} in {info}");
        }
        let replica = written(rewrite(Rewritten::Info), &text(REPLICA, resp3));
        let body = "# Replication|role:master|connected_slaves:0|master_failover_state:no-failover|\
                    master_repl_offset:14|";
        assert!(replica.ends_with(&format!("{body}|")), "{replica}");
    }
}

#[test]
fn info_of_a_cluster_and_without_a_port() {
    let rewrite = Rewrite { of: Rewritten::Info, mode: Mode::Cluster, port: None };
    let info = written(rewrite, &text(MASTER, false));
    assert!(info.contains("redis_mode:cluster|") && info.contains("cluster_enabled:1|"), "{info}");
    assert!(!info.contains("tcp_port"), "{info}");
    assert_eq!(written(rewrite, &text("", true)), "=4|txt:|");
}

#[test]
fn role_is_a_master_without_replicas() {
    let master = "*3|$6|master|:14|*1|*3|$9|127.0.1.2|$4|6390|$2|14|";
    let replica = "*5|$5|slave|$9|127.0.1.1|:6390|$9|connected|:14|";
    for frame in [master, replica] {
        assert_eq!(written(rewrite(Rewritten::Role), &wire(frame)), "*3|$6|master|:14|*0|");
    }
    let sentinel = "*2|$8|sentinel|*1|$8|mymaster|";
    assert_eq!(written(rewrite(Rewritten::Role), &wire(sentinel)), sentinel);
}

#[test]
fn config_get_shows_no_address() {
    let pairs = [
        ("bind", "127.0.1.1", ""),
        ("replicaof", "127.0.1.1 6390", ""),
        ("slave-announce-ip", "127.0.1.1", ""),
        ("cluster-announce-hostname", "inner.example", ""),
        ("unixsocket", "/run/inner.example.sock", ""),
        ("availability-zone", "zone-a", ""),
        ("port", "6390", "7000"),
        ("tls-port", "6390", "0"),
        ("cluster-announce-bus-port", "6390", "0"),
        ("cluster-enabled", "yes", "no"),
        ("maxmemory", "0", "0"),
    ];
    for resp3 in [false, true] {
        let frame = |value: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
            let mut out = Vec::new();
            encode::map(&mut out, pairs.len(), resp3);
            for pair in &pairs {
                encode::bulk(&mut out, pair.0.as_bytes());
                encode::bulk(&mut out, value(pair).as_bytes());
            }
            out
        };
        let shown = written(rewrite(Rewritten::ConfigGet), &frame(|pair| pair.1));
        assert_eq!(shown, show(&frame(|pair| pair.2)));
    }
    assert_eq!(written(rewrite(Rewritten::ConfigGet), b"*0\r\n"), "*0|");
}

#[test]
fn hello_shows_no_zone() {
    let reply = "%4|$2|id|:9|$4|mode|$7|cluster|$4|role|$7|replica|$17|availability_zone|$6|zone-a|";
    let mut out = Vec::new();
    hello(&wire(reply), 77, Some(Mode::Standalone), &mut out).unwrap();
    assert_eq!(show(&out), "%3|$2|id|:77|$4|mode|$10|standalone|$4|role|$6|master|");
    // Without a face only the id is replaced.
    let mut out = Vec::new();
    hello(&wire(&reply.replace('%', "*").replace("*4", "*8")), 77, None, &mut out).unwrap();
    assert_eq!(
        show(&out),
        "*8|$2|id|:77|$4|mode|$7|cluster|$4|role|$7|replica|$17|availability_zone|$6|zone-a|"
    );
}

#[test]
fn other_forms_are_not_rewritten() {
    for (of, frame) in [
        (Rewritten::Info, "*1|$1|a|"),
        (Rewritten::Info, "+OK|"),
        (Rewritten::Info, "=7|mkd:abc|"),
        (Rewritten::Role, "*1|$6|master|"),
        (Rewritten::Role, "$6|master|"),
        (Rewritten::Role, "*2|$6|broker|:1|"),
        (Rewritten::Role, "*3|$6|master|$1|1|*0|"),
        (Rewritten::ConfigGet, "*1|$4|port|"),
        (Rewritten::ConfigGet, "$4|port|"),
        (Rewritten::ConfigGet, "*2|:1|:2|"),
    ] {
        assert_eq!(rewrite(of).write(&wire(frame), &mut Vec::new()), None, "{frame}");
    }
}

proptest! {
    /// Whatever fields a server adds, the reply stays one frame without the named fields.
    #[test]
    fn info_of_any_lines(lines in proptest::collection::vec("[a-z_]{0,12}[0-9]{0,2}:?[ -~]{0,20}\r?\n", 0..30), resp3 in any::<bool>()) {
        let mut frame = Vec::new();
        encode::verbatim(&mut frame, lines.concat().as_bytes(), resp3);
        let mut out = Vec::new();
        rewrite(Rewritten::Info).write(&frame, &mut out).unwrap();
        let whole = ReplyScanner::new().next(&out);
        let is_whole = matches!(whole, Ok(Reply::Whole { len, .. }) if len == out.len());
        prop_assert!(is_whole);
        let (_, body) = text_of(&out).unwrap();
        for line in body.split(|byte| *byte == b'\n') {
            prop_assert!(!line.starts_with(b"slave0:") && !line.starts_with(b"master_host:"));
        }
    }
}
