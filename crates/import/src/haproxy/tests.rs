mod balancers;
mod carried;
mod defaults;
mod doubt;

use proptest::prelude::*;

use crate::tests::{Outcome, imported, loaded};
use crate::{Format, Imported, import_text};

const FILE: &str = "\
global
    log /dev/log local0
defaults
    mode tcp
    timeout client 1h

frontend redis_in
    bind :6379
    bind :::6379 v6only
    acl office src -f office.lst
    acl abusers src 203.0.113.66 203.0.113.128/255.255.255.128
    tcp-request connection reject if abusers
    tcp-request connection accept if office
    tcp-request connection reject
    default_backend redis

frontend web
    bind :80
    mode http
    acl api path_beg /api
    default_backend redis

backend redis
    balance leastconn
    server b 10.0.0.6:6379 backup
    server a 10.0.0.5:6379 check inter 2s
    server c 10.0.0.7:6379 disabled
    server d 10.0.0.8:6380 ssl verify none
";

fn haproxy(text: &str) -> Outcome {
    imported(Format::Haproxy, text)
}

fn with_lists() -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("office.lst"),
        "203.0.113.0/24\n# comment\n\n  2001:db8:1::/48\nnonsense\n",
    )
    .unwrap();
    std::fs::write(directory.path().join("haproxy.cfg"), FILE).unwrap();
    let Imported { yaml, notes } = import_text(Format::Haproxy, FILE, &directory.path().join("haproxy.cfg"));
    let notes = notes.replace(&format!("{}/", directory.path().display()), "");
    loaded(yaml.unwrap(), notes)
}

#[test]
fn acls_become_groups() {
    let imported = with_lists();
    let probes = [
        "203.0.113.1",
        "203.0.113.66",
        "203.0.113.129",
        "2001:db8:1::1",
        "2001:db8:2::1",
        "10.0.0.1",
        "2002:cb00:7101::1",
    ];
    // The invalid line in the list may match any client, but its rule only accepts clients.
    assert_eq!(imported.admitted("redis_in", &probes), ["203.0.113.1", "2001:db8:1::1"]);
    let groups: Vec<&str> = imported.config.policy().groups().map(|group| group.name()).collect();
    assert_eq!(groups, ["unix", "office", "abusers"]);
    let addresses: Vec<String> =
        imported.config.upstreams()[0].addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.5:6379", "10.0.0.6:6379"]);
    for note in [
        "haproxy.cfg:1: not carried over: global",
        "haproxy.cfg:5: not carried over: timeout client 1h",
        "haproxy.cfg:17: not carried over: frontend web: mode http is not for Redis",
        "haproxy.cfg:24: not carried over: balance leastconn",
        "haproxy.cfg:26: not carried over: 'check inter 2s' of server a",
        "haproxy.cfg:27: not carried over: server c 10.0.0.7:6379 disabled: it is marked as disabled",
        "haproxy.cfg:28: not carried over: the server in line 28: its TLS differs",
        "office.lst:5: not carried over: ***: not an address",
    ] {
        imported.says(note);
    }
}

fn listen(rules: &str) -> Outcome {
    haproxy(&format!("listen redis\n bind :6379\n bind :::6379 v6only\n server a 10.0.0.5:6379\n{rules}"))
}

const PROBES: [&str; 7] =
    ["10.0.0.1", "10.1.0.1", "192.168.0.1", "8.8.8.8", "2001:db8::1", "2002:a01:1::1", "::1"];

#[test]
fn conditions() {
    let acls = " acl ten src 10.0.0.0/8\n acl one src 10.1.0.0/16\n acl lan src 192.168.0.0/16\n acl lan src 2001:db8::/32\n acl rate src_conn_rate gt 9\n";
    for (rules, admitted) in [
        ("reject unless ten", &["10.0.0.1", "10.1.0.1"][..]),
        ("reject if !ten !lan", &["10.0.0.1", "10.1.0.1", "192.168.0.1", "2001:db8::1"]),
        ("reject unless ten or lan", &["10.0.0.1", "10.1.0.1", "192.168.0.1", "2001:db8::1"]),
        ("accept if one || lan\n tcp-request connection reject", &["10.1.0.1", "192.168.0.1", "2001:db8::1"]),
        ("accept if ten !one\n tcp-request connection reject if TRUE", &["10.0.0.1"]),
        (
            "reject if ten ! one\n tcp-request connection reject unless { src 10.0.0.0/7 } or LOCALHOST",
            &["10.1.0.1", "::1"],
        ),
        (
            "accept if one\n tcp-request connection reject if ten\n",
            &["10.1.0.1", "192.168.0.1", "8.8.8.8", "2001:db8::1", "2002:a01:1::1", "::1"],
        ),
        ("reject if ten", &["192.168.0.1", "8.8.8.8", "2001:db8::1", "::1"]),
        ("reject if one OR lan\n tcp-request connection reject unless ten Or lan", &["10.0.0.1"]),
        ("reject if one ! or lan\n tcp-request connection reject unless ten !or lan", &["10.0.0.1"]),
        ("reject if one !!|| lan\n tcp-request connection reject unless ten", &["10.0.0.1"]),
        (
            "reject if ten rate\n tcp-request connection reject unless { src 0.0.0.0/0 }",
            &["192.168.0.1", "8.8.8.8", "::1"],
        ),
        ("accept if rate\n tcp-request connection reject unless lan", &["192.168.0.1", "2001:db8::1"]),
        ("reject if rate", &[]),
        ("reject if nowhere", &[]),
        ("expect-proxy layer4", &[]),
        (
            "accept",
            &["10.0.0.1", "10.1.0.1", "192.168.0.1", "8.8.8.8", "2001:db8::1", "2002:a01:1::1", "::1"],
        ),
    ] {
        let imported = listen(&format!("{acls} tcp-request connection {rules}\n"));
        assert_eq!(imported.admitted("redis", &PROBES), admitted, "{rules}\n{}", imported.yaml);
    }
}

/// A client must pass every stage, including the stages of the backend.
#[test]
fn stages() {
    let imported = haproxy(
        "frontend redis\n bind 127.0.0.1:6379\n tcp-request inspect-delay 5s\n tcp-request connection accept if { src 10.1.0.0/16 }\n \
         tcp-request connection reject unless { src 10.0.0.0/8 }\n tcp-request content reject if { src 10.1.0.1 }\n default_backend b\n\
         backend b\n tcp-request content reject unless { src 10.0.0.0/15 }\n server a 10.0.0.5:6379\n",
    );
    assert_eq!(
        imported.admitted("redis", &["10.0.0.1", "10.1.0.1", "10.1.0.2", "10.2.0.1", "8.8.8.8"]),
        ["10.0.0.1", "10.1.0.2"]
    );
}

/// HAProxy matches IPv4 entries with 6to4 and IPv4-compatible addresses, and entries of mapped addresses with IPv4
/// peers.
#[test]
fn embedded_addresses() {
    let imported = listen(" tcp-request connection reject if { src 10.0.0.0/8 0.0.0.0/8 }\n");
    assert_eq!(imported.admitted("redis", &PROBES), ["192.168.0.1", "8.8.8.8", "2001:db8::1"]);
    let imported =
        listen(" tcp-request connection reject unless { src ::ffff:10.0.0.0/104 ::ffff:192.168.0.1 }\n");
    assert_eq!(imported.admitted("redis", &PROBES), ["10.0.0.1", "10.1.0.1", "192.168.0.1"]);
    let imported = listen(" tcp-request connection reject unless { src ::/0 }\n");
    assert_eq!(imported.admitted("redis", &PROBES), PROBES);
}

#[test]
fn what_is_in_doubt_lets_nobody_in() {
    for rules in [
        " acl x src -f nowhere.lst\n tcp-request connection reject if x\n",
        " acl x src example.com\n tcp-request connection reject if x\n",
        " acl x src -m found\n tcp-request connection reject if x\n",
        " acl x src,ipmask(24) 10.0.0.0\n tcp-request connection reject if x\n",
        " .if defined(X)\n tcp-request connection accept\n .endif\n",
        " tcp-request connection set-src hdr(x)\n tcp-request connection accept\n",
        "",
    ] {
        let imported = listen(rules);
        assert!(imported.admitted("redis", &PROBES).is_empty(), "{rules}");
        imported.says("the clients of 'listen redis'");
    }
}

#[test]
fn bind_in_every_form() {
    for (bind, binds) in [
        (":6379", &["0.0.0.0:6379"][..]),
        ("*:6379 name x", &["0.0.0.0:6379"]),
        ("127.0.0.1:6379,[::1]:6379", &["127.0.0.1:6379", "[::1]:6379"]),
        ("::1:6379", &["[::1]:6379"]),
        ("ipv6@:6379", &["[::]:6379"]),
        ("ipv4@127.0.0.1:6379", &["127.0.0.1:6379"]),
        ("unix@/run/a.sock", &["unix:/run/a.sock"]),
        ("/run/a.sock mode 600", &["unix:/run/a.sock"]),
    ] {
        let imported = haproxy(&format!("listen a\n bind {bind}\n server x unix@/run/redis.sock\n"));
        let found: Vec<String> =
            imported.config.listeners()[0].binds().iter().map(ToString::to_string).collect();
        assert_eq!(found, binds);
    }
    for bind in [
        ":6379 ssl",
        ":6379 ssl crt a.pem strict-sni",
        ":6379 ssl crt a.pem verify required",
        ":6379 ssl crt-list a.txt",
        ":6379 ssl crt a.pem generate-certificates",
        ":6379 transparent",
        ":6379 what",
        "/run/a.sock mode 0888",
        ":6379-6380",
        "localhost:6379",
        ":6379 accept-netscaler-cip 1",
        "fd@3",
        "abns@x",
        ":6379 interface eth0",
        "${A}:6379",
    ] {
        let text = format!("listen a\n bind {bind}\n server x 10.0.0.5:6379\n");
        let Imported { yaml, notes } = import_text(Format::Haproxy, &text, std::path::Path::new("-"));
        assert_eq!(yaml, None, "{bind}: {notes}");
    }
}

/// HAProxy takes such an address for the one that the client connected to.
#[test]
fn servers_at_the_address_of_the_client_are_left_out() {
    let text = |server: &str| format!("listen a\n bind :6379\n server s {server}\n");
    for server in [
        "0.0.0.0:6380",
        "*:6380",
        ":6380",
        "[::]:6380",
        ":::6380",
        "ipv4@0.0.0.0:6380",
        "ipv6@:::6380",
        "0.0.0.0",
        "*",
        "::",
    ] {
        let Imported { yaml, notes } =
            import_text(Format::Haproxy, &text(server), std::path::Path::new("old.conf"));
        assert_eq!(yaml, None, "{server}: {notes}");
        assert!(
            notes.contains("old.conf:3: not carried over")
                && notes.contains("HAProxy connects to the address that the client"),
            "{server}: {notes}"
        );
    }
    let imported = haproxy(&(text("0.0.0.0:6380") + " server t 10.0.0.5:6379\n"));
    assert_eq!(imported.config.upstreams()[0].addresses().len(), 1, "{}", imported.yaml);
    imported.says("old.conf:3: not carried over: server s 0.0.0.0:6380: HAProxy connects to the address");
}

#[test]
fn defaults_and_quotes() {
    let imported = haproxy(
        "defaults tcp_ones\n mode tcp\ndefaults web\n mode http\nlisten a from tcp_ones\n bind :6379 # comment\n acl x src \"10.0.0.0/8\" '192.168.0.1'\n tcp-request connection reject if !x\n server s 10.0.0.5:6379\n",
    );
    assert_eq!(imported.admitted("a", &PROBES), ["10.0.0.1", "10.1.0.1", "192.168.0.1"]);
}

proptest! {
    /// Any list of rules gives the same decision as HAProxy for each source.
    #[test]
    fn any_order_is_equivalent(rules in proptest::collection::vec((any::<bool>(), 0_u8..=255, 22_u8..=32, 0_u8..=255, 22_u8..=32, 0..6), 1..8)) {
        let net = |ip, len| ipnet::Ipv4Net::new(std::net::Ipv4Addr::new(10, 0, 0, ip), len).unwrap().trunc();
        let mut text = String::new();
        type Test = Box<dyn Fn(bool, bool) -> bool>;
        let mut tests: Vec<(bool, ipnet::Ipv4Net, ipnet::Ipv4Net, Test)> = Vec::new();
        for (accept, a, a_len, b, b_len, form) in rules {
            let (a, b) = (net(a, a_len), net(b, b_len));
            let (a_text, b_text) = (format!("{{ src {a} }}"), format!("{{ src {b} }}"));
            let (condition, test): (String, Test) = match form {
                0 => (format!("if {a_text}"), Box::new(|a, _| a)),
                1 => (format!("unless {a_text}"), Box::new(|a, _| !a)),
                2 => (format!("if {a_text} !{b_text}"), Box::new(|a, b| a && !b)),
                3 => (format!("if {a_text} or {b_text}"), Box::new(|a, b| a || b)),
                4 => (format!("unless {a_text} {b_text}"), Box::new(|a, b| !(a && b))),
                _ => (format!("if !{a_text} !{b_text}"), Box::new(|a, b| !a && !b)),
            };
            text += &format!(" tcp-request connection {} {condition}\n", if accept { "accept" } else { "reject" });
            tests.push((accept, a, b, test));
        }
        let imported = haproxy(&format!("listen r\n bind 127.0.0.1:6379\n server a 10.0.0.5:6379\n{text}"));
        for ip in (0..=255).map(|last| std::net::Ipv4Addr::new(10, 0, 0, last)).chain([[10, 0, 1, 1].into(), [8, 8, 8, 8].into()]) {
            let first = tests.iter().find(|(_, a, b, test)| test(a.contains(&ip), b.contains(&ip)));
            let expected = first.is_none_or(|(accept, ..)| *accept);
            prop_assert_eq!(imported.admits("r", &ip.to_string()), expected, "{} in\n{}\n{}", ip, text, imported.yaml);
        }
    }
}
