//! Compares `portcullis import` with the programs themselves: the same rules, the same sources, the same answers. Also
//! compares `portcullis explain` with the gate.

mod generated;

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};

use e2e::client::End;
use e2e::{Client, Gate, Process, Redis, eventually, gate::binary, ports};

/// Loopback sources, including those at the edges of the networks in the rules below.
const SOURCES: [&str; 18] = [
    "127.0.0.1",
    "127.0.0.2",
    "127.0.0.9",
    "127.0.0.10",
    "127.0.0.19",
    "127.0.0.20",
    "127.0.0.255",
    "127.0.1.0",
    "127.0.1.1",
    "127.0.1.127",
    "127.0.1.128",
    "127.0.1.255",
    "127.1.0.1",
    "127.1.2.3",
    "127.127.255.255",
    "127.128.0.0",
    "127.200.1.1",
    "127.255.255.254",
];

fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns whether a program is installed. If it is not, a line on standard error says so.
fn installed(program: &str) -> bool {
    let found = ["/usr/sbin", "/usr/bin", "/sbin"].iter().any(|path| Path::new(path).join(program).exists());
    if !found {
        // tests/run.sh looks for this text at the beginning of a line.
        let _ = writeln!(std::io::stderr().lock(), "\nNOT CHECKED: there is no {program} here");
    }
    found
}

/// Returns whether a PING from `source` is answered.
fn is_served(source: &str, port: u16) -> bool {
    let from: IpAddr = source.parse().expect("an address");
    let to: IpAddr = if from.is_ipv6() { "::1" } else { "127.0.0.1" }.parse().expect("an address");
    let mut client = Client::tcp_from(from, SocketAddr::new(to, port));
    // A refused client may be disconnected before this write.
    let _ = client.try_send_raw(b"*1\r\n$4\r\nPING\r\n");
    let mut answer = Vec::new();
    let came = client.read_up_to(7, &mut answer);
    assert!(came || answer.is_empty(), "{source}: {}", answer.escape_ascii());
    came
}

struct Peer {
    // This field ends the program when the peer is dropped, before the files of the program are removed.
    _process: Process,
    directory: tempfile::TempDir,
    ports: Vec<u16>,
}

/// Starts `program` with a configuration in which `{port0}`, `{port1}` and `{redis}` are replaced.
fn start(program: &str, arguments: &[&str], configuration: &str, redis: &Redis, count: usize) -> Peer {
    for _ in 0..5 {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let ports: Vec<u16> = (0..count).map(|_| ports::free()).collect();
        let mut filled = configuration.replace("{redis}", &redis.address().to_string());
        filled = filled.replace("{redis_port}", &redis.address().port().to_string());
        for (at, port) in ports.iter().enumerate() {
            filled = filled.replace(&format!("{{port{at}}}"), &port.to_string());
        }
        fs::write(directory.path().join("old.conf"), filled).expect("writable");
        let mut process = Process::start(directory.path(), "peer", program.as_ref(), arguments, &[]);
        let up = eventually(&format!("{program} listens"), || {
            if process.ended().is_some() {
                return Some(false);
            }
            ports.iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_err()).then_some(true)
        });
        if up {
            return Peer { directory, _process: process, ports };
        }
        let told = process.stderr() + &process.stdout();
        assert!(told.to_lowercase().contains("in use"), "{program} does not start: {told}");
    }
    panic!("no free port for {program}");
}

impl Peer {
    /// Does the same as [`Self::agrees_with_its_import`], and checks that the rules serve some sources and refuse
    /// others.
    #[track_caller]
    fn decides_as_its_import(&self, format: &str, sources: &[&str]) {
        let (served, refused) = self.agrees_with_its_import(format, sources);
        assert!(served > 0 && refused > 0, "rules that decide something: {served} served, {refused} refused");
    }

    /// Imports the file, and compares the program's answers with those of `explain` for every source and port. Returns
    /// how many clients it serves and how many it refuses.
    #[track_caller]
    fn agrees_with_its_import(&self, format: &str, sources: &[&str]) -> (u32, u32) {
        let old = self.directory.path().join("old.conf");
        let imported = run(&["import", format, &old.display().to_string()]);
        let notes = text(&imported.stderr);
        assert_eq!(imported.status.code(), Some(0), "{notes}");
        let yaml = self.directory.path().join("portcullis.yaml");
        fs::write(&yaml, &imported.stdout).expect("writable");
        let shown =
            format!("{}\n{}\n{notes}", fs::read_to_string(&old).expect("readable"), text(&imported.stdout));
        let yaml = yaml.display().to_string();
        let check = run(&["check", "--no-host", "--config", &yaml]);
        assert_eq!(check.status.code(), Some(0), "{shown}\n{}", text(&check.stderr));
        let (mut served, mut refused) = (0, 0);
        for port in &self.ports {
            let listener = listener_of(&text(&imported.stdout), *port);
            for source in sources {
                let really = is_served(source, *port);
                let explained = run(&["explain", source, "--config", &yaml, "--listener", &listener]);
                let code = explained.status.code();
                let said = text(&explained.stdout);
                assert_eq!(
                    code,
                    Some(i32::from(!really)),
                    "{source} to {port}: {format} serves: {really}\n{said}\n{shown}"
                );
                if really { served += 1 } else { refused += 1 }
            }
        }
        (served, refused)
    }
}

/// Returns the name of the listener that binds a port.
fn listener_of(yaml: &str, port: u16) -> String {
    let mut name = "";
    for line in yaml.lines() {
        name = line.strip_prefix("  - name: ").unwrap_or(name);
        if line.trim_matches('"').ends_with(&format!(":{port}")) {
            return name.to_owned();
        }
    }
    panic!("no listener on {port} in\n{yaml}");
}

/// Returns a list of random rules, the same in every run.
fn random_rules(seed: u64, count: usize, mut rule: impl FnMut(u64, &str) -> String) -> String {
    let mut state = seed;
    let mut next = move || {
        // Knuth's MMIX generator. Only its upper bits are random enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut text = String::new();
    for _ in 0..count {
        let source: std::net::Ipv4Addr =
            SOURCES[usize::try_from(next()).expect("small") % SOURCES.len()].parse().expect("an address");
        let len = [8, 9, 16, 23, 24, 25, 28, 31, 32][usize::try_from(next()).expect("small") % 9];
        let network = std::net::Ipv4Addr::from_bits(source.to_bits() & (u32::MAX << (32 - len)));
        text += &rule(next(), &format!("{network}/{len}"));
    }
    text
}

#[test]
fn rinetd_decides_the_same() {
    if !installed("rinetd") {
        return;
    }
    let redis = Redis::plain();
    let rules = "\
allow 127.*
allow ::1
deny 127.0.1.12?
deny 127.200*
127.0.0.1 {port0} 127.0.0.1 {redis_port}
allow 127.0.0.1?
allow 127.1.*.3
deny 127.0.0.19
127.0.0.1 {port1} 127.0.0.1 {redis_port}
deny 127.0.0.*9
127.0.0.1 {port2} 127.0.0.1 {redis_port}
allow 127.0.?.1*
allow 127.0.*.255
0.0.0.0 {port3}/tcp localhost {redis_port}/tcp [timeout=10]
";
    let peer = start("/usr/sbin/rinetd", &["-f", "-c", "old.conf"], rules, &redis, 4);
    peer.decides_as_its_import("rinetd", &SOURCES);
    let rules = "deny 127.0.?.1\n127.0.0.1 {port0} 127.0.0.1 {redis_port}\ndeny 127.1*\n";
    let peer = start("/usr/sbin/rinetd", &["-f", "-c", "old.conf"], rules, &redis, 1);
    peer.decides_as_its_import("rinetd", &SOURCES);
}

/// On a socket for both families, rinetd compares an IPv4 peer as `::ffff:127.0.0.1`.
#[test]
fn rinetd_decides_the_same_of_ipv6() {
    if !installed("rinetd") {
        return;
    }
    let redis = Redis::plain();
    // Without a rule before the first forward, rinetd 0.73 applies the wrong rules to a forward.
    let rules = "\
deny 127.0.0.255
:: {port0} 127.0.0.1 {redis_port}
allow 127.*
allow ::1
allow ::ffff:127.0.0.?
:: {port1} 127.0.0.1 {redis_port}
allow *
deny ::1
deny ::ffff:127.0.0.9
";
    let sources = [&SOURCES[..], &["::1"]].concat();
    let peer = start("/usr/sbin/rinetd", &["-f", "-c", "old.conf"], rules, &redis, 2);
    peer.decides_as_its_import("rinetd", &sources);
}

fn nginx(stream: &str, redis: &Redis, count: usize) -> Peer {
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let configuration = format!(
        "{load}daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{ worker_connections 64; }}\nstream {{\n{stream}\n}}\n"
    );
    start("/usr/sbin/nginx", &["-p", ".", "-c", "old.conf"], &configuration, redis, count)
}

#[test]
fn nginx_decides_the_same() {
    if !installed("nginx") {
        return;
    }
    let redis = Redis::plain();
    let written = "\
    upstream redis { server {redis}; }
    deny 127.0.0.9;
    allow 127.0.0.0/24;   # and \"these\"
    allow 127.1.2.3/16;
    deny all;
    server { listen 127.0.0.1:{port0}; proxy_pass redis; }
    server {
        listen 127.0.0.1:{port1};
        allow 127.0.1.0/25; deny 127.0.0.0/15; allow 127.128.0.0/9;
        proxy_pass \"{redis}\";
    }
    server { listen 127.0.0.1:{port2}; deny 127.0.1.128/25; proxy_pass redis; }
    server { listen 0.0.0.0:{port3}; allow 127.0.0.1; deny all; allow 127.0.0.2; proxy_pass redis; }";
    nginx(written, &redis, 4).decides_as_its_import("nginx", &SOURCES);
    for seed in 1..=3 {
        let server = |seed, port, tail: &str| {
            let rules = random_rules(seed, 8, |coin, net| {
                format!("        {} {net};\n", if coin % 2 == 0 { "allow" } else { "deny" })
            });
            format!(
                "    server {{\n        listen 127.0.0.1:{{port{port}}};\n{rules}{tail}        proxy_pass {{redis}};\n    }}\n"
            )
        };
        let servers = server(seed * 10, 0, "        deny all;\n") + &server(seed * 10 + 1, 1, "");
        nginx(&servers, &redis, 2).agrees_with_its_import("nginx", &SOURCES);
    }
}

#[test]
fn nginx_decides_the_same_of_ipv6() {
    if !installed("nginx") {
        return;
    }
    let redis = Redis::plain();
    let sources = [&SOURCES[..], &["::1"]].concat();
    let stream = "\
    server { listen [::]:{port0} ipv6only=off; allow ::1; allow 127.0.0.0/24; deny all; proxy_pass {redis}; }
    server { listen {port1}; listen [::]:{port1}; deny ::1; deny 127.0.0.1; allow all; proxy_pass {redis}; }
    server { listen [::]:{port2} ipv6only=off; allow ::/127; deny ::/0; deny 127.0.0.0/25; proxy_pass {redis}; }";
    nginx(stream, &redis, 3).decides_as_its_import("nginx", &sources);
}

fn haproxy(sections: &str, redis: &Redis, count: usize) -> Peer {
    let configuration = format!(
        "global\n    maxconn 100\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1m\n    timeout server 1m\n{sections}"
    );
    start("/usr/sbin/haproxy", &["-db", "-f", "old.conf"], &configuration, redis, count)
}

#[test]
fn haproxy_decides_the_same() {
    if !installed("haproxy") {
        return;
    }
    let redis = Redis::plain();
    let sections = "\
frontend one
    bind 127.0.0.1:{port0}
    acl office src 127.0.0.0/255.255.255.0 127.1.2.3
    acl office src 127.0.1.128/25
    acl abusers src 127.0.0.9 127.0.0.20
    tcp-request connection reject if abusers
    tcp-request connection accept if office
    tcp-request connection reject
    default_backend redis
frontend two
    bind 127.0.0.1:{port1}
    acl low src 127.0.0.0/15
    acl net src 127.0.1.0/24
    tcp-request connection accept if low !net
    tcp-request connection reject unless { src 127.128.0.0/9 } or net { src 127.0.1.1 }
    default_backend checked
backend redis
    server a {redis}
backend checked
    tcp-request content reject if { src 127.0.0.2 127.255.0.0/16 }
    server a {redis} check
listen three
    bind 127.0.0.1:{port2}
    tcp-request connection reject if { src 127.0.0.0/24 } !{ src 127.0.0.1 } or { src 127.200.1.1 }
    server a {redis}
";
    haproxy(sections, &redis, 3).decides_as_its_import("haproxy", &SOURCES);
    for seed in 1..=3 {
        let listen = |seed, port| {
            let rules = random_rules(seed, 8, |coin, net| {
                let action = if coin % 2 == 0 { "accept" } else { "reject" };
                let condition = match coin / 2 % 3 {
                    0 => format!("if {{ src {net} }}"),
                    1 => format!("if {{ src {net} }} !{{ src 127.0.0.0/25 }}"),
                    _ => format!("if {{ src {net} }} or {{ src 127.0.1.1 }}"),
                };
                format!("    tcp-request connection {action} {condition}\n")
            });
            format!("listen l{port}\n    bind 127.0.0.1:{{port{port}}}\n{rules}    server a {{redis}}\n")
        };
        let sections = listen(seed * 10, 0)
            + &listen(seed * 10 + 1, 1)
            + "    tcp-request content reject if { src 127.0.0.10/31 127.128.0.0/9 }\n";
        haproxy(&sections, &redis, 2).agrees_with_its_import("haproxy", &SOURCES);
    }
}

/// HAProxy also compares IPv6 peers with IPv4 entries.
#[test]
fn haproxy_decides_the_same_of_ipv6() {
    if !installed("haproxy") {
        return;
    }
    let redis = Redis::plain();
    let sources = [&SOURCES[..], &["::1"]].concat();
    let sections = "\
listen a
    bind :::{port0} v4v6
    tcp-request connection reject unless { src ::1 127.0.0.0/24 ::ffff:127.1.0.0/112 }
    server a {redis}
listen b
    bind :::{port1}
    tcp-request connection reject if { src 0.0.0.0/8 127.0.0.9 }
    server a {redis}
listen c
    bind :{port2}
    bind :::{port2} v6only
    tcp-request connection accept if { src ::/0 } !{ src 127.0.0.0/25 }
    tcp-request connection reject
    server a {redis}
";
    haproxy(sections, &redis, 3).decides_as_its_import("haproxy", &sources);
}

/// The imported file is valid, and a gate with it admits and refuses clients as `explain` says.
#[test]
fn the_gate_decides_as_explain_says() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .bind("[::]:{port}")
        .allow("[office, \"::1\", 127.200.1.1]")
        .listener("deny: [127.0.0.9]")
        .top("groups: {office: {note: head office, entries: [127.0.0.0/24, {cidr: 127.1.2.3, until: 2020-01-01T00:00:00Z}]}}")
        .start();
    let yaml = gate.directory().join("portcullis.yaml").display().to_string();
    for source in [&SOURCES[..], &["::1"]].concat() {
        let to = if source.contains(':') { "::1" } else { "127.0.0.1" };
        let mut client = gate.connect_from(source, to);
        let explained = run(&["explain", source, "--config", &yaml]);
        let said = text(&explained.stdout);
        if explained.status.code() == Some(0) {
            client.assert_reply("PING", "+PONG");
            assert!(said.starts_with(&format!("public: {source} allowed by ")), "{said}");
        } else {
            assert_eq!(explained.status.code(), Some(1), "{said}");
            assert_eq!(client.read_to_end(), (b"-DENIED source address not allowed\r\n".to_vec(), End::Eof));
            assert!(said.starts_with(&format!("public: {source} refused")), "{said}");
        }
    }
}

#[test]
fn exit_codes_of_explain() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let (good, bad) = (directory.path().join("good.yaml"), directory.path().join("bad.yaml"));
    let listener = |name: &str, port: u16, allow: &str| {
        format!("  - {{name: {name}, bind: 127.0.0.1:{port}, upstream: main, allow: [{allow}]}}\n")
    };
    let listeners = listener("one", 6390, "10.0.0.0/8") + &listener("two", 6391, "10.0.0.1");
    fs::write(&good, format!("listeners:\n{listeners}upstreams: {{main: {{address: 127.0.0.1:6379}}}}\n"))
        .expect("writable");
    fs::write(&bad, "listeners: []\n").expect("writable");
    let (good, bad) = (good.display().to_string(), bad.display().to_string());
    for (arguments, code) in [
        (&["10.0.0.1", "--config", &good][..], 0),
        (&["10.0.0.2", "--config", &good], 1),
        (&["10.0.0.2", "--config", &good, "--listener", "one"], 0),
        (&["::ffff:10.0.0.1", "--config", &good], 0),
        (&["unix", "--config", &good], 1),
        (&["10.0.0.2", "--config", &good, "--listener", "none"], 64),
        (&["10.0.0.0/8", "--config", &good], 64),
        (&["localhost", "--config", &good], 64),
        (&["--config", &good], 64),
        (&["10.0.0.1", "--config", &bad], 78),
        (&["10.0.0.1", "--config", "/nonexistent.yaml"], 78),
    ] {
        let answer = run(&[&["explain"], arguments].concat());
        assert_eq!(answer.status.code(), Some(code), "{arguments:?}: {}", text(&answer.stderr));
        assert_eq!(answer.stdout.is_empty(), code > 1, "{arguments:?}");
    }
    let json = run(&["explain", "10.0.0.2", "--json", "--config", &good]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one JSON object");
    assert_eq!(json["allowed"], false);
    assert_eq!(json["listeners"][0]["rule"]["entry"], "10.0.0.0/8");
    assert_eq!(json["listeners"][1]["reason"], "not_allowed");
}

#[test]
fn exit_codes_of_import() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let file = directory.path().join("rinetd.conf");
    fs::write(&file, "allow 10.*\n0.0.0.0 6379 10.0.0.5 6379\n").expect("writable");
    let file = file.display().to_string();
    for (arguments, code) in [
        (&["rinetd", &file][..], 0),
        (&["nginx", &file], 1),
        (&["apsaradb", &file], 1),
        (&["rinetd", "/nonexistent"], 1),
        (&["iptables", &file], 64),
        (&["rinetd"], 64),
    ] {
        let answer = run(&[&["import"], arguments].concat());
        assert_eq!(answer.status.code(), Some(code), "{arguments:?}: {}", text(&answer.stderr));
        assert_eq!(answer.stdout.is_empty(), code != 0, "{arguments:?}");
    }
    let stdin = Command::new(binary())
        .args(["import", "rinetd", "-"])
        .stdin(fs::File::open(&file).expect("readable"))
        .output()
        .expect("it starts");
    assert_eq!(stdin.status.code(), Some(0));
    assert!(text(&stdin.stdout).contains("- 10.0.0.0/8 "));
}
