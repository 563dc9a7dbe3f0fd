//! Generates files of HAProxy in mode tcp.

use e2e::Random;

use super::{Case, Port, net};

/// Lines that decide which clients get in, or look as if they did.
const ASIDE: [&str; 37] = [
    "http-request deny unless a",
    "tcp-response content reject if a",
    "tcp-response content accept",
    "use_backend reject if !a",
    "use_backend reject if b",
    "use_backend %[src,map_ip(lands.map,main)]",
    "use_backend disabled if b",
    "use_backend main if a",
    "tcp-request content reject if { src_port gt 0 } b",
    "tcp-request content reject if { src_conn_cur gt 1000 }",
    "tcp-request content set-var(txn.a) src",
    "tcp-request connection track-sc0 src",
    "tcp-request connection reject if { sc0_conn_cur gt 1000 }",
    "tcp-request content accept if WAIT_END",
    ".if streq(a,a)\n    tcp-request content reject if a\n    .endif",
    ".if streq(a,b)\n    tcp-request content accept\n    .endif",
    "acl a src \"$OFFICE\"",
    "option tcp-smart-accept",
    "tcp-request inspect-delay 10ms",
    "use_backend main unless b",
    "use_backend reject unless a or b",
    "use_backend judging if { src -f list.lst }",
    "use_backend reject if { src -m ip 10.1.2.0/24 } !{ src -f list.lst }",
    "use_backend if if a",
    "use_backend unless unless a",
    "acl a src -m ip -f list.lst 10.9.9.9",
    "acl a src -n -- 10.1.2.3 10.128.0.0/9",
    "acl b src -m str 10.1.2.3",
    "acl b src,ipmask(24) 10.1.2.0",
    "acl a src 10.1.2.0/255.255.255.128 # 10.0.0.0/8",
    "acl b always_true",
    "acl TRUE src 10.1.2.3",
    "acl a src_port gt 0",
    "disabled",
    "source 127.0.0.1 usesrc 127.0.0.1",
    ".if streq(a,b)\n    acl b src 10.0.0.0/8\n    .elif defined(OFFICE)\n    tcp-request session reject if b\n    .else\n    tcp-request session accept\n    .endif",
    "bind unix@{dir}/f.sock mode 0660 gid 0 uid 0",
];
/// Lines in named defaults sections.
const INHERITED: [&str; 9] = [
    "default_backend reject",
    "default_backend main",
    "default-server disabled",
    "default-server weight 1",
    "disabled",
    "enabled",
    "timeout client 30s",
    "option tcpka",
    "maxconn 200",
];
/// Rules in the last defaults section. HAProxy accepts them only there, and only for frontends.
const INHERITED_RULES: [&str; 3] = [
    "tcp-request connection reject if { src 10.1.2.0/24 }",
    "tcp-request content reject unless { src 10.1.0.0/16 }",
    "tcp-request session accept if { src 10.1.0.0/16 }",
];
/// Words between alternatives. HAProxy drops a `!` before them.
const OR: [&str; 7] = ["or", "or", "||", "OR", "!or", "! or", "!||"];
/// Lines in a backend.
const BEHIND: [&str; 10] = [
    "disabled",
    "default-server disabled",
    "default-server weight 0",
    "tcp-request content reject if c",
    "tcp-request content reject unless c",
    "tcp-response content reject if c",
    "use-server s if c",
    "balance roundrobin",
    "http-request deny",
    "option redispatch",
];

/// Generates a file with conditions in all stages, backends that reject, and load balancers.
pub(super) fn generate(random: &mut Random) -> Case {
    let mut text = String::from("global\n    maxconn 300\n    tune.bufsize 16384\n");
    defaults(&mut text, random);
    text += "listen control from base\n    bind {ip}:{port0}\n    tcp-request connection reject unless { src 10.1.0.0/16 }\n    server s {server}\n";
    let mut ports = vec![Port { v6: false, proxied: false }];
    for at in 1..7 {
        ports.push(front(&mut text, random, at));
    }
    text += "backend main from base\n    server s {server}\nbackend judging from base\n    acl c src 10.1.2.0/24 10.9.9.9/32 2001:db8:1::/48\n";
    for _ in 0..random.below(3) {
        text += &format!("    {}\n", random.pick(&BEHIND));
    }
    text += "    server s {server}\nbackend reject from base\n    tcp-request content reject\n    server s {server}\nbackend disabled from base\n    disabled\n    server s {server}\n\
             backend if from base\n    server s {server}\nbackend unless from base\n    tcp-request content reject\n    server s {server}\n";
    let list = (0..=random.below(4))
        .map(|_| {
            let v6 = random.one_in(4);
            format!("{}\n", net(random, v6))
        })
        .collect();
    let lands = "10.1.2.0/24 reject\n10.0.0.0/8 main\n".to_owned();
    Case { files: vec![("old.conf", text), ("list.lst", list), ("lands.map", lands)], ports }
}

/// Adds a frontend or a listen section.
fn front(text: &mut String, random: &mut Random, at: usize) -> Port {
    let v6 = random.one_in(5);
    let (accept, expect) = (random.one_in(4), random.one_in(6));
    let ip = if v6 { "{ip6}" } else { "{ip}" };
    let proxy = if accept { " accept-proxy" } else { "" };
    let kind = if random.one_in(3) { "listen" } else { "frontend" };
    let from = match random.below(4) {
        0 if kind == "listen" => format!(" from d{}", random.below(LEVELS - 1)),
        0 => format!(" from d{}", random.below(LEVELS)),
        // The last defaults section before it.
        1 if kind == "frontend" && random.one_in(2) => String::new(),
        _ => " from base".to_owned(),
    };
    *text += &format!("{kind} f{at}{from}\n    bind {ip}:{{port{at}}}{proxy}\n");
    acls(text, random, v6);
    let mut lines = String::new();
    if expect {
        lines += &format!(
            "    tcp-request connection expect-proxy layer4 if {}\n",
            random.pick(&["a", "b", "{ src 10.1.0.0/16 }"])
        );
    }
    for stage in ["connection", "session", "content"] {
        if !random.one_in(3) {
            rules(&mut lines, random, stage);
        }
    }
    aside(&mut lines, random, kind);
    if random.one_in(4) {
        acls(&mut lines, random, v6);
    }
    *text += &if random.one_in(2) { shuffled(&lines, random) } else { lines };
    match kind {
        "listen" => *text += "    server s {server}\n",
        _ if random.one_in(8) => *text += "    use_backend main if a\n",
        _ => {
            *text += &format!(
                "    default_backend {}\n",
                random.pick(&["main", "main", "judging", "reject", "disabled"])
            )
        }
    }
    Port { v6, proxied: accept || expect }
}

/// The number of defaults sections that take settings from each other.
const LEVELS: usize = 3;

/// Adds the defaults section `base`, and a chain of sections that begins with it.
fn defaults(text: &mut String, random: &mut Random) {
    // Clients of a backend whose servers are disabled wait for `timeout queue`.
    *text += "defaults base\n    mode tcp\n    timeout queue 100ms\n    timeout connect 5s\n    timeout client 1m\n    timeout server 1m\n";
    for level in 0..LEVELS {
        let from = if level == 0 { "base".to_owned() } else { format!("d{}", level - 1) };
        *text += &format!("defaults d{level} from {from}\n");
        for _ in 0..random.below(2) {
            *text += &format!("    {}\n", random.pick(&INHERITED));
        }
        if level == LEVELS - 1 && random.one_in(2) {
            *text += &format!("    {}\n", random.pick(&INHERITED_RULES));
        }
    }
}

/// Returns the lines in a random order. The lines of a condition stay together.
fn shuffled(lines: &str, random: &mut Random) -> String {
    let mut blocks: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in lines.lines() {
        if !is_open {
            blocks.push(String::new());
        }
        blocks.last_mut().expect("pushed").extend([line, "\n"]);
        is_open = (is_open || line.trim_start().starts_with(".if")) && line.trim_start() != ".endif";
    }
    let mut mixed = String::new();
    while !blocks.is_empty() {
        mixed += &blocks.swap_remove(random.below(blocks.len()));
    }
    mixed
}

fn aside(text: &mut String, random: &mut Random, kind: &str) {
    let mut lines: Vec<&str> = (0..random.below(3)).map(|_| *random.pick::<&'static str>(&ASIDE)).collect();
    // Such rules are valid only in sections with servers.
    lines.retain(|line| kind == "listen" || !line.contains("tcp-response"));
    let limits = |line: &&str| line.contains("conn_cur") || line.contains("track-sc0");
    if lines.iter().any(limits) {
        // A counter works only if an earlier rule tracks the source.
        *text += "    stick-table type ip size 10k expire 30s store conn_cur\n    tcp-request connection track-sc0 src\n";
    }
    for line in lines {
        *text += &format!("    {line}\n");
    }
}

fn acls(text: &mut String, random: &mut Random, v6: bool) {
    for name in ["a", "b"] {
        for _ in 0..=random.below(2) {
            let family = v6 != random.one_in(5);
            *text += &format!("    acl {name} src {} {}\n", net(random, family), net(random, v6));
        }
    }
    if random.one_in(4) {
        *text += "    acl b src -f list.lst\n";
    }
}

fn rules(text: &mut String, random: &mut Random, stage: &str) {
    for _ in 0..random.below(3) {
        let action = if random.one_in(2) { "accept" } else { "reject" };
        let word = if random.one_in(3) { "unless" } else { "if" };
        *text += &format!("    tcp-request {stage} {action} {word} {}\n", condition(random));
    }
    if random.one_in(3) {
        *text += &format!(
            "    tcp-request {stage} reject unless {}\n",
            random.pick(&["a", "b", "a or b", "a !b"])
        );
    }
}

fn condition(random: &mut Random) -> String {
    let terms: Vec<String> = (0..=random.below(2))
        .map(|_| {
            let literals: Vec<String> = (0..=random.below(2)).map(|_| literal(random)).collect();
            literals.join(" ")
        })
        .collect();
    terms.join(&format!(" {} ", random.pick(&OR)))
}

fn literal(random: &mut Random) -> String {
    let not = if random.one_in(3) { "!" } else { "" };
    match random.below(9) {
        0..=2 => format!("{not}a"),
        3..=5 => format!("{not}b"),
        6 => format!("{not}{{ src {} }}", net(random, false)),
        7 => format!("{not}{{ src {} }}", net(random, true)),
        _ => format!("{not}{{ src_port gt 0 }}"),
    }
}
