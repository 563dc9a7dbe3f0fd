//! Limits, TLS, socket files and notes.

use super::*;

#[test]
fn limits_become_limits() {
    let listen = |rules: &str| {
        haproxy(&format!(
            "listen a\n bind :6379\n maxconn 500\n stick-table type ip size 100k expire 30s store conn_cur,conn_rate(10s)\n acl office src 10.0.0.0/8\n acl fast sc0_conn_rate gt 20\n server s 10.0.0.5:6379\n tcp-request connection track-sc0 src\n tcp-request connection reject unless office\n{rules}"
        ))
    };
    for (rules, limits) in [
        (" tcp-request connection reject if fast\n", "{clients: 500, per_source: {connects: 20/10s}}"),
        (
            " tcp-request connection reject if { sc_conn_rate(0) ge 20 }\n",
            "{clients: 500, per_source: {connects: 19/10s}}",
        ),
        (
            " tcp-request connection reject if fast || { src_conn_cur gt 5 }\n",
            "{clients: 500, per_source: {clients: 5, connects: 20/10s}}",
        ),
        (
            " tcp-request content reject if { sc0_conn_cur gt 9 } or { src 10.1.0.0/16 }\n",
            "{clients: 500, per_source: {clients: 9}}",
        ),
        ("", "{clients: 500}"),
    ] {
        let imported = listen(rules);
        assert!(imported.yaml.contains(&format!("    limits: {limits}\n")), "{rules}\n{}", imported.yaml);
        assert!(imported.admits("a", "10.0.0.1"), "{rules}");
        assert_eq!(imported.admits("a", "10.1.0.1"), !rules.contains("10.1"), "{rules}");
        assert!(!imported.admits("a", "8.8.8.8"), "{rules}");
    }
    // A listener has one rate: the lowest on average, whatever its place in the file.
    let both = |first: &str, second: &str| {
        haproxy(
            &"backend slow\n stick-table type ip size 1m store conn_rate(60s)\nlisten a\n bind :6379\n stick-table type ip size 1m store conn_rate(10s)\n server s 10.0.0.5:6379\n tcp-request connection track-sc0 src\n tcp-request connection track-sc1 src table slow\n tcp-request connection reject if { sc0_conn_rate gt 20 }\n tcp-request connection reject if {first}\n tcp-request connection reject if {second}\n"
                .replace("{first}", first)
                .replace("{second}", second),
        )
    };
    const SLOW: &str = "{ sc1_conn_rate gt 60 }";
    const SAME: &str = "{ sc0_conn_rate gt 20 }";
    for (first, second) in [(SLOW, SAME), (SAME, SLOW)] {
        let imported = both(first, second);
        assert!(imported.yaml.contains("connects: 60/60s"), "{}", imported.yaml);
        assert!(imported.notes.contains("several limits on the rate of connections"), "{}", imported.notes);
    }
    assert!(!both(SAME, SAME).notes.contains("several limits"));
    // Counters of something else, and conditions with further tests, refuse all clients that they may match.
    for rules in [
        " tcp-request connection reject if { sc1_conn_rate gt 20 }\n",
        " tcp-request connection reject if { src_conn_rate(other) gt 20 }\n",
        " tcp-request connection reject if { sc0_conn_rate gt 0 }\n",
        " tcp-request connection reject if { sc0_http_req_rate gt 20 }\n",
        " tcp-request connection reject unless { sc0_conn_rate lt 20 }\n",
        " tcp-request connection track-sc0 dst\n tcp-request connection reject if fast\n",
    ] {
        assert!(!listen(rules).admits("a", "10.0.0.1"), "{rules}");
    }
    let imported = listen(" tcp-request connection reject if fast !{ src 10.0.0.1 }\n");
    assert_eq!(imported.admitted("a", &["10.0.0.1", "10.0.0.2"]), ["10.0.0.1"]);
}

#[test]
fn tls_becomes_paths_of_the_files() {
    let text = "\
global
    crt-base /etc/ssl/private
    ca-base /etc/ssl/certs
frontend f
    bind :6379 ssl crt redis.pem ca-file clients.pem verify optional crl-file gone.pem alpn redis
    bind :6380
    tcp-request connection reject unless { src 10.0.0.0/8 }
    default_backend b
backend b
    server a 10.0.0.5:6379 ssl ca-file ca.pem verifyhost redis.internal crt /etc/me.pem
    server b 10.0.0.6:6379 ssl ca-file ca.pem sni str(redis.internal) crt /etc/me.pem backup
";
    let Imported { yaml, notes } =
        import_text(Format::Haproxy, text, std::path::Path::new("/etc/haproxy/haproxy.cfg"));
    let yaml = yaml.unwrap();
    for part in [
        "    bind: 0.0.0.0:6379\n    upstream: b\n    allow: [f-allow]\n    tls:\n      cert: \"/etc/ssl/private/redis.pem\"\n      key: \"/etc/ssl/private/redis.pem\"\n      client_ca: \"/etc/ssl/certs/clients.pem\"\n      client_auth: optional\n      client_crl: \"/etc/ssl/certs/gone.pem\"\n",
        "    bind: 0.0.0.0:6380\n    upstream: b\n    allow: [f-2-allow]\n",
        "      - 10.0.0.5:6379\n      - 10.0.0.6:6379\n    tls:\n      ca: \"/etc/ssl/certs/ca.pem\"\n      server_name: redis.internal\n      cert: \"/etc/me.pem\"\n      key: \"/etc/me.pem\"\n",
    ] {
        assert!(yaml.contains(part), "{part}\n{yaml}\n{notes}");
    }
    let unverified = text
        .replace("ca-file ca.pem verifyhost", "verify none verifyhost")
        .replace(" ca-file ca.pem sni", " verify none sni");
    let Imported { yaml, notes } =
        import_text(Format::Haproxy, &unverified, std::path::Path::new("/etc/haproxy/haproxy.cfg"));
    assert!(yaml.unwrap().contains("    tls:\n      ca: \"\" # name the file of its CA here"), "{notes}");
    assert!(notes.contains(":10: note: HAProxy does not verify the server's certificate"), "{notes}");
}

#[test]
fn a_revocation_list_for_the_server_is_noted() {
    let text =
        "listen a\n bind :6379\n server s 10.0.0.5:6380 ssl ca-file ca.pem crl-file gone.pem weight 5\n";
    let Imported { yaml, notes } =
        import_text(Format::Haproxy, text, std::path::Path::new("/etc/haproxy.cfg"));
    assert!(yaml.is_some(), "{notes}");
    assert!(
        notes.contains(":3: not carried over: 'crl-file' of server s: there is no revocation list"),
        "{notes}"
    );
    assert!(notes.contains("'weight 5' of server s: the gate probes"), "{notes}");
}

/// A listener is left out rather than served with other certificates, and the note says what to write.
#[test]
fn lists_and_folders_of_certificates_are_left_out() {
    for (bind, why) in [
        ("crt-list /etc/list.txt", "a list of certificates (crt-list) is not read: write crt"),
        ("crt a.pem crt-list /etc/list.txt", "a list of certificates (crt-list) is not read: write crt"),
        ("crt /etc", "a folder of certificates is not read: write crt"),
        ("crt a.pem strict-sni", "it refuses clients that ask for another name (strict-sni)"),
    ] {
        let text = format!("listen a\n bind :6379 ssl {bind}\n server x 10.0.0.5:6379\n");
        let Imported { yaml, notes } = import_text(Format::Haproxy, &text, std::path::Path::new("-"));
        assert_eq!(yaml, None, "{bind}: {notes}");
        assert!(notes.contains(why), "{notes}");
    }
}

/// A socket file never gives more access than the one that HAProxy creates.
#[test]
fn socket_files_keep_their_mode() {
    for (bind, printed) in [
        ("/run/a.sock mode 660 group redis", "{unix: \"/run/a.sock\", mode: \"0660\", group: \"redis\"}"),
        ("/run/a.sock mode 0660 gid 5000", "{unix: \"/run/a.sock\", mode: \"0660\", group: \"5000\"}"),
        ("/run/a.sock mode 0660 gid 0", "{unix: \"/run/a.sock\", mode: \"0660\", group: \"0\"}"),
        ("/run/a.sock mode 0660 group redis gid 7", "{unix: \"/run/a.sock\", mode: \"0660\", group: \"7\"}"),
        ("/run/a.sock gid 5000", "{unix: \"/run/a.sock\", mode: \"0600\", group: \"5000\"}"),
        ("unix@/run/a.sock", "{unix: \"/run/a.sock\", mode: \"0600\"}"),
        ("/run/a.sock mode 0666", "{unix: \"/run/a.sock\", mode: \"0666\"}"),
        ("/run/a.sock mode 0666 user redis", "{unix: \"/run/a.sock\", mode: \"0666\"}"),
        ("/run/a.sock mode 0000", "{unix: \"/run/a.sock\", mode: \"0000\"}"),
        // The group of the process and the owner of the file can be others in the gate.
        ("/run/a.sock mode 0660", "{unix: \"/run/a.sock\", mode: \"0600\"}"),
        ("/run/a.sock mode 0606", "{unix: \"/run/a.sock\", mode: \"0600\"}"),
        ("/run/a.sock mode 0660 uid 5000", "{unix: \"/run/a.sock\", mode: \"0600\"}"),
        ("/run/a.sock mode 0066 uid 5000", "{unix: \"/run/a.sock\", mode: \"0600\"}"),
        (
            "/run/a.sock mode 0060 user x group redis",
            "{unix: \"/run/a.sock\", mode: \"0600\", group: \"redis\"}",
        ),
        ("/run/a.sock mode 0660 uid 5 gid 6", "{unix: \"/run/a.sock\", mode: \"0660\", group: \"6\"}"),
    ] {
        let text = format!("listen a\n bind {bind}\n server x 10.0.0.5:6379\n");
        let Imported { yaml, notes } = import_text(Format::Haproxy, &text, std::path::Path::new("-"));
        let yaml = yaml.unwrap();
        assert!(yaml.contains(&format!("    bind: {printed}\n")), "{bind}\n{yaml}\n{notes}");
        let less = printed.contains("0600") || bind.contains("user") || bind.contains("uid");
        assert_eq!(notes.contains("the socket file"), less, "{bind}\n{notes}");
    }
    for bind in
        ["mode 0888", "mode what", "gid redis", "gid 4294967295", "gid -1", "group 5000", "mode 0660 gid"]
    {
        let text = format!("listen a\n bind /run/a.sock {bind}\n server x 10.0.0.5:6379\n");
        let Imported { yaml, notes } = import_text(Format::Haproxy, &text, std::path::Path::new("-"));
        assert_eq!(yaml, None, "{bind}: {notes}");
    }
}

/// A note shows a line exactly as it is written.
#[test]
fn notes_keep_quotes_and_backslashes() {
    let imported = haproxy(
        "listen a\n bind :6379\n timeout client \"1h\"   # comment\n log\\ global\n server s 10.0.0.5:6379\n option \\x74cplog\n",
    );
    imported.says("old.conf:3: not carried over: timeout client \"1h\": it has no counterpart");
    assert!(!imported.notes.contains("log global"), "{}", imported.notes);
}
