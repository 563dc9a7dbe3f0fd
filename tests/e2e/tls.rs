//! TLS to clients and to Redis: admission, errors, logs and metrics.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::client::{End, command};
use e2e::{Authority, Client, Gate, GateBuilder, Leaf, Pair, Redis, eventually};
use rustix::process::Signal;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};

mod places;
mod trusted;

const PASSWORD: &str = "canary-tls-90d2";

fn gate(redis: &Redis, ca: &Authority) -> GateBuilder {
    Gate::before(redis).tls(&ca.server(), "")
}

fn connect(gate: &Gate, config: &Arc<ClientConfig>) -> Client {
    Client::tls(gate.address(), config, "localhost")
}

/// Returns whether a client gets an answer. In TLS 1.3 the client learns only after the handshake that the server
/// refuses its certificate.
fn is_served(gate: &Gate, config: &Arc<ClientConfig>) -> bool {
    let Ok(mut client) = Client::try_tls(gate.address(), config, "localhost") else { return false };
    let mut answer = Vec::new();
    client.try_send_raw(&command("PING")).is_ok()
        && client.read_up_to(7, &mut answer)
        && answer == b"+PONG\r\n"
}

#[track_caller]
fn assert_refused(gate: &Gate, handshakes: f64) {
    gate.assert_metric("connections_refused_total", &[("listener", "public"), ("reason", "tls")], handshakes);
}

#[test]
fn both_versions_and_large_values() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = gate(&redis, &ca).start();
    let value = vec![b'v'; 1 << 20];
    for version in [&TLS12, &TLS13] {
        let mut client = connect(&gate, &ca.client_with(None, &[version]));
        client.send_args(&[b"SET", b"big", &value]);
        client.assert_recv("+OK");
        for _ in 0..20 {
            client.send("GET big");
        }
        for _ in 0..20 {
            client.assert_recv_raw(b"$1048576\r\n");
            client.assert_recv_raw(&value);
            client.assert_recv_raw(b"\r\n");
        }
        client.assert_in_step("still");
        client.send("QUIT");
        client.assert_recv("+OK");
        assert_eq!(client.assert_closed(), End::Eof, "the proxy sends close_notify");
    }
    assert_refused(&gate, 0.0);
}

#[test]
fn redis_cli() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = gate(&redis, &ca).file("ca.pem", &ca.pem()).start();
    let port = gate.port().to_string();
    let arguments = ["-h", "localhost", "-p", &port, "--tls", "--cacert", "ca.pem", "SET", "a", "b"];
    let output = Command::new("redis-cli").args(arguments).current_dir(gate.directory()).output();
    let output = output.expect("redis-cli is installed");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "OK\n");
    redis.control().assert_reply("GET a", "\"b\"");
}

#[test]
fn the_redis_crate() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = gate(&redis, &ca).start();
    let url = format!("rediss://localhost:{}", gate.port());
    let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(ca.pem().into_bytes()) };
    let mut connection = redis::Client::build_with_tls(url, certificates)
        .and_then(|client| client.get_connection())
        .expect("a connection with TLS");
    let mut pipe = redis::pipe();
    for i in 0..1000 {
        pipe.cmd("SET").arg(format!("k{i}")).arg(i).ignore();
    }
    pipe.cmd("GET").arg("k999");
    let (last,): (u32,) = pipe.query(&mut connection).expect("replies");
    assert_eq!(last, 999);
}

/// A source that the list does not allow cannot learn that there is TLS.
#[test]
fn the_list_comes_first() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = gate(&redis, &ca).start();
    let mut stranger = gate.connect_from("127.0.0.2", "127.0.0.1");
    let (rest, _) = stranger.read_to_end();
    assert!(rest.is_empty(), "{rest:?}");
    gate.assert_metric("connections_refused_total", &[("reason", "not_allowed")], 1.0);
    assert_refused(&gate, 0.0);
}

#[test]
fn clients_with_the_wrong_protocol() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let secure = gate(&redis, &ca).start();
    let mut plain = secure.connect();
    plain.send("PING");
    let (rest, _) = plain.read_to_end();
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    secure.assert_log("it sent plain text instead of TLS; connect with TLS (rediss://");
    assert_refused(&secure, 1.0);

    let open = Gate::before(&redis).start();
    for _ in 0..20 {
        assert!(Client::try_tls(open.address(), &ca.client(), "localhost").is_err());
    }
    open.assert_log("client sent TLS to a listener without tls; connect without TLS (redis://)");
    let told = open.stderr().lines().filter(|line| line.contains("speaks TLS")).count();
    assert!(told <= 10, "{told} lines for 20 clients");
}

struct Clients {
    ca: Authority,
    good: Pair,
    bad: Vec<(&'static str, Pair)>,
}

impl Clients {
    fn new() -> Self {
        let ca = Authority::new("clients");
        let bad = vec![
            ("its certificate has expired", ca.issue(Leaf::client("late").expired())),
            ("its certificate is for another purpose", ca.issue(Leaf::server(&["wrong"]))),
            ("its certificate is revoked", ca.issue(Leaf::client("revoked").serial(666))),
            ("its certificate is from an unknown issuer", Authority::new("others").issue(Leaf::client("x"))),
        ];
        Self { good: ca.issue(Leaf::client("alice").serial(1)), bad, ca }
    }

    fn gate(&self, redis: &Redis, servers: &Authority, auth: &str) -> Gate {
        Gate::before(redis)
            .file("clients.pem", &self.ca.pem())
            .file("revoked.pem", &self.ca.revocation_list(&[666], 2099))
            .tls(
                &servers.server(),
                &format!(", client_ca: clients.pem, client_crl: revoked.pem, client_auth: {auth}"),
            )
            .top("log: {level: debug}")
            .start()
    }
}

#[test]
fn client_certificates_required() {
    let (redis, servers, clients) = (Redis::plain(), Authority::new("ca"), Clients::new());
    let gate = clients.gate(&redis, &servers, "required");
    for version in [&TLS12, &TLS13] {
        assert!(is_served(&gate, &servers.client_with(Some(&clients.good), &[version])));
        assert!(!is_served(&gate, &servers.client_with(None, &[version])), "none");
    }
    gate.assert_log("name=alice");
    let mut count = 2.0;
    assert_refused(&gate, count);
    for (why, pair) in &clients.bad {
        // Log lines of the same kind are one second apart.
        std::thread::sleep(Duration::from_millis(1100));
        assert!(!is_served(&gate, &servers.client_as(pair)), "{why}");
        gate.assert_log(why);
        count += 1.0;
        assert_refused(&gate, count);
    }
}

#[test]
fn client_certificates_optional() {
    let (redis, servers, clients) = (Redis::plain(), Authority::new("ca"), Clients::new());
    let gate = clients.gate(&redis, &servers, "optional");
    assert!(is_served(&gate, &servers.client()));
    assert!(is_served(&gate, &servers.client_as(&clients.good)));
    for (why, pair) in &clients.bad {
        assert!(!is_served(&gate, &servers.client_as(pair)), "{why}");
    }
}

/// `user_from`: a certificate has the same effect as the password of the user that it names, and no other effect.
#[test]
fn a_certificate_names_its_user() {
    let (redis, servers, clients) = (Redis::plain(), Authority::new("ca"), Authority::new("clients"));
    let mut gate = Gate::before(&redis)
        .file("clients.pem", &clients.pem())
        .file("alice", "a password of some length")
        .tls(&servers.server(), ", client_ca: clients.pem, client_auth: optional, user_from: cn")
        .listener("auth: users")
        .listener("users: [alice]")
        .top("users: {alice: {password: {file: alice}, acl: \"+@all -flushall\"}}")
        .start();
    let alice = servers.client_as(&clients.issue(Leaf::client("alice")));
    let mut known = connect(&gate, &alice);
    known.assert_reply("PING", "+PONG");
    known.assert_reply("FLUSHALL", "-NOPERM User alice has no permissions to run the 'flushall' command");
    known.assert_reply("RESET", "+RESET");
    known.assert_reply("PING", "+PONG");
    for config in [&servers.client_as(&clients.issue(Leaf::client("bob"))), &servers.client()] {
        let mut other = connect(&gate, config);
        other.assert_reply("PING", "-NOAUTH Authentication required.");
        other.assert_reply(
            "AUTH alice nonsense",
            "-WRONGPASS invalid username-password pair or user is disabled.",
        );
    }
    let config = gate.directory().join("portcullis.yaml");
    let text = std::fs::read_to_string(&config).expect("readable");
    let text =
        text.replace("users: [alice]", "users: [carol]").replace("{alice: {password", "{carol: {password");
    std::fs::write(&config, text).expect("writable");
    gate.process().signal(Signal::HUP);
    known.assert_closed();
}

/// An expired revocation list does not prove that a certificate is valid, so the proxy refuses all certificates.
#[test]
fn an_expired_revocation_list_refuses() {
    let (redis, servers, clients) = (Redis::plain(), Authority::new("ca"), Clients::new());
    let gate = Gate::before(&redis)
        .file("clients.pem", &clients.ca.pem())
        .file("revoked.pem", &clients.ca.revocation_list(&[666], 2021))
        .tls(&servers.server(), ", client_ca: clients.pem, client_crl: revoked.pem")
        .start();
    assert!(!is_served(&gate, &servers.client_as(&clients.good)));
    gate.assert_log("has expired");
}

#[test]
fn the_name_chooses_the_certificate() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let mut builder = Gate::before(&redis);
    let mut list = Vec::new();
    for (index, name) in ["a.example", "*.b.example"].iter().enumerate() {
        let pair = ca.issue(Leaf::server(&[name]));
        builder = builder.file(&format!("{index}.pem"), &pair.cert).file(&format!("{index}.key"), &pair.key);
        list.push(format!("{{cert: {index}.pem, key: {index}.key}}"));
    }
    let gate = builder.tls(&ca.server(), &format!(", certificates: [{}]", list.join(", "))).start();
    for (asked, named) in
        [("localhost", "localhost"), ("A.example", "a.example"), ("x.b.example", "*.b.example")]
    {
        let client = Client::tls(gate.address(), &ca.client(), asked);
        let shown = client.server_certificate();
        let holds = |name: &str| shown.windows(name.len()).any(|part| part == name.as_bytes());
        assert!(holds(named), "{asked}: not the certificate of {named}");
    }
    // No certificate has this name, so the proxy presents the first one, and the client refuses it.
    assert!(Client::try_tls(gate.address(), &ca.client(), "y.x.b.example").is_err());
}

/// Garbage, incomplete handshakes and silence: the proxy closes each of these connections, and serves other clients
/// meanwhile.
#[test]
fn broken_handshakes() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = gate(&redis, &ca).top("limits: {timeouts: {tls: 500ms}}").start();
    let hello = hello(&gate, &ca.client());
    let goodbye = [0x15, 3, 3, 0, 2, 1, 0];
    let mut garbled = hello.clone();
    garbled[40..].iter_mut().for_each(|byte| *byte ^= 0x5a);
    let rows: [(&str, Vec<u8>); 8] = [
        ("nothing", Vec::new()),
        ("a byte", vec![0x16]),
        ("half a hello", hello[..hello.len() / 2].to_vec()),
        ("a hello and no more", hello.clone()),
        ("a garbled hello", garbled),
        ("a record too long", vec![0x16, 3, 1, 0xff, 0xff, 1, 2, 3]),
        ("a goodbye after the hello", [&hello[..], &goodbye[..]].concat()),
        ("plain text after the hello", [&hello[..], &command("PING")[..]].concat()),
    ];
    for (what, bytes) in &rows {
        let mut socket = TcpStream::connect(gate.address()).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        socket.write_all(bytes).expect("room");
        let started = Instant::now();
        let mut rest = Vec::new();
        // A reset also counts as a close.
        let _ = socket.read_to_end(&mut rest);
        assert!(started.elapsed() < Duration::from_secs(5), "{what}: {:?}", started.elapsed());
        assert!(!rest.windows(5).any(|part| part == b"+PONG"), "{what}: answered");
        assert!(is_served(&gate, &ca.client()), "after {what}");
    }
    assert_refused(&gate, rows.len() as f64);
    // A disconnect before the first byte does not count.
    let socket = TcpStream::connect(gate.address()).expect("it listens");
    socket.shutdown(Shutdown::Both).expect("connected");
    eventually("the client has disconnected", || {
        (gate.metric("connections_closed_total", &[("reason", "client")]) >= 9.0).then_some(())
    });
    assert_refused(&gate, rows.len() as f64);
}

/// Returns the first bytes that a client sends in a handshake.
fn hello(gate: &Gate, config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut session = rustls::ClientConnection::new(Arc::clone(config), name).expect("a config");
    let mut hello = Vec::new();
    session.write_tls(&mut hello).expect("written to memory");
    assert!(gate.port() > 0 && hello.len() > 100);
    hello
}

#[test]
fn new_keys_and_too_many_of_them() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = gate(&redis, &ca).start();
    let config = ca.client_with(None, &[&TLS13]);
    let mut client = connect(&gate, &config);
    for i in 0..100 {
        client.update_keys();
        client.assert_in_step(&i.to_string());
    }
    let mut flood = connect(&gate, &config);
    for _ in 0..1000 {
        flood.update_keys();
    }
    let (rest, _) = flood.read_to_end();
    assert!(rest.is_empty(), "{rest:?}");
    client.assert_in_step("and others are served");
}

/// Idle clients with TLS hold no buffers.
#[test]
fn idle_clients_cost_little() {
    const CLIENTS: usize = 300;
    /// The limit in bytes for one client. Measured: 7.2 KiB with the upstream connection, of which keys and tables of
    /// rustls and aws-lc use about 5 KiB.
    const EACH: u64 = 16 << 10;
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let mut gate = gate(&redis, &ca).start();
    let config = ca.client();
    let assert_reply = |gate: &Gate| {
        let mut client = connect(gate, &config);
        client.assert_reply("PING", "+PONG");
        client
    };
    let _warm: Vec<_> = (0..50).map(|_| assert_reply(&gate)).collect();
    let before = gate.process().memory();
    let _clients: Vec<_> = (0..CLIENTS).map(|_| assert_reply(&gate)).collect();
    eventually("no buffer is held", || (gate.metric("buffers_bytes", &[]) == 0.0).then_some(()));
    let each = gate.process().memory().saturating_sub(before) / CLIENTS as u64;
    assert!(each < EACH, "{each} bytes for an idle client");
}

/// A renewed certificate applies to new connections. Existing clients stay.
#[test]
fn a_renewed_certificate() {
    let (redis, ca, next) = (Redis::plain(), Authority::new("ca"), Authority::new("next"));
    let mut gate = gate(&redis, &ca).start();
    let mut old = connect(&gate, &ca.client());
    old.assert_reply("PING", "+PONG");
    let renewed = next.server();
    let write = |name: &str, text: &str| {
        std::fs::write(gate.directory().join(name), text).expect("writable");
    };
    write("server.pem", &renewed.cert);
    write("server.key", &renewed.key);
    gate.process().signal(Signal::HUP);
    eventually("the proxy presents the new certificate", || is_served(&gate, &next.client()).then_some(()));
    assert!(!is_served(&gate, &ca.client()));
    old.assert_in_step("old");
}

/// All failures of TLS to an upstream: the error that the client gets, and the log line for the operator.
mod upstream {
    use super::*;

    #[track_caller]
    fn assert_fails(redis: &Redis, ca: &str, tls: &str, log: &str) {
        let gate = Gate::before(redis)
            .file("ca.pem", ca)
            .upstream(&format!("tls: {{ca: ca.pem{tls}}}"))
            .upstream("connect_timeout: 1s")
            .start();
        eventually("the upstream is down", || (gate.get("/ready").0 == 503).then_some(()));
        let mut client = gate.connect();
        client.send("SET never 1");
        client.assert_recv("-ERR portcullis: upstream 'main' unavailable (tls)");
        client.assert_closed();
        gate.assert_log(log);
        let kind = [("upstream", "main"), ("kind", "tls")];
        eventually("the event is counted", || {
            (gate.metric("upstream_errors_total", &kind) >= 1.0).then_some(())
        });
    }

    fn tls(pair: &Pair, ca: &Authority, more: &[&str]) -> Redis {
        let mut builder = Redis::builder().tls(pair, &ca.pem());
        for line in more {
            builder = builder.line(line);
        }
        builder.start()
    }

    #[test]
    fn another_name() {
        let ca = Authority::new("ca");
        let redis = tls(&ca.server(), &ca, &[]);
        let log = "its certificate is not for redis.internal but for localhost";
        assert_fails(&redis, &ca.pem(), ", server_name: redis.internal", log);
    }

    #[test]
    fn an_unknown_ca() {
        let ca = Authority::new("ca");
        let redis = tls(&ca.server(), &ca, &[]);
        assert_fails(&redis, &Authority::new("other").pem(), "", "set upstreams.main.tls.ca to the CA");
    }

    #[test]
    fn expired() {
        let ca = Authority::new("ca");
        let redis = tls(&ca.issue(Leaf::server(&["localhost"]).expired()), &ca, &[]);
        assert_fails(&redis, &ca.pem(), "", "its certificate has expired; renew the server's certificate");
    }

    #[test]
    fn plain_text() {
        let ca = Authority::new("ca");
        assert_fails(
            &Redis::plain(),
            &ca.pem(),
            "",
            "it sent plain text instead of TLS; remove upstreams.main.tls",
        );
    }

    #[test]
    fn a_client_certificate_is_wanted() {
        let ca = Authority::new("ca");
        for version in ["tls-protocols TLSv1.2", "tls-protocols TLSv1.3"] {
            let redis = tls(&ca.server(), &ca, &["tls-auth-clients yes", version]);
            assert_fails(&redis, &ca.pem(), "", "set upstreams.main.tls.cert and upstreams.main.tls.key");
        }
    }

    #[test]
    fn an_old_version() {
        let ca = Authority::new("ca");
        let redis = tls(&ca.server(), &ca, &["tls-protocols TLSv1.1", "tls-ciphers DEFAULT@SECLEVEL=0"]);
        assert_fails(&redis, &ca.pem(), "", "TLS 1.2 or 1.3");
    }

    /// If a server hangs, the error does not say that the server has no TLS.
    #[test]
    fn silence_is_a_timeout() {
        let ca = Authority::new("ca");
        let redis = tls(&ca.server(), &ca, &[]);
        redis.signal(Signal::STOP);
        let gate = Gate::before(&redis)
            .file("ca.pem", &ca.pem())
            .upstream("tls: {ca: ca.pem}")
            .upstream("connect_timeout: 500ms")
            .start();
        let mut client = gate.connect();
        client.send("PING");
        client.assert_recv("-ERR portcullis: upstream 'main' unavailable (timeout)");
        redis.signal(Signal::CONT);
        eventually("the upstream is up again", || (gate.get("/ready").0 == 200).then_some(()));
    }

    #[test]
    fn with_a_client_certificate_and_a_password() {
        let ca = Authority::new("ca");
        let redis = Redis::builder()
            .password(PASSWORD)
            .tls(&ca.server(), &ca.pem())
            .line("tls-auth-clients yes")
            .start();
        let own = ca.issue(Leaf::client("gate"));
        let gate = Gate::before(&redis)
            .listener("auth: trust")
            .password(PASSWORD)
            .file("ca.pem", &ca.pem())
            .file("own.pem", &own.cert)
            .file("own.key", &own.key)
            .upstream("tls: {ca: ca.pem, cert: own.pem, key: own.key}")
            .start();
        eventually("the upstream is up", || (gate.get("/ready").0 == 200).then_some(()));
        let mut client = gate.connect();
        client.assert_reply("SET k v", "+OK");
        client.assert_reply("GET k", "\"v\"");
    }
}
