//! Defaults sections, on all levels of `from`.

use super::*;

const LISTEN: &str = " bind :6379\n tcp-request connection reject unless { src 10.0.0.0/8 }\n";

fn import_only(text: &str) -> Imported {
    import_text(Format::Haproxy, text, std::path::Path::new("old.conf"))
}

/// The forms of a file in which the section `base` governs the listener `a`.
fn files(base: &str) -> [String; 6] {
    let listen = |from: &str| format!("listen a{from}\n{LISTEN} server s 10.0.0.5:6379\n");
    let split = |front: &str, back: &str| {
        format!("frontend a{front}\n{LISTEN} default_backend b\nbackend b{back}\n server s 10.0.0.5:6379\n")
    };
    [
        format!("defaults base\n{base}{}", listen(" from base")),
        format!(
            "defaults base\n{base}defaults child from base\n timeout server 10s\n{}",
            listen(" from child")
        ),
        // The last defaults section before the proxy counts, with the section that it names.
        format!("defaults base\n{base}defaults from base\n timeout server 10s\n{}", listen("")),
        format!(
            "defaults base\n{base}defaults one from base\ndefaults two from one\ndefaults three from two\n{}",
            listen(" from three")
        ),
        format!(
            "defaults base\n{base}defaults child from base\ndefaults plain\n{}",
            split(" from child", " from plain")
        ),
        format!(
            "defaults base\n{base}defaults child from base\ndefaults plain\n{}",
            split(" from plain", " from child")
        ),
    ]
}

#[test]
fn every_level_of_from_governs_the_proxy() {
    for base in [" timeout client 10s\n", " mode tcp\n", " option tcplog\n", " default-server check\n"] {
        for text in files(base) {
            let imported = haproxy(&text);
            assert!(imported.admits("a", "10.0.0.1"), "{text}\n{}", imported.notes);
        }
    }
    for base in [
        " disabled\n",
        " default-server disabled\n",
        " mode http\n",
        " what\n",
        " option transparent\n",
        " transparent\n",
        " dispatch 10.0.0.6:6379\n",
        " source 0.0.0.0 usesrc clientip\n",
        " default-server source 0.0.0.0 usesrc clientip\n",
        " tcp-request connection reject\n",
        " .if defined(X)\n what\n .endif\n",
        " .if defined(X)\n mode http\n .endif\n",
        " .if defined(X)\n disabled\n .endif\n",
    ] {
        for text in files(base) {
            // The backend takes default-server from its own defaults section only.
            if base == " default-server disabled\n" && text.contains("backend b from plain") {
                continue;
            }
            // Without a configuration no client is admitted.
            let Imported { yaml, notes } = import_only(&text);
            let admits = yaml.is_some_and(|yaml| loaded(yaml, notes.clone()).admits("a", "10.0.0.1"));
            assert!(!admits, "{text}\n{notes}");
        }
    }
}

#[test]
fn a_later_level_overrides_an_earlier_one() {
    let listen = format!("listen a from child\n{LISTEN} server s 10.0.0.5:6379\n");
    for (base, child) in [
        (" mode http\n", " mode tcp\n"),
        (" disabled\n", " enabled\n"),
        (" default-server disabled\n", " default-server enabled\n"),
    ] {
        let imported = haproxy(&format!("defaults base\n{base}defaults child from base\n{child}{listen}"));
        assert!(imported.admits("a", "10.0.0.1"), "{base}\n{}", imported.notes);
        let text = format!("defaults base\n{child}defaults child from base\n{base}{listen}");
        assert_eq!(import_only(&text).yaml, None, "{text}");
    }
    // A defaults section without from takes no settings of the section before it.
    let imported =
        haproxy(&format!("defaults base\n mode http\ndefaults child\n timeout client 1s\n{listen}"));
    assert!(imported.admits("a", "10.0.0.1"), "{}", imported.notes);
    let imported = haproxy(&format!("defaults base\n maxconn 7\ndefaults child from base\n{listen}"));
    assert!(imported.yaml.contains("limits: {clients: 7}"), "{}", imported.yaml);
}

/// HAProxy does not start with such a file, so its rules cannot be known.
#[test]
fn an_unknown_name_or_a_cycle_is_in_doubt() {
    let server = "server s 10.0.0.5:6379\n";
    for (text, line) in [
        (format!("listen a from nowhere\n{LISTEN} {server}"), 1),
        (format!("defaults one from one\nlisten a from one\n{LISTEN} {server}"), 1),
        (format!("defaults one from two\ndefaults two from one\nlisten a from two\n{LISTEN} {server}"), 1),
        (format!("defaults one from nowhere\nlisten a\n{LISTEN} {server}"), 1),
        (format!("defaults child from base\ndefaults base\nlisten a from child\n{LISTEN} {server}"), 1),
        (format!("listen a from late\n{LISTEN} {server}defaults late\n"), 1),
        (format!("defaults one\ndefaults one\nlisten a from one\n{LISTEN} {server}"), 3),
        (format!("defaults\nlisten a from \"\"\n{LISTEN} {server}"), 2),
        (format!("frontend a\n{LISTEN} default_backend b\nbackend b from nowhere\n {server}"), 5),
        (
            format!(
                ".if defined(X)\ndefaults one\n.endif\ndefaults two from one\nlisten a from two\n{LISTEN} {server}"
            ),
            0,
        ),
    ] {
        let imported = haproxy(&text);
        assert!(!imported.admits("a", "10.0.0.1"), "{text}\n{}", imported.notes);
        if line > 0 {
            imported.says("its from names no defaults section that stands before it");
            imported.says(&format!("old.conf:{line}: not carried over: "));
        }
    }
}
