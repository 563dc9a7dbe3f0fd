//! Shared addresses, and load balancers that send the PROXY protocol.

use super::*;

/// HAProxy spreads clients over listeners with the same address, so a client has to pass the rules of both.
#[test]
fn sections_that_share_an_address_admit_clients_that_both_admit() {
    let listen = |name: &str, src: &str| {
        format!(
            "listen {name}\n bind :6379\n tcp-request connection reject unless {{ src {src} }}\n server s 10.0.0.5:6379\n"
        )
    };
    let imported = haproxy(&(listen("a", "10.0.0.0/8") + &listen("b", "10.1.0.0/16 192.168.0.0/16")));
    assert_eq!(imported.admitted("a", &PROBES), ["10.1.0.1"]);
    assert_eq!(imported.config.listeners().len(), 1);
    imported.says("which now admits only clients that both of them admit");
    let imported = haproxy(&(listen("a", "10.1.0.0/16") + &listen("b", "10.0.0.0/8")));
    assert_eq!(imported.admitted("a", &PROBES), ["10.1.0.1"]);
    let open = "listen b\n bind 127.0.0.1:6379\n server s 10.0.0.6:6379\n";
    assert!(haproxy(&(listen("a", "10.0.0.0/8") + open)).admitted("a", &PROBES).is_empty());
}

/// With accept-proxy the connection rules judge the balancer, and the later rules judge the client.
#[test]
fn accept_proxy() {
    let listen = |rules: &str| {
        haproxy(&format!(
            "listen a\n bind :6379 accept-proxy\n acl lb src 172.16.0.0/12\n acl office src 10.0.0.0/8\n acl one src 10.1.0.0/16\n server s 10.0.0.5:6379\n{rules}"
        ))
    };
    let probes = ["10.0.0.1", "10.1.0.1", "172.16.0.1", "172.32.0.1"];
    let imported = listen(
        " tcp-request connection reject unless lb\n tcp-request session reject unless office\n tcp-request content reject if one\n",
    );
    assert_eq!(imported.admitted("a", &probes), ["10.0.0.1"]);
    assert_eq!(imported.trusted("a", &probes), ["172.16.0.1"]);
    assert!(imported.yaml.contains("proxy_protocol: {from: [lb], only: true}"), "{}", imported.yaml);
    // Rules that are only about balancers do not admit clients.
    let imported = listen(" tcp-request connection accept if lb\n tcp-request connection reject\n");
    assert!(imported.admitted("a", &probes).is_empty());
    assert_eq!(imported.trusted("a", &probes), ["172.16.0.1"]);
    imported.says("no rule judges the address in the PROXY header");
    // A sender that the file does not name is not trusted.
    for rules in [
        "",
        " tcp-request connection reject if one\n",
        " tcp-request connection accept\n",
        " tcp-request connection reject unless { src 0.0.0.0/0 }\n",
        " tcp-request connection accept if !one\n tcp-request connection reject\n",
        " tcp-request connection reject unless lb\n tcp-request connection reject if { src_get_gpc0 gt 0 }\n",
        " tcp-request connection reject unless lb\n tcp-request connection reject if { src_conn_cur gt 5 }\n",
        " tcp-request connection reject unless lb\n what\n",
    ] {
        let imported = listen(&format!("{rules} tcp-request content reject unless office\n"));
        assert!(imported.trusted("a", &probes).is_empty(), "{rules}\n{}", imported.yaml);
        assert!(imported.yaml.contains("  a-balancers: []\n"), "{rules}\n{}", imported.yaml);
        assert_eq!(imported.admitted("a", &probes).is_empty(), rules.contains("what"), "{rules}");
    }
    let imported =
        listen(" tcp-request connection accept if lb\n tcp-request content reject unless office\n");
    assert_eq!(imported.trusted("a", &probes), ["172.16.0.1"]);
    imported.says("HAProxy takes PROXY headers of others too");
    // Both forms of connections in one section become two listeners.
    let imported = haproxy(
        "frontend a\n bind :6379 accept-proxy\n bind :6380\n acl lb src 172.16.0.0/12\n acl office src 10.0.0.0/8\n tcp-request connection reject unless lb or office\n tcp-request content reject unless office\n default_backend b\nbackend b\n server s 10.0.0.5:6379\n",
    );
    assert_eq!(imported.admitted("a", &probes), ["10.0.0.1", "10.1.0.1"]);
    assert_eq!(imported.trusted("a", &probes), ["10.0.0.1", "10.1.0.1", "172.16.0.1"]);
    assert_eq!(imported.admitted("a-2", &probes), ["10.0.0.1", "10.1.0.1"]);
    assert!(imported.trusted("a-2", &probes).is_empty());
    imported.says("section 'a' is listener 'a-2' here");
}

/// With expect-proxy some peers must send a header, and other peers are clients themselves.
#[test]
fn expect_proxy() {
    let listen = |rules: &str| {
        haproxy(&format!(
            "listen a\n bind :6379\n acl lb src 172.16.0.0/12\n acl office src 10.0.0.0/8\n acl one src 10.1.0.0/16\n server s 10.0.0.5:6379\n{rules}"
        ))
    };
    let probes = ["10.0.0.1", "10.1.0.1", "172.16.0.1", "8.8.8.8"];
    let expect = " tcp-request connection expect-proxy layer4 if lb\n";
    let imported = listen(&format!("{expect} tcp-request session reject unless office\n"));
    assert_eq!(imported.admitted("a", &probes), ["10.0.0.1", "10.1.0.1"]);
    assert_eq!(imported.trusted("a", &probes), ["172.16.0.1"]);
    assert!(imported.yaml.contains("only: false"), "{}", imported.yaml);
    // If no other peer gets in, only senders may connect.
    let imported = listen(&format!(
        "{expect} tcp-request connection reject unless lb\n tcp-request session reject unless office\n"
    ));
    assert_eq!(imported.admitted("a", &probes), ["10.0.0.1", "10.1.0.1"]);
    assert!(imported.yaml.contains("proxy_protocol: {from: [lb], only: true}"), "{}", imported.yaml);
    // An address gets in if it passes both as a peer and as a client.
    let imported = listen(&format!(
        "{expect} tcp-request connection reject unless lb or one\n tcp-request session reject unless office\n"
    ));
    assert_eq!(imported.admitted("a", &probes), ["10.1.0.1"]);
    // If every connection must begin with a header, the peers that the connection rules admit are the senders.
    for rules in [
        " tcp-request connection reject unless lb\n tcp-request connection expect-proxy layer4\n",
        " tcp-request connection expect-proxy layer4\n tcp-request connection reject unless lb\n",
        " tcp-request connection reject if one\n tcp-request connection reject unless lb or one\n tcp-request connection expect-proxy layer4\n",
        " tcp-request connection expect-proxy layer4\n tcp-request connection accept if lb\n tcp-request connection reject\n",
    ] {
        let imported = listen(&format!("{rules} tcp-request session reject unless office\n"));
        assert_eq!(imported.admitted("a", &probes), ["10.0.0.1", "10.1.0.1"], "{rules}\n{}", imported.notes);
        assert_eq!(imported.trusted("a", &probes), ["172.16.0.1"], "{rules}\n{}", imported.yaml);
        assert!(imported.yaml.contains("only: true"), "{rules}\n{}", imported.yaml);
        assert!(!imported.notes.contains("no trusted sender"), "{rules}\n{}", imported.notes);
    }
    // A listener for IPv6 alone accepts IPv4 in the gate. So its lists admit no IPv4 address that connects without a
    // balancer.
    let text = "listen a\n bind :::6379 v6only\n tcp-request connection expect-proxy layer4 if { src 2001:db8::1 172.16.0.1 }\n tcp-request session reject unless { src 10.0.0.0/8 2001:db8::/32 }\n server s 10.0.0.5:6379\n";
    let imported = haproxy(text);
    assert_eq!(imported.admitted("a", &["10.0.0.1", "2001:db8::2"]), ["2001:db8::2"], "{}", imported.yaml);
    assert_eq!(imported.trusted("a", &["172.16.0.1", "2001:db8::1"]), ["2001:db8::1"]);
    // An accepting rule before expect-proxy ends the stage. If a rule is in doubt, no sender is trusted.
    for rules in [
        " tcp-request connection accept if { src 172.16.0.0/12 }\n tcp-request connection expect-proxy layer4 if lb\n",
        " tcp-request connection accept if { src_get_gpc0 gt 0 }\n tcp-request connection expect-proxy layer4 if lb\n",
        " tcp-request connection expect-proxy layer4 if lb { src_get_gpc0 gt 0 }\n",
        " tcp-request connection expect-proxy layer4\n",
        " tcp-request connection expect-proxy layer4 unless lb\n",
        " tcp-request connection accept if lb\n tcp-request connection expect-proxy layer4\n",
        " tcp-request connection reject if office\n tcp-request connection expect-proxy layer4\n",
        " tcp-request connection reject unless { src 0.0.0.0/0 }\n tcp-request connection expect-proxy layer4\n",
        " tcp-request connection reject if { src_get_gpc0 gt 0 }\n tcp-request connection reject unless lb\n tcp-request connection expect-proxy layer4\n",
    ] {
        let imported = listen(&format!("{rules} tcp-request session reject unless office\n"));
        assert!(imported.trusted("a", &probes).is_empty(), "{rules}\n{}", imported.yaml);
    }
}
