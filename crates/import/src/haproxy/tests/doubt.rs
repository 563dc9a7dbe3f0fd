//! Lines and rules that may refuse clients.

use super::*;

/// If rules send some clients to another backend, this listener does not lead there.
#[test]
fn rules_that_lead_elsewhere_admit_no_client() {
    let front = "frontend f\n bind :6379\n acl office src 10.0.0.0/8\n acl one src 10.1.0.0/16\n";
    let backends = "backend main\n server a 10.0.0.5:6379\nbackend nowhere\n tcp-request content reject\n server a 10.0.0.6:6379\n";
    let others = ["192.168.0.1", "8.8.8.8"];
    for (routes, admitted) in [
        (" use_backend nowhere if !office\n default_backend main\n", &["10.0.0.1", "10.1.0.1"][..]),
        (" use_backend nowhere unless office\n default_backend main\n", &["10.0.0.1", "10.1.0.1"]),
        (" use_backend nowhere if office\n default_backend main\n", &others),
        (" use_backend unknown_one if office\n default_backend main\n", &others),
        (" use_backend %[src,map(lands.map)] if office\n default_backend main\n", &others),
        (
            " use_backend main if one\n use_backend nowhere if office\n default_backend main\n",
            &["10.1.0.1", "192.168.0.1", "8.8.8.8"],
        ),
        (" use_backend main if one\n use_backend nowhere\n", &[]),
        (" use_backend main if one\n use_backend nowhere if office\n", &["10.1.0.1"]),
        (" use_backend main if office\n", &["10.0.0.1", "10.1.0.1"]),
        (" use_backend nowhere if { nbsrv(main) lt 1 }\n default_backend main\n", &[]),
        (" use-server a if office\n default_backend main\n", &others),
        (
            " use_backend main\n default_backend nowhere\n tcp-request connection reject unless office\n",
            &["10.0.0.1", "10.1.0.1"],
        ),
    ] {
        let imported = haproxy(&format!("{front}{routes}{backends}"));
        let probes = ["10.0.0.1", "10.1.0.1", "192.168.0.1", "8.8.8.8"];
        assert_eq!(
            imported.admitted("f", &probes),
            admitted,
            "{routes}\n{}\n{}",
            imported.yaml,
            imported.notes
        );
    }
    for routes in [
        " use_backend %[src,map(lands.map)]\n default_backend main\n",
        " default_backend unknown_one\n",
        " use_backend unknown_one\n default_backend main\n",
        "",
    ] {
        let text = format!("{front} tcp-request connection reject unless office\n{routes}{backends}");
        let Imported { yaml, notes } = import_text(Format::Haproxy, &text, std::path::Path::new("-"));
        assert_eq!(yaml, None, "{routes}: {notes}");
    }
}

/// HAProxy does not listen for a disabled frontend, and refuses every client of a disabled backend.
#[test]
fn disabled_sections_are_not_carried_over() {
    let listen = |more: &str| {
        format!(
            "listen a\n bind :6379\n tcp-request connection reject unless {{ src 10.0.0.0/8 }}\n server s 10.0.0.5:6379\n{more}"
        )
    };
    let front = |more: &str| {
        format!(
            "frontend f\n bind :6379\n tcp-request connection reject unless {{ src 10.0.0.0/8 }}\n default_backend b\nbackend b\n server s 10.0.0.5:6379\n{more}"
        )
    };
    for text in [
        listen(" disabled\n"),
        format!("defaults\n disabled\n{}", listen("")),
        front(" disabled\n"),
        format!("defaults\n disabled\n{}", front("")),
        front("").replace("backend b\n", "backend b\n mode http\n"),
        listen("")
            .replace(":6379\n server", ":6379\n default-server disabled\n server")
            .replace("10.0.0.5:6379\n", "10.0.0.5:6379 disabled\n"),
        listen("").replace(" server s", " default-server disabled\n server s"),
        listen("").replace("10.0.0.5:6379\n", "10.0.0.5:6379 weight 0\n"),
        listen("").replace(" server s", " default-server send-proxy\n server s"),
    ] {
        let Imported { yaml, notes } = import_text(Format::Haproxy, &text, std::path::Path::new("-"));
        assert_eq!(yaml, None, "{text}\n{notes}");
    }
    for text in [
        format!("defaults\n disabled\n{}", listen(" enabled\n")),
        listen("").replace(
            " server s 10.0.0.5:6379\n",
            " default-server disabled\n server s 10.0.0.5:6379 enabled\n",
        ),
    ] {
        assert!(haproxy(&text).admits("a", "10.0.0.1"), "{text}");
    }
}

/// Lines that may refuse any client.
const UNKNOWN: [&str; 40] = [
    " what\n",
    " http-request deny\n",
    " block if office\n",
    " tcp-request what accept\n",
    " tcp-request content lua.check\n",
    " tcp-request content use-service lua.check\n",
    " tcp-request content set-src src,map(a)\n",
    " tcp-request content do-resolve(txn.ip,dns) str(a)\n",
    " tcp-request content set-mark 5\n",
    " tcp-request content set-what 5\n",
    " tcp-request content captured\n",
    " tcp-request content sc-inc-what(0)\n",
    " tcp-request content track-sc src\n",
    " tcp-request content track-scx src\n",
    " source 0.0.0.0 usesrc clientip\n",
    " source 0.0.0.0 usesrc client\n",
    " source 0.0.0.0 usesrc hdr_ip(x-forwarded-for,-1)\n",
    " source \"$SOURCE\"\n",
    " server s2 10.0.0.6:6379 source 0.0.0.0 usesrc clientip\n",
    " server s2 10.0.0.6:6379 source 0.0.0.0 usesrc\n",
    " server s2 10.0.0.6:6379 check source 0.0.0.0 usesrc client weight 5\n",
    " default-server source 0.0.0.0 usesrc clientip\n",
    " tcp-response content reject unless office\n",
    " tcp-response content close\n",
    " filter spoe engine gate\n",
    " dispatch 10.0.0.6:6379\n",
    " option transparent\n",
    " option what\n",
    " monitor-net 10.0.0.0/8\n",
    " quic-initial reject\n",
    " use-fcgi-app x\n",
    " .if defined(X)\n tcp-request content reject\n .endif\n",
    " .if defined(X)\n default_backend other\n .endif\n",
    " .if defined(X)\n what\n .else\n log global\n .endif\n",
    " acl office src \"$OFFICE\"\n",
    " tcp-request content \"$ACTION\"\n",
    " disabled \"$X\"\n",
    " server s2 \"$HOST\"\n",
    " server s2 10.0.0.6:6379 what\n",
    " default-server what\n",
];

/// An unknown line may refuse any client. So may a known line with unknown words.
#[test]
fn an_unknown_line_puts_what_it_governs_in_doubt() {
    let front = |more: &str| {
        format!(
            "frontend f\n bind :6379\n acl office src 10.0.0.0/8\n tcp-request connection reject unless office\n{more} default_backend b\n"
        )
    };
    let back = |more: &str| format!("backend b\n{more} server s 10.0.0.5:6379\n");
    assert!(haproxy(&(front("") + &back(""))).admits("f", "10.0.0.1"));
    for unknown in UNKNOWN {
        for text in [front(unknown) + &back(""), front("") + &back(unknown)] {
            let Imported { yaml, notes } =
                import_text(Format::Haproxy, &text, std::path::Path::new("old.conf"));
            let Some(yaml) = yaml else { continue };
            let imported = loaded(yaml, notes);
            // HAProxy would not start with some of these lines, because a backend cannot have the rules of a frontend,
            // and the reverse.
            assert!(!imported.admits("f", "10.0.0.1"), "{text}\n{}", imported.notes);
        }
    }
}

/// A line may govern several sections, and a section may have an uncertain place.
#[test]
fn doubts_about_more_than_one_section() {
    let whole = "frontend f\n bind :6379\n tcp-request connection reject unless { src 10.0.0.0/8 }\n default_backend b\nbackend b\n server s 10.0.0.5:6379\n";
    assert!(haproxy(whole).admits("f", "10.0.0.1"));
    for text in [
        format!("global\n what\n{whole}"),
        format!("global\n lua-load check.lua\n{whole}"),
        format!("global\n default-path origin /\n{whole}"),
        format!("global\n unix-bind mode 0600\n{whole}"),
        format!("global\n ssl-default-bind-options strict-sni\n{whole}"),
        format!("global\n ssl-default-bind-options no-sslv3 \"$OPTIONS\"\n{whole}"),
        format!("global\n ssl-default-bind-options ssl-min-ver\n{whole}"),
        format!("global\n harden.reject-privileged-ports.tcp on\n{whole}"),
        // No word counts as known because of its beginning.
        format!("global\n max-x y\n{whole}"),
        format!("global\n maxconnect 5\n{whole}"),
        format!("global\n ssl-what\n{whole}"),
        format!("global\n nbx 2\n{whole}"),
        format!("global\n logs x\n{whole}"),
        format!("global\n tune.what 1\n{whole}"),
        format!("global\n insecure-what\n{whole}"),
        format!("global\n expose-what\n{whole}"),
        format!("global\n statsx\n{whole}"),
        format!("global\n users x\n{whole}"),
        format!("global\n no what\n{whole}"),
        format!("global\n no\n{whole}"),
        format!("global\n default-path config more\n{whole}"),
        format!("defaults\n what\n{whole}"),
        format!("defaults\n tcp-request content reject\n{whole}"),
        format!(".if defined(X)\ndefaults\n mode tcp\n.endif\n{whole}"),
        format!(".if defined(X)\n{whole}.endif\n"),
        whole.replace("backend b\n", ".if defined(X)\nbackend b\n") + ".endif\n tcp-request content reject\n",
        format!("{whole}.if defined(X)\nbackend c\n.endif\n tcp-request content reject\n"),
    ] {
        let Imported { yaml, notes } = import_text(Format::Haproxy, &text, std::path::Path::new("old.conf"));
        let Some(yaml) = yaml else { continue };
        assert!(!loaded(yaml, notes.clone()).admits("f", "10.0.0.1"), "{text}\n{notes}");
    }
}

/// Lines that decide nothing, with or without a condition, keep the rules as they are.
#[test]
fn harmless_lines_leave_the_rules_alone() {
    let text = |more: &str| {
        format!(
            "global\n maxconn 100\n tune.bufsize 16384\n ssl-default-bind-options no-sslv3 ssl-min-ver TLSv1.2 prefer-client-ciphers\n no strict-limits\n log-send-hostname x\n nbthread 2\n .if feature(X)\n tune.maxaccept 10\n .endif\nlisten a\n bind :6379\n tcp-request connection reject unless {{ src 10.0.0.0/8 }}\n server s 10.0.0.5:6379\n{more}"
        )
    };
    for harmless in [
        " option tcplog\n no option dontlognull\n timeout client \"$T\"\n",
        " .if defined(X)\n log global\n .else\n no log\n .endif\n",
        " stick-table type ip size 100k expire 30s store conn_cur\n stick on src\n balance source\n",
        " tcp-request inspect-delay 5s\n tcp-response inspect-delay 5s\n tcp-response content accept\n",
        " tcp-request content set-var(txn.a) src\n tcp-request connection track-sc0 src\n",
        " default-server check inter 2s\n",
        " default-server source 10.0.0.9 weight 5\n source 10.0.0.9\n",
        " source 10.0.0.9:0 interface eth0\n server t 10.0.0.6:6379 source 10.0.0.9 interface eth0 check\n",
        " source 10.0.0.9 usesrc 10.0.0.8\n server t 10.0.0.6:6379 source 0.0.0.0 usesrc 10.0.0.8:0 check\n",
    ] {
        let imported = haproxy(&text(harmless));
        assert_eq!(
            imported.admitted("a", &["10.0.0.1", "8.8.8.8"]),
            ["10.0.0.1"],
            "{harmless}\n{}",
            imported.notes
        );
        assert!(imported.yaml.ends_with("limits: {clients: 100}\n"), "{}", imported.yaml);
    }
}
