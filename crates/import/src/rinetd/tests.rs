use super::pattern::Pattern;
use crate::tests::{Outcome, imported};
use crate::{Format, Imported, import_text};

/// A configuration file for two Redis servers.
const FILE: &str = "\
# rinetd.conf: two servers
allow 203.0.113.*
allow 198.51.100.1?
deny 203.0.113.66

0.0.0.0 6379 10.0.0.5 6379   # main
allow 203.0.113.1*
deny 203.0.113.100
0.0.0.0 6380 redis-b.internal 6379/tcp [timeout=1200,src=10.0.0.1]
0.0.0.0 5353/udp 10.0.0.5 53/udp
allow 10.*
192.0.2.1 6381 10.0.0.7 6379
logfile /var/log/rinetd.log
";

const PROBES: [&str; 9] = [
    "203.0.113.1",
    "203.0.113.2",
    "203.0.113.66",
    "203.0.113.100",
    "203.0.113.199",
    "198.51.100.1",
    "198.51.100.10",
    "198.51.100.19",
    "10.0.0.1",
];

fn rinetd(text: &str) -> Outcome {
    imported(Format::Rinetd, text)
}

#[test]
fn global_and_own_rules_hold_together() {
    let imported = rinetd(FILE);
    assert_eq!(imported.admitted("public-6379", &PROBES), ["203.0.113.1", "203.0.113.199"]);
    let others =
        ["203.0.113.1", "203.0.113.2", "203.0.113.100", "203.0.113.199", "198.51.100.10", "198.51.100.19"];
    assert_eq!(imported.admitted("public-6380", &PROBES), others);
    assert_eq!(imported.admitted("public-6381", &PROBES), others);
    assert_eq!(imported.config.upstreams()[1].addresses()[0].to_string(), "redis-b.internal:6379");
}

#[test]
fn every_line_that_is_left_out_is_named() {
    let imported = rinetd(FILE);
    for note in [
        "old.conf:9: not carried over: [timeout=1200,src=10.0.0.1]: ",
        "old.conf:10: not carried over: 0.0.0.0 5353/udp 10.0.0.5 53/udp: Redis uses TCP only",
        "old.conf:11: not carried over: allow 10.*: it belongs to a forward that is not carried over",
        "old.conf:13: not carried over: logfile /var/log/rinetd.log: ",
    ] {
        imported.says(note);
    }
    assert_eq!(imported.notes.lines().count(), 4, "{}", imported.notes);
}

#[test]
fn without_rules_nobody_and_with_deny_alone_everybody_else() {
    let imported = rinetd("127.0.0.1 6379 10.0.0.5 6379\n127.0.0.1 6380 10.0.0.5 6379\ndeny 10.0.0.?\n");
    assert!(imported.admitted("public-6379", &PROBES).is_empty());
    imported.says("old.conf:1: not carried over: the clients of");
    assert_eq!(
        imported.admitted("public-6380", &["10.0.0.1", "10.0.0.10", "8.8.8.8", "::1"]),
        ["10.0.0.10", "8.8.8.8"]
    );
}

/// rinetd up to 0.73 skips the first rule of the file, whichever forward it belongs to. It uses the first rule of the
/// next forward instead. A client must get in both with this mistake and without it.
#[test]
fn the_line_that_rinetd_skips_admits_no_client() {
    let probes = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    let forward = |port| format!("127.0.0.1 {port} a.b 1\n");
    let rules =
        |last: &[u8]| -> String { last.iter().map(|last| format!("allow 10.0.0.{last}\n")).collect() };
    let imported = rinetd(&(forward(6379) + &rules(&[1, 2]) + &forward(6380) + &rules(&[3])));
    assert_eq!(imported.admitted("public-6379", &probes), ["10.0.0.2"]);
    assert_eq!(imported.admitted("public-6380", &probes), ["10.0.0.3"]);
    imported.says("old.conf:2: note: rinetd up to 0.73 skips this line");
    // The first forward has no rules.
    let imported =
        rinetd(&(forward(6379) + &forward(6380) + &rules(&[1, 2]) + &forward(6381) + &rules(&[3, 4])));
    assert_eq!(imported.admitted("public-6380", &probes), ["10.0.0.2"]);
    assert_eq!(imported.admitted("public-6381", &probes), ["10.0.0.3", "10.0.0.4"]);
    imported.says("old.conf:3: note: rinetd up to 0.73 skips this line");
    // The forward of the first rule is left out. rinetd counts its rules, so the mistake changes no other forward.
    let udp = "127.0.0.1 53/udp a.b 53/udp\n".to_owned();
    let imported = rinetd(&(udp + &rules(&[1, 2]) + &forward(6379) + &rules(&[3, 4])));
    assert_eq!(imported.admitted("public-6379", &probes), ["10.0.0.3", "10.0.0.4"]);
    assert!(!imported.notes.contains("0.73"), "{}", imported.notes);
    // A deny of the next forward can be the rule that is used by mistake.
    let next = "deny 10.0.0.2\nallow 10.0.0.4\n";
    let imported = rinetd(&(forward(6379) + &rules(&[1, 2, 3]) + &forward(6380) + next));
    assert_eq!(imported.admitted("public-6379", &probes), ["10.0.0.3"]);
    // The mistake changes nothing if a forward has one rule, or if there is a global rule.
    for text in [
        forward(6379) + &rules(&[1]),
        "deny 192.0.2.1\n".to_owned() + &forward(6379) + &rules(&[1]),
        "allow 10.0.0.1\n".to_owned() + &forward(6379) + &rules(&[1, 2]),
    ] {
        let imported = rinetd(&text);
        assert_eq!(imported.admitted("public-6379", &probes), ["10.0.0.1"], "{text}");
        assert!(!imported.notes.contains("0.73"), "{}", imported.notes);
    }
}

/// A listener that admits no client has a note that says why.
#[test]
fn an_empty_allow_has_a_reason() {
    for (text, why) in [
        (
            "allow 10.1.*\n0.0.0.0 6379 a.b 1\nallow 10.2.*\n",
            "old.conf:2: note: a client must match an allow before",
        ),
        ("0.0.0.0 6379 a.b 1\nallow 10.0.0.1\ndeny 10.0.0.*\n", "is denied by a deny line"),
        ("127.0.0.1 6379 a.b 1\nallow 2001:db8::1\n", "can reach the address that this forward listens on"),
        (
            "0.0.0.0 6379 a.b 1\nallow 10.0.0.1\nallow 10.0.0.2\n0.0.0.0 6380 a.b 1\ndeny 10.0.0.2\n",
            "old.conf:1: note: no client passes in both ways, so allow is empty",
        ),
    ] {
        let imported = rinetd(text);
        imported.says(why);
        imported.says("listener 'public-6379' admits no client: its allow is empty");
    }
}

/// In rinetd up to 0.73 a `?` can match the end of an address, and then the bytes that an earlier address left in
/// memory.
#[test]
fn a_question_mark_in_a_deny_matches_the_end_of_an_address_too() {
    let probes = ["10.0.0.1", "10.0.0.2", "10.0.0.10", "10.0.0.100", "10.0.1.1"];
    for (rule, admitted) in [
        ("deny 10.0.0.1??", &["10.0.0.2", "10.0.1.1"][..]),
        ("deny 10.0.0.1?", &["10.0.0.2", "10.0.0.100", "10.0.1.1"]),
        ("deny 10.0.0.1?*", &["10.0.0.2", "10.0.1.1"]),
        ("deny 10.0.0.?", &["10.0.0.10", "10.0.0.100", "10.0.1.1"]),
        ("allow 10.0.0.1?", &["10.0.0.10"]),
        ("allow 10.0.0.1*?", &["10.0.0.10", "10.0.0.100"]),
    ] {
        let imported = rinetd(&format!("{rule}\n127.0.0.1 6379 a.b 1\n"));
        assert_eq!(imported.admitted("public-6379", &probes), admitted, "{rule}\n{}", imported.notes);
        let told = imported.notes.contains("a '?' may match the end of an address");
        assert_eq!(told, rule.contains("deny 10.0.0.1"), "{rule}\n{}", imported.notes);
    }
}

/// rinetd 0.73 compares capital letters as they are, so such an `allow` admits no client.
#[test]
fn capital_letters_admit_no_client() {
    let import = |rule: &str| rinetd(&format!("deny 192.0.2.1\n:: 6379 a.b 1\n{rule}\n"));
    let probes = ["10.0.0.1", "8.8.8.8", "2001:db8::1"];
    assert_eq!(import("allow ::ffff:10.*").admitted("public-6379", &probes), ["10.0.0.1"]);
    assert!(import("allow ::FFFF:10.*").admitted("public-6379", &probes).is_empty());
    assert!(import("allow 2001:DB8:*").admitted("public-6379", &probes).is_empty());
    // A deny refuses with either spelling.
    assert!(!import("allow *\ndeny ::FFFF:10.*").admits("public-6379", "10.0.0.1"));
}

/// rinetd does not start with such a line, and older versions ignore it.
#[test]
fn a_line_that_rinetd_does_not_know_puts_what_it_governs_in_doubt() {
    for line in ["include other.conf", "allow", "deny 10.0.0.1 10.0.0.2", "reject 10.0.0.1", "Deny 10.0.0.1"]
    {
        let global = format!("{line}\n127.0.0.1 6379 a.b 1\nallow 10.*\n127.0.0.1 6380 a.b 1\nallow 10.*\n");
        let imported = rinetd(&global);
        assert!(!imported.admits("public-6379", "10.0.0.1"), "{line}");
        assert!(!imported.admits("public-6380", "10.0.0.1"), "{line}");
        imported.says("line 1 may decide which clients get in, so no address is allowed");
        let own = format!("127.0.0.1 6379 a.b 1\nallow 10.*\n{line}\n127.0.0.1 6380 a.b 1\nallow 10.*\n");
        let imported = rinetd(&own);
        assert!(!imported.admits("public-6379", "10.0.0.1"), "{line}");
        assert!(imported.admits("public-6380", "10.0.0.1"), "{line}");
    }
    let imported = rinetd(
        "127.0.0.1 6379 a.b 1 [acl=office]\nallow 10.*\n127.0.0.1 6380 a.b 1 [timeout=5]\nallow 10.*\n",
    );
    assert!(!imported.admits("public-6379", "10.0.0.1"));
    assert!(imported.admits("public-6380", "10.0.0.1"));
}

/// On an IPv6 socket rinetd compares IPv4 peers in the form `::ffff:a.b.c.d`.
#[test]
fn ipv6() {
    let imported = rinetd(
        "deny 192.0.2.99\n:: 6379 10.0.0.5 6379\nallow 10.*\nallow fd00:*\nallow ::1\nallow ::ffff:192.0.2.*\ndeny fd00:1*\n",
    );
    let probes = ["10.0.0.1", "192.0.2.1", "::1", "::2", "fd00:2::1", "fd00:1::1"];
    assert_eq!(imported.admitted("public-6379", &probes), ["192.0.2.1"]);
    imported.says("old.conf:7: not carried over: deny fd00:1*: which IPv6 texts");
    let imported =
        rinetd("deny 192.0.2.99\n::1 6379 10.0.0.5 6379\nallow fd00:*\nallow ::1\nallow 2001:db8:0:0::1\n");
    assert_eq!(imported.admitted("public-6379", &probes), ["::1", "fd00:2::1", "fd00:1::1"]);
    imported.says("old.conf:5: not carried over: allow 2001:db8:0:0::1: it matches no address");
    // A note about a rule for several forwards names the forward that it is about.
    for (rules, forwards, named) in [
        ("allow 10.0.0.*\ndeny 10.0.0.5\n", "0.0.0.0 6379 a.b 1\n:: 6380 a.b 1\n", [(1, 4), (2, 4)]),
        ("allow 10.0.0.*\ndeny 10.0.0.5\n", ":: 6380 a.b 1\n0.0.0.0 6379 a.b 1\n", [(1, 3), (2, 3)]),
        (
            "allow ::ffff:10.0.0.1\ndeny ::ffff:10.1.0.1\n",
            "0.0.0.0 6379 a.b 1\n:: 6380 a.b 1\n",
            [(1, 3), (2, 3)],
        ),
    ] {
        let imported = rinetd(&format!("{rules}{forwards}"));
        for (rule, forward) in named {
            imported.says(&format!("old.conf:{rule}: not carried over: "));
            imported.says(&format!("it matches no client of the forward in line {forward}, "));
        }
        assert!(!imported.notes.contains("it matches no address"), "{}", imported.notes);
        assert_eq!(imported.notes.matches("it matches no client").count(), 2, "{}", imported.notes);
    }
}

#[test]
fn names_to_listen_on_and_broken_lines() {
    let Imported { yaml, notes } = import_text(
        Format::Rinetd,
        "localhost 6379 10.0.0.5 6379\n0.0.0.0 redis 10.0.0.5 6379\n0.0.0.0 0 10.0.0.5 6379\n0.0.0.0 6379\nallow\n0.0.0.0 6379 010.0.0.5 6379\n",
        std::path::Path::new("-"),
    );
    assert_eq!(yaml, None);
    assert_eq!(notes.lines().count(), 6, "{notes}");
}

/// Compares the matcher with a very simple one, for every address of a small network.
#[test]
fn patterns_match_as_texts_do() {
    fn matches(text: &[u8], pattern: &[u8]) -> bool {
        match (text, pattern) {
            (_, [b'*', rest @ ..]) => (0..=text.len()).any(|at| matches(&text[at..], rest)),
            ([_, text @ ..], [b'?', rest @ ..]) => matches(text, rest),
            ([one, text @ ..], [other, rest @ ..]) => one == other && matches(text, rest),
            ([], []) => true,
            _ => false,
        }
    }
    let octets = [0_u8, 1, 2, 9, 10, 11, 19, 99, 100, 101, 110, 127, 128, 199, 200, 255];
    for pattern in [
        "*",
        "1*",
        "*1",
        "?.?.?.?",
        "10.*.1",
        "1?.*",
        "10.1*1.1*",
        "*.*.*.*",
        "1*.2.3.4",
        "1.2.3",
        "127.0.0.1",
        "1**.0.*",
        "",
    ] {
        let found = Pattern::new(pattern).matches(false);
        for a in octets {
            for b in [0, 1, 10, 100, 255] {
                for (c, d) in [(0, 1), (1, 10), (100, 4), (3, 4), (0, 0), (0, 255), (11, 11)] {
                    let ip = std::net::Ipv4Addr::new(a, b, c, d);
                    let host = crate::sources::Net::host(ip.into());
                    let expected = matches(ip.to_string().as_bytes(), pattern.as_bytes());
                    let sources = crate::sources::Sources::from(host);
                    assert!(!expected || sources.is_within(&found.may), "{pattern} may match {ip}");
                    assert!(expected || !sources.meets(&found.must), "{pattern} does not match {ip}");
                    if found.why.is_none() {
                        assert_eq!(sources.is_within(&found.must), expected, "{pattern} and {ip}");
                    }
                }
            }
        }
    }
}

/// For rinetd too, the second rule is in the comment.
#[test]
fn a_rule_behind_an_odd_line_end_is_noted() {
    let text = "0.0.0.0 6379 10.0.0.5 6379\nallow 203.0.113.9\nallow 192.0.2.* # net\rdeny 192.0.2.1\n";
    let imported = imported(Format::Rinetd, text);
    let notes = &imported.notes;
    assert!(notes.contains("old.conf:3: note: column 22 has a carriage return (CR)"), "{notes}");
}
