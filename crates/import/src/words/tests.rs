use super::*;

/// The sources of the importers that know keywords.
const SOURCES: [&str; 16] = [
    include_str!("../haproxy/acl.rs"),
    include_str!("../haproxy/bind.rs"),
    include_str!("../haproxy/global.rs"),
    include_str!("../haproxy/keywords.rs"),
    include_str!("../haproxy/proxy.rs"),
    include_str!("../haproxy/rules.rs"),
    include_str!("../haproxy/section.rs"),
    include_str!("../haproxy/server.rs"),
    include_str!("../nginx/classes.rs"),
    include_str!("../nginx/listen.rs"),
    include_str!("../nginx/server.rs"),
    include_str!("../nginx/settings.rs"),
    include_str!("../nginx/tls.rs"),
    include_str!("../nginx/upstream.rs"),
    include_str!("../netsh/command.rs"),
    include_str!("../rinetd.rs"),
];

/// Returns the keywords of a source: the strings in its lists and before the arrows of its matches.
fn keywords(source: &'static str) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut in_list = false;
    for line in source.lines() {
        in_list |= line.contains("const ") && line.contains(": [&str; ");
        let part = match (in_list, line.split_once(" => ")) {
            (true, _) => line,
            (false, Some((before, _))) => before,
            (false, None) => "",
        };
        in_list &= !line.ends_with("];");
        let strings = part.split('"').skip(1).step_by(2);
        let is_keyword = |word: &&str| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '-');
        found.extend(
            strings.filter(is_keyword).filter(|word| !word.contains([' ', '\\']) && !word.ends_with('_')),
        );
    }
    found
}

/// Returns a line as a note shows it, in a file with sections that have these names.
fn shown(text: &str) -> String {
    let is_name = |word: &str| ["a", "b", "c", "redis", "office"].contains(&word);
    Masked::line(text, |word| is_known(word, is_name), hides_the_rest).to_string()
}

/// An operator sees the keywords of his line, so that he finds it and understands the note.
#[test]
fn every_keyword_of_the_importers_is_shown() {
    let all: Vec<&str> = SOURCES.into_iter().flat_map(keywords).chain(LISTS[3].lines()).collect();
    assert!(all.len() > 700, "only {} keywords are found", all.len());
    let masked: Vec<&&str> = all.iter().filter(|word| shown(word) != **word).collect();
    assert_eq!(masked, Vec::<&&str>::new());
}

#[test]
fn lines_are_shown_as_they_stand() {
    for line in [
        "tcp-request connection reject if { sc0_get_gpc0 gt 0 }",
        "tcp-request content reject if !{ src_port gt 0 }",
        "tcp-request content accept if WAIT_END OR HTTP",
        "acl b src,ipmask(24) 10.1.2.0",
        "acl c fc_rcvd_proxy -m bool",
        "bind :6379 ssl crt /etc/haproxy/redis.pem ca-verify-file /etc/ca.pem prefer-client-ciphers no-tlsv13",
        "server a 10.0.0.5:6379 ssl verify none no-send-proxy-v2 socks4 10.0.0.9:1080",
        "bind :6379 ssl crt redis.pem ca-file certs/ca.pem crl-file ca.crl",
        "stick-table type ip size 1k expire 10m store gpc0,conn_rate(10s)",
        "use_backend %[src,map_ip(lands.map,redis)]",
        "acl office src -f office.lst",
        "include stream.d/[a-b]*.conf",
        "proxy_bind $remote_addr transparent",
        "limit_conn_zone $binary_remote_addr zone=redis:10m",
        "geo $remote_addr {...}",
        "Start-Process netsh -ArgumentList \"interface portproxy reset\"",
        ".if defined(HTTP)",
    ] {
        assert_eq!(shown(line), line);
    }
    for (line, masked) in [
        ("tcp-request content set-var(txn.canary) src", "tcp-request content set-var(***) src"),
        ("http-request set-header Authorization Basic", "http-request set-header ***"),
        ("setenv TOKEN redis", "setenv ***"),
        ("cluster-secret hash", "cluster-secret ***"),
        ("server a canary:6379", "server a ***"),
        ("canary", "***"),
        ("use_backend %[src,map_ip(canary,redis)]", "use_backend %[src,map_ip(***)"),
        ("http-check send hdr Authorization redis", "http-check send ***"),
        ("map $canary $remote_addr", "map *** $remote_addr"),
    ] {
        assert_eq!(shown(line), masked);
    }
}

/// The lists are sorted, and no word is in two of them.
#[test]
fn the_lists_are_sorted() {
    for list in LISTS {
        assert!(list.lines().is_sorted(), "{list}");
    }
    let count: usize = LISTS[..3].iter().map(|list| list.lines().count()).sum();
    let all: HashSet<&str> = LISTS[..3].iter().flat_map(|list| list.lines()).collect();
    assert_eq!(all.len(), count);
}
