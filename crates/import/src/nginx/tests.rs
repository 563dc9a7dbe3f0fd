use proptest::prelude::*;

use super::directive::{self, Directive};
use crate::at::At;
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

fn parse(text: &str) -> Result<Vec<Directive>, (usize, portcullis_config::message::Message)> {
    directive::parse(text, None)
}

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
        "old.conf:28: not carried over: the TLS listeners of the server block of line 28: it has no ssl_certificate",
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

/// nginx reads only the rules of the client's family, and admits every client of a family without rules.
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
        "6379 reuseports",
        "6379 binding",
        "6379 deferred=1",
        "6379 backlogs=5",
        "6379 backlog",
        "localhost:6379",
        "6379 udp",
        "6379-6381",
        "6379 multipath",
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
    assert_eq!(parse("a {\n b;\n c { } }").unwrap()[0].block.as_ref().unwrap()[1].at, At::from(3));
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
    /// Any list of rules gives the same decision as nginx for each source.
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

/// A server inherits the directives around it, so an unknown directive there puts every server in doubt.
#[test]
fn an_unknown_directive_puts_what_it_governs_in_doubt() {
    let server = "server { listen 6379; allow 10.0.0.0/8; deny all; proxy_pass 10.0.0.5:6379; }";
    for unknown in [
        "js_access main.check;",
        "js_preread main.check;",
        "js_filter main.check;",
        "preread_by_lua_file /etc/nginx/check.lua;",
        "ssl_preread on;",
        "auth_request /check;",
        "allow_list office;",
        "what;",
        "what on { nothing; }",
        "allow 10.0.0.0/8 { }",
        "limit_conn;",
        "limit_conn unknown_zone 1;",
        "limit_conn_zone $geoip_country zone=lands:1m; limit_conn lands 1;",
        "include /nonexistent/access.conf;",
        "include /nonexistent/*.conf;",
        "pass 10.0.0.6:6379;",
        "ssl_conf_command VerifyMode Request;",
        "ssl_reject_handshake on;",
        "ssl_verify_client optional_no_ca;",
        "proxy_protocol $on;",
        "proxy_ssl $on;",
        "proxy_bind $remote_addr transparent;",
        "proxy_bind $remote_addr;",
        "proxy_bind $remote_addr:$remote_port transparent;",
        "proxy_bind 10.0.0.9 transparent;",
        "proxy_bind 10.0.0.9$port;",
        "proxy_bind;",
    ] {
        for text in [
            format!("{unknown} {server}"),
            format!("{server} {unknown}"),
            format!("stream {{ {unknown} {server} }}"),
            server.replace("proxy_pass", &format!("{unknown} proxy_pass")),
        ] {
            let imported = nginx(&text);
            assert!(!imported.admits("public-6379", "10.0.0.1"), "{text}\n{}", imported.notes);
            imported.says("may decide which clients get in, so no address is allowed");
        }
    }
    let named = server.replace("10.0.0.5:6379", "redis");
    for unknown in [
        "balancer_by_lua_file x;",
        "what;",
        "server 10.0.0.6:6379 what=1;",
        "sticky route $x;",
        "server 10.0.0.6:6379 resolved;",
        "server 10.0.0.6:6379 resolve=1;",
        "server 10.0.0.6:6379 weights=1;",
        "server 10.0.0.6:6379 weight;",
    ] {
        let imported = nginx(&format!("upstream redis {{ server 10.0.0.5:6379; {unknown} }} {named}"));
        assert!(!imported.admits("public-6379", "10.0.0.1"), "{unknown}\n{}", imported.notes);
    }
}

/// Directives that do not concern clients keep the rules as they are.
#[test]
fn harmless_directives_leave_the_rules_alone() {
    let server = "server { listen 6379; allow 10.0.0.0/8; deny all; proxy_pass 10.0.0.5:6379; }";
    for harmless in [
        "proxy_timeout 1h;",
        "proxy_bind 10.0.0.9;",
        "proxy_bind off;",
        "tcp_nodelay on;",
        "ssl_preread off;",
        "proxy_protocol off;",
        "proxy_ssl off;",
        "map $remote_addr $name { default x; 10.0.0.1 y; }",
        "geo $lan { default 0; 10.0.0.0/8 1; }",
        "log_format main '$remote_addr';",
        "access_log /var/log/nginx/stream.log main;",
        "resolver 10.0.0.2;",
        "limit_conn_zone $binary_remote_addr zone=addr:10m; limit_conn addr 5;",
    ] {
        let imported = nginx(&format!("{harmless} {server}"));
        assert_eq!(imported.admitted("public-6379", &["10.0.0.1", "192.0.2.1"]), ["10.0.0.1"], "{harmless}");
    }
}

/// Servers inherit the settings of the stream block, as in nginx.
#[test]
fn settings_of_the_stream_block_hold_for_its_servers() {
    let server = "server { listen 6379; allow 10.0.0.0/8; deny all; proxy_pass 10.0.0.5:6379; }";
    let text = format!("proxy_protocol on; {server}");
    let Imported { yaml, notes } = import_text(Format::Nginx, &text, std::path::Path::new("-"));
    assert_eq!(yaml, None, "{notes}");
    let off = server.replace("proxy_pass", "proxy_protocol off; proxy_pass");
    assert!(nginx(&format!("proxy_protocol on; {off}")).admits("public-6379", "10.0.0.1"));
    let text = format!("proxy_ssl on; {server}");
    let Imported { yaml, notes } = import_text(Format::Nginx, &text, std::path::Path::new("-"));
    assert!(yaml.unwrap().contains("ca: \"\""), "{notes}");
    assert!(notes.contains("check refuses the configuration until it has one"), "{notes}");
    let off = server.replace("proxy_pass", "proxy_ssl off; proxy_pass");
    let imported = nginx(&format!("proxy_ssl on; {off}"));
    assert!(imported.config.upstreams()[0].tls().is_none());
    let inner = server.replace("allow", "limit_conn addr 2; allow");
    let zone = "limit_conn_zone $binary_remote_addr zone=addr:10m;";
    assert!(nginx(&format!("{zone} limit_conn addr 5; {inner}")).yaml.contains("per_source: {clients: 2}"));
    assert!(nginx(&format!("{zone} limit_conn addr 5; {server}")).yaml.contains("per_source: {clients: 5}"));
    let total = "limit_conn_zone $server_port zone=all:10m; limit_conn all 100;";
    assert!(nginx(&format!("{total} {server}")).yaml.contains("limits: {clients: 100}"));
    let dry = format!("{zone} limit_conn addr 5; limit_conn_dry_run on; {server}");
    assert!(!nginx(&dry).yaml.contains("limits"));
}

/// Included files replace the directive. Notes about their lines name the included file.
#[test]
fn includes_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("stream.d")).unwrap();
    file("access.conf", "deny 10.0.0.66;\nallow 10.0.0.0/8;\ndeny all;\n");
    file("stream.d/b.conf", "server { listen 6380; include access.conf; proxy_pass b.b:1; }\n");
    file(
        "stream.d/a.conf",
        "proxy_timeout 1h;\nserver { listen 6379; include access.conf; proxy_pass a.b:1; }\n",
    );
    file("stream.d/unread.txt", "server { listen 6381; allow all; proxy_pass a.b:1; }\n");
    let import = |text: &str| {
        let Imported { yaml, notes } = import_text(Format::Nginx, text, &folder.path().join("nginx.conf"));
        let notes = notes.replace(&format!("{}/", folder.path().display()), "");
        (yaml, notes)
    };
    let (yaml, notes) = import("events {}\nstream {\n include stream.d/*.conf;\n}\n");
    let imported = crate::tests::loaded(yaml.unwrap(), notes);
    for listener in ["public-6379", "public-6380"] {
        assert_eq!(imported.admitted(listener, &["10.0.0.1", "10.0.0.66", "8.8.8.8"]), ["10.0.0.1"]);
    }
    assert_eq!(imported.config.listeners().len(), 2);
    imported.says("stream.d/a.conf:1: not carried over: proxy_timeout 1h");
    assert!(imported.yaml.contains("access.conf:2: allow 10.0.0.0/8"), "{}", imported.yaml);
    // A file that is broken or missing may contain any rule.
    file("access.conf", "deny 10.0.0.66\n");
    let (yaml, notes) = import("stream { include stream.d/a.conf; }\n");
    let imported = crate::tests::loaded(yaml.unwrap(), notes);
    assert!(!imported.admits("public-6379", "10.0.0.1"));
    imported.says("stream.d/a.conf:2: not carried over: include access.conf: ");
    // The import stops if a file includes itself.
    file("access.conf", "include access.conf;\nallow 10.0.0.0/8;\n");
    let (yaml, notes) = import("stream { include stream.d/a.conf; }\n");
    assert!(!crate::tests::loaded(yaml.unwrap(), notes).admits("public-6379", "10.0.0.1"));
}

/// With set_real_ip_from the rules judge the client in the PROXY header. Without it they judge the sender.
#[test]
fn proxy_protocol() {
    let server = |more: &str| {
        nginx(&format!(
            "server {{ listen 6379 proxy_protocol; {more} allow 10.0.0.0/8; allow 192.0.2.1; deny all; proxy_pass a.b:1; }}"
        ))
    };
    let imported =
        server("set_real_ip_from 172.16.0.0/12; set_real_ip_from lb.internal; set_real_ip_from 0.0.0.0/0;");
    assert_eq!(
        imported.admitted("public-6379", &["10.0.0.1", "172.16.0.1", "192.0.2.1"]),
        ["10.0.0.1", "192.0.2.1"]
    );
    assert_eq!(imported.trusted("public-6379", &["10.0.0.1", "172.16.0.1", "172.32.0.1"]), ["172.16.0.1"]);
    assert!(imported.yaml.contains("only: true"), "{}", imported.yaml);
    imported.says("not carried over: set_real_ip_from 0.0.0.0/0: it names no sender");
    let imported = server("");
    assert_eq!(
        imported.trusted("public-6379", &["10.0.0.1", "192.0.2.1", "8.8.8.8"]),
        ["10.0.0.1", "192.0.2.1"]
    );
    assert!(imported.admitted("public-6379", &["10.0.0.1", "192.0.2.1"]).is_empty());
    imported.says("without set_real_ip_from allow and deny judge the sender of the PROXY header");
    // A sender that no line names is not trusted.
    for rules in ["", "allow all;", "deny 10.0.0.1;", "allow 0.0.0.0/0;"] {
        let imported = nginx(&format!("server {{ listen 6379 proxy_protocol; {rules} proxy_pass a.b:1; }}"));
        assert!(imported.trusted("public-6379", &["10.0.0.2", "8.8.8.8"]).is_empty(), "{rules}");
        imported.says("no trusted sender of the PROXY protocol is named");
        assert!(imported.yaml.contains("proxy_protocol: {from: [public-6379-balancers], only: true}"));
    }
    // A sender of the other family cannot connect there.
    let imported = nginx(
        "server { listen [::]:6379 proxy_protocol; set_real_ip_from 172.16.0.1; set_real_ip_from 2001:db8::1; allow 10.0.0.1; deny all; proxy_pass a.b:1; }",
    );
    assert_eq!(imported.trusted("public-6379", &["172.16.0.1", "2001:db8::1"]), ["2001:db8::1"]);
    // A block with both forms of connections becomes two listeners.
    let imported = nginx(
        "set_real_ip_from 172.16.0.1; server { listen 6379; listen 6380 proxy_protocol; allow 10.0.0.1; deny all; proxy_pass a.b:1; }",
    );
    assert_eq!(imported.config.listeners().len(), 2);
    assert!(imported.trusted("public-6379", &["172.16.0.1"]).is_empty());
    assert_eq!(imported.trusted("public-6380", &["172.16.0.1", "10.0.0.1"]), ["172.16.0.1"]);
}

#[test]
fn tls_becomes_paths_of_the_files() {
    let text = "\
stream {
    ssl_certificate /etc/nginx/redis.pem;
    ssl_certificate_key redis.key;
    server {
        listen 6379 ssl; allow 10.0.0.1; deny all; proxy_pass redis;
        ssl_client_certificate clients.pem; ssl_verify_client on; ssl_crl gone.pem; ssl_protocols TLSv1.3;
        proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem;
        proxy_ssl_certificate me.pem; proxy_ssl_certificate_key me.key;
    }
    upstream redis { server 10.0.0.5:6379; }
}
";
    let Imported { yaml, notes } =
        import_text(Format::Nginx, text, std::path::Path::new("/etc/nginx/nginx.conf"));
    let yaml = yaml.unwrap();
    for part in [
        "    tls:\n      cert: \"/etc/nginx/redis.pem\"\n      key: \"/etc/nginx/redis.key\"\n",
        "      client_ca: \"/etc/nginx/clients.pem\"\n      client_auth: required\n      client_crl: \"/etc/nginx/gone.pem\"\n",
        "    tls:\n      ca: \"/etc/nginx/ca.pem\"\n      server_name: \"redis\"\n      cert: \"/etc/nginx/me.pem\"\n",
    ] {
        assert!(yaml.contains(part), "{part}\n{yaml}\n{notes}");
    }
    assert!(notes.contains("ssl_protocols"), "{notes}");
}

/// nginx refuses the certificate of a client that is below too many CAs, and the gate accepts it.
#[test]
fn certificates_below_many_authorities_are_in_doubt() {
    let admitted = |directives: &str| {
        let text = format!(
            "server {{ listen 6379 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; \
             ssl_client_certificate ca.pem; {directives} allow 10.0.0.1; deny all; proxy_pass 10.0.0.5:6379; }}"
        );
        let Imported { yaml, notes } =
            import_text(Format::Nginx, &text, std::path::Path::new("/etc/nginx.conf"));
        let noted = notes.contains("note: nginx limits the CAs between a client's certificate and client_ca");
        (yaml.unwrap().contains("10.0.0.1"), noted)
    };
    for (directives, is_admitted) in [
        ("ssl_verify_client on;", false),
        ("ssl_verify_client on; ssl_verify_depth 2;", false),
        ("ssl_verify_client on; ssl_verify_depth x;", false),
        ("ssl_verify_client on; ssl_verify_depth 6;", true),
        // A client gets in without a certificate, too.
        ("ssl_verify_client optional; ssl_verify_depth 1;", true),
        ("ssl_verify_depth 1;", true),
    ] {
        assert_eq!(admitted(directives), (is_admitted, !is_admitted), "{directives}");
    }
}

#[test]
fn a_revocation_list_for_the_server_is_noted() {
    let imported = nginx(
        "server { listen 6379; allow 10.0.0.1; deny all; proxy_pass 10.0.0.5:6379; proxy_ssl_crl gone.pem; }",
    );
    imported.says("not carried over: proxy_ssl_crl");
    imported.says("a revoked one is accepted; tls.pin accepts one key only");
}
