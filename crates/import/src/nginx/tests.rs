use proptest::prelude::*;

use super::directive::parse;
use crate::tests::{Outcome, imported};
use crate::{Format, Imported, import_text};

const FILE: &str = r#"
user www-data;
events { worker_connections 768; }
stream {
    upstream redis {
        least_conn;
        server 10.0.0.6:6379 backup;
        server 10.0.0.5:6379 weight=5;
        server 10.0.0.7:6379 down;
        server unix:/run/redis.sock;
    }
    deny 203.0.113.66; allow 203.0.113.0/24;   # office
    allow 10.1.2.3/8;
    deny all;
    server {
        listen 6379;
        listen [::]:6379 so_keepalive=on;
        proxy_pass redis;
        proxy_timeout 10m;
    }
    server {
        listen "127.0.0.1:6380";
        allow 10.1.0.0/16;
        deny 10.0.0.0/8;
        allow all;
        proxy_pass '10.0.0.7:6379';
    }
    server { listen 6443 ssl; proxy_pass redis; }
    server { listen 6444; proxy_pass $backend; }
    server { listen unix:/run/gate.sock; allow unix:; deny all; proxy_pass redis.internal:6379; }
}
"#;

fn nginx(text: &str) -> Outcome {
    imported(Format::Nginx, text)
}

#[test]
fn rules_are_inherited_in_order_and_equivalent() {
    let imported = nginx(FILE);
    let probes = ["203.0.113.1", "203.0.113.66", "10.1.2.3", "10.2.0.1", "8.8.8.8", "::1"];
    assert_eq!(imported.admitted("public-6379", &probes), ["203.0.113.1", "10.1.2.3", "10.2.0.1"]);
    assert_eq!(
        imported.admitted("public-6380", &probes),
        ["203.0.113.1", "203.0.113.66", "10.1.2.3", "8.8.8.8"]
    );
    assert_eq!(imported.admitted("local", &["unix", "127.0.0.1"]), ["unix"]);
    let addresses: Vec<String> =
        imported.config.upstreams()[0].addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.5:6379", "unix:/run/redis.sock", "10.0.0.6:6379"]);
    assert_eq!(imported.config.listeners().len(), 3);
}

#[test]
fn every_line_that_is_left_out_is_named() {
    let imported = nginx(FILE);
    for note in [
        "old.conf:2: not carried over: user ***: it is outside",
        "old.conf:3: not carried over: events {...}: it is outside",
        "old.conf:6: not carried over: least_conn",
        "old.conf:8: not carried over: 'weight=5' of 10.0.0.5:6379",
        "old.conf:9: not carried over: server 10.0.0.7:6379 down: it is marked as down",
        "old.conf:13: note: nginx takes 10.1.2.3/8 for 10.0.0.0/8",
        "old.conf:17: not carried over: 'so_keepalive=on' of listen [::]:6379",
        "old.conf:19: not carried over: proxy_timeout 10m",
        "old.conf:28: not carried over: listen 6443 ssl: TLS is not supported yet",
        "old.conf:29: not carried over: the server block of line 29: its proxy_pass depends on variables",
    ] {
        imported.says(note);
    }
}

#[test]
fn what_is_in_doubt_lets_nobody_in() {
    for doubt in ["include access.conf;", "js_access main.check;", "deny 10.0.0.0/8/8;", "what 1;"] {
        let imported =
            nginx(&format!("server {{ listen 6379; {doubt} allow all; proxy_pass 10.0.0.5:6379; }}"));
        assert!(!imported.admits("public-6379", "8.8.8.8"), "{doubt}");
        imported.says("not carried over");
    }
    let imported =
        nginx("include rules.conf; allow 10.0.0.0/8; server { listen 6379; proxy_pass 10.0.0.5:6379; }");
    assert!(!imported.admits("public-6379", "10.0.0.1"), "the rules may go on in the file");
}

/// nginx looks at the rules of one family only, and admits whom none is about.
#[test]
fn families() {
    let server = |rules: &str| {
        nginx(&format!("server {{ listen 6379; listen [::]:6379; {rules} proxy_pass 10.0.0.5:6379; }}"))
    };
    let probes = ["10.0.0.1", "192.0.2.1", "2001:db8::1", "2001:db9::1"];
    let both = server("allow 10.0.0.0/8; allow 2001:db8::/32; deny all;");
    assert_eq!(both.admitted("public-6379", &probes), ["10.0.0.1", "2001:db8::1"]);
    let v6 = server("allow 2001:db8::/32; deny ::/0;");
    assert_eq!(v6.admitted("public-6379", &probes), ["2001:db8::1"]);
    v6.says("its clients over IPv4: no allow or deny is about them");
    let open = server("deny 10.0.0.0/8; deny 2001:db8::/32;");
    assert_eq!(open.admitted("public-6379", &probes), ["192.0.2.1", "2001:db9::1"]);
    let none = server("");
    assert!(none.admitted("public-6379", &probes).is_empty());
}

#[test]
fn listen_in_every_form() {
    for (listen, bind) in [
        ("6379", "0.0.0.0:6379"),
        ("*:6379", "0.0.0.0:6379"),
        ("127.0.0.1:6379", "127.0.0.1:6379"),
        ("[::]:6379", "[::]:6379"),
        ("[::1]:6379 reuseport", "[::1]:6379"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
    ] {
        let imported = nginx(&format!("server {{ listen {listen}; allow all; proxy_pass a.b:1; }}"));
        assert_eq!(imported.config.listeners()[0].binds()[0].to_string(), bind);
    }
    for listen in [
        "localhost:6379",
        "6379 udp",
        "6379-6381",
        "6379 proxy_protocol",
        "[::]",
        "0",
        "[::ffff:1.2.3.4]:6379",
    ] {
        let text = format!("server {{ listen {listen}; allow all; proxy_pass a.b:1; }}");
        let Imported { yaml, notes } = import_text(Format::Nginx, &text, std::path::Path::new("-"));
        assert_eq!(yaml, None, "{listen}");
        assert!(notes.contains("not carried over: listen"), "{notes}");
    }
    let dual = nginx(
        "server { listen [::]:6379 ipv6only=off; allow 10.0.0.0/8; allow ::1; deny all; proxy_pass a.b:1; }",
    );
    assert_eq!(dual.admitted("public-6379", &["10.0.0.1", "::1", "::2"]), ["10.0.0.1", "::1"]);
}

#[test]
fn the_grammar_is_nginx_s() {
    let words =
        |text: &str| -> Vec<Vec<String>> { parse(text).unwrap().into_iter().map(|d| d.words).collect() };
    assert_eq!(words("a b#c;#d;\n;".trim_end_matches(';')), [["a", "b#c"]]);
    assert_eq!(words(r#"a "b;{}# c" 'd"e' f\;g "\"";"#), [["a", "b;{}# c", "d\"e", "f;g", "\""]]);
    assert_eq!(words("a ${b}c;"), [["a", "${b}c"]]);
    assert_eq!(parse("a {\n b;\n c { } }").unwrap()[0].block.as_ref().unwrap()[1].line, 3);
    for (text, line) in [
        ("a {", 1),
        ("a", 1),
        ("a;\n}", 2),
        (";", 1),
        ("{ }", 1),
        ("a \"b;\n", 1),
        ("a 'b'c;", 1),
        ("a { b }", 1),
    ] {
        assert_eq!(parse(text).unwrap_err().0, line, "{text}");
    }
    assert!(parse(&"a {".repeat(100_000)).is_err());
}

proptest! {
    /// Any list of rules decides as nginx would, source by source.
    #[test]
    fn any_order_is_equivalent(rules in proptest::collection::vec((any::<bool>(), 0_u8..=255, 22_u8..=32, 0..12), 1..12)) {
        let mut text = String::new();
        let mut nets: Vec<(bool, ipnet::Ipv4Net)> = Vec::new();
        for (allow, ip, len, all) in rules {
            let net = match all {
                0 => ipnet::Ipv4Net::default(),
                _ => ipnet::Ipv4Net::new(std::net::Ipv4Addr::new(10, 0, 0, ip), len).unwrap().trunc(),
            };
            let shown = if all == 0 { "all".to_owned() } else { net.to_string() };
            text += &format!("{} {shown};\n", if allow { "allow" } else { "deny" });
            nets.push((allow, net));
        }
        let imported = nginx(&format!("server {{ listen 6379; {text} proxy_pass a.b:1; }}"));
        for ip in (0..=255).map(|last| std::net::Ipv4Addr::new(10, 0, 0, last)).chain([[10, 0, 1, 1].into(), [8, 8, 8, 8].into()]) {
            let expected = nets.iter().find(|(_, net)| net.contains(&ip)).is_none_or(|(allow, _)| *allow);
            prop_assert_eq!(imported.admits("public-6379", &ip.to_string()), expected, "{} in\n{}\n{}", ip, text, imported.yaml);
        }
    }
}
