//! `portcullis export`, with a real nftables.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::gate::portcullis;
use e2e::namespace::{alone, ip, not_checked};
use e2e::{Client, Gate, Redis, ports};
use socket2::{Domain, Socket, Type};

const WHAT: &str = "whether nftables admits only what the gate admits is";

const YAML: &str = r#"
listeners:
  - {name: public, bind: ["127.0.0.1:{port}", "[::1]:{port}"], upstream: main, allow: [some], deny: [127.0.0.18/31, "fd00::12"],
     auth: trust}
  - {name: balanced, bind: "127.0.0.1:{other}", upstream: main, allow: [127.0.0.0/8], auth: trust,
     proxy_protocol: {from: [127.0.0.50], only: true}}
upstreams: {main: {address: {redis}}}
groups:
  some: [127.0.0.16/29, 127.0.0.33, "fd00::10/125", {cidr: 127.0.0.40, until: 2001-01-01T00:00:00Z},
         {cidr: 127.0.0.41, until: 2099-01-01T00:00:00Z}]
admin: {bind: "127.0.0.1:{admin}"}
"#;

/// Returns whether the kernel lets a connection from `from` through. It drops the others, so they time out.
fn can_connect(from: IpAddr, to: SocketAddr) -> bool {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(from, 0).into()).expect("an address of this namespace");
    match socket.connect_timeout(&to.into(), Duration::from_secs(2)) {
        Ok(()) => true,
        // The gate may reset the connection at once, which shows as an error of the connect.
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Loads rules with `nft`. Returns whether that worked.
fn load_rules(rules: &[u8]) -> bool {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn();
    let Ok(nft) = nft.as_mut() else { return false };
    std::io::Write::write_all(&mut nft.stdin.take().expect("a pipe"), rules).expect("nft reads");
    nft.wait().expect("it was started").success()
}

/// At no address does the kernel admit what the gate refuses, and it admits all that the gate admits.
#[test]
fn nftables_and_the_gate_agree() {
    alone(WHAT, || {
        ip(&["addr", "add", "fd00::1/64", "dev", "lo"]);
        for host in 0xe..0x1a {
            ip(&["addr", "add", &format!("fd00::{host:x}/64"), "dev", "lo", "nodad"]);
        }
        let redis = Redis::plain();
        let other = ports::free().to_string();
        let gate = Gate::before(&redis).config(&YAML.replace("{other}", &other)).start();
        let sources = (14..54).map(|host| IpAddr::from([127, 0, 0, host]));
        let sources = sources.chain((0xe..0x1a).map(|host| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, host])));
        let sources: Vec<IpAddr> = sources.collect();
        let to = |source: &IpAddr, port| match source {
            IpAddr::V4(_) => SocketAddr::from(([127, 0, 0, 1], port)),
            IpAddr::V6(_) => SocketAddr::from(([0_u16, 0, 0, 0, 0, 0, 0, 1], port)),
        };
        let judged: Vec<bool> = sources
            .iter()
            .map(|source| {
                Client::tcp_from(*source, to(source, gate.port())).call("PING").to_string() == "+PONG"
            })
            .collect();
        assert_eq!(judged.iter().filter(|admitted| **admitted).count(), 6 + 1 + 1 + 7);

        let output = portcullis(gate.directory(), ["export", "nftables", "--config", "portcullis.yaml"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if !load_rules(b"table inet probe\n") {
            return not_checked(&format!("nft cannot load rules here; {WHAT}"));
        }
        // Loading them again replaces them.
        assert!(load_rules(&output.stdout) && load_rules(&output.stdout));
        let other: u16 = other.parse().expect("a port");
        let connects = |source: &IpAddr, port| can_connect(*source, to(source, port));
        let port = gate.port();
        std::thread::scope(|scope| {
            for (source, judged) in sources.iter().zip(judged) {
                scope.spawn(move || assert_eq!(connects(source, port), judged, "{source}"));
            }
        });
        let senders: Vec<u8> =
            (48..53).filter(|host| connects(&IpAddr::from([127, 0, 0, *host]), other)).collect();
        assert_eq!(senders, [50]);
    });
}

/// tests/systemd.sh lets a real systemd filter by it.
#[test]
fn a_drop_in_for_the_socket_unit() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let yaml = YAML.replace("{port}", "6380").replace("{other}", "6381").replace("{admin}", "9377");
    let yaml = yaml.replace("{redis}", "\"127.0.0.1:6379\"");
    std::fs::write(directory.path().join("portcullis.yaml"), yaml).expect("writable");
    let output = portcullis(directory.path(), ["export", "systemd", "--listener", "balanced"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("[Socket]\nIPAddressAllow=\nIPAddressDeny=any\n"), "{text}");
    assert!(text.ends_with("# listener balanced\nIPAddressAllow=127.0.0.50/32\n"), "{text}");
}

#[test]
fn an_unknown_listener_is_named() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    std::fs::write(directory.path().join("portcullis.yaml"), super::CONFIG).expect("writable");
    let output = portcullis(directory.path(), ["export", "security-group", "--listener", "publik"]);
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("'publik'") && told.contains("did you mean 'public'?"), "{told}");
}
