//! Certificates that are trusted directly, by `ca` or `client_ca` with a file that contains them, or by `pin`. The
//! openssl command makes them, as operators do.

use e2e::Openssl;
use rustls::SupportedProtocolVersion;

use super::*;

const SELF: &[&str] = &["-subj", "/CN=redis", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];

/// Starts a Redis that presents a certificate, and a proxy that is configured by `tls` to trust it.
fn before(shown: &Pair, along: &str, tls: &str, files: &[(&str, &str)]) -> (Redis, Gate) {
    let redis = Redis::builder().tls(shown, along).start();
    let mut gate = Gate::before(&redis).upstream(&format!("tls: {{{tls}}}")).upstream("connect_timeout: 2s");
    for (name, content) in files {
        gate = gate.file(name, content);
    }
    let gate = gate.start();
    (redis, gate)
}

#[track_caller]
fn assert_up(gate: &Gate) {
    eventually("the upstream is up", || (gate.get("/ready").0 == 200).then_some(()));
    gate.connect().assert_reply("PING", "+PONG");
}

#[track_caller]
fn assert_refused(gate: &Gate, log: &str) {
    gate.assert_log(log);
    let mut client = gate.connect();
    client.send("PING");
    client.assert_recv("-ERR portcullis: upstream 'main' unavailable (tls)");
}

#[test]
fn an_upstream_with_a_certificate_of_openssl() {
    let own = Openssl::new().make(SELF);
    let redis = Redis::builder().tls(&own, "").start();
    for tls in [
        "ca: own.pem".to_owned(),
        format!("pin: {}", own.fingerprint()),
        format!("pin: \"{}\"", own.fingerprint().to_lowercase().replacen("sha256:", "SHA256:", 1)),
        format!("pin: sha256:{}", own.fingerprint()[7..].replace(':', "").to_lowercase()),
    ] {
        let gate =
            Gate::before(&redis).upstream(&format!("tls: {{{tls}}}")).file("own.pem", &own.cert).start();
        assert_up(&gate);
    }
}

#[test]
fn both_versions_of_tls() {
    let own = Openssl::new().make(SELF);
    for version in ["TLSv1.2", "TLSv1.3"] {
        let redis = Redis::builder().tls(&own, "").line(&format!("tls-protocols {version}")).start();
        for tls in ["ca: own.pem".to_owned(), format!("pin: {}", own.fingerprint())] {
            let gate = Gate::before(&redis).upstream(&format!("tls: {{{tls}}}")).file("own.pem", &own.cert);
            assert_up(&gate.start());
        }
    }
}

/// Only the names in `subjectAltName` count. If there is none and `server_name` is set, the common name counts.
#[test]
fn the_name_of_an_upstream() {
    let openssl = Openssl::new();
    let nameless = openssl.make(&["-subj", "/CN=redis.internal"]);
    let differs =
        openssl.make(&["-subj", "/CN=redis.internal", "-addext", "subjectAltName=DNS:other.internal"]);
    let (_redis, gate) = before(&nameless, "", "ca: own.pem", &[("own.pem", &nameless.cert)]);
    assert_refused(&gate, "or set upstreams.main.tls.server_name to its common name");
    let named = "ca: own.pem, server_name: redis.internal";
    let (_redis, gate) = before(&nameless, "", named, &[("own.pem", &nameless.cert)]);
    assert_up(&gate);
    let (_redis, gate) = before(&differs, "", named, &[("own.pem", &differs.cert)]);
    assert_refused(&gate, "its certificate is not for redis.internal but for other.internal");
    let (_redis, gate) = before(&differs, "", &format!("pin: {}", differs.fingerprint()), &[]);
    assert_up(&gate);
}

/// A certificate with CA:TRUE could sign other certificates. The proxy does not trust those, with or without the signer
/// in the chain.
#[test]
fn an_upstreams_certificate_signs_nothing() {
    let openssl = Openssl::new();
    let own = openssl.make(SELF);
    let signed = openssl.sign(&own, SELF);
    for along in ["", &own.cert] {
        let (_redis, gate) = before(&signed, along, "ca: own.pem", &[("own.pem", &own.cert)]);
        assert_refused(&gate, "its certificate is from an unknown issuer");
        let (_redis, gate) = before(&signed, along, &format!("pin: {}", own.fingerprint()), &[]);
        assert_refused(
            &gate,
            &format!(
                "its fingerprint is {}",
                signed.fingerprint().to_lowercase().replace(':', "").replacen("sha256", "sha256:", 1)
            ),
        );
    }
    // The server may send other certificates along with the trusted one.
    let (_redis, gate) = before(&own, &signed.cert, "ca: own.pem", &[("own.pem", &own.cert)]);
    assert_up(&gate);
}

#[test]
fn dates_and_usages_of_an_upstream() {
    let openssl = Openssl::new();
    let usage = |usage: &str| openssl.make(&[SELF, &["-addext", usage]].concat());
    let rows = [
        (Leaf::server(&["localhost"]).expired().alone(), "its certificate has expired"),
        (Leaf::server(&["localhost"]).not_yet().alone(), "its certificate is not valid yet"),
        (usage("keyUsage=critical,keyEncipherment,keyCertSign"), "its certificate does not allow signatures"),
        (usage("extendedKeyUsage=clientAuth"), "its certificate is for another purpose"),
    ];
    for (shown, log) in &rows {
        for tls in ["ca: own.pem".to_owned(), format!("pin: {}", shown.fingerprint())] {
            let (_redis, gate) = before(shown, "", &tls, &[("own.pem", &shown.cert)]);
            assert_refused(&gate, log);
        }
    }
}

/// The next certificate is pinned before the server presents it, so no connection fails in between.
#[test]
fn pins_are_rotated_by_a_reload() {
    let openssl = Openssl::new();
    let old = openssl.make(SELF);
    // Another certificate with the same key has another pin.
    let new = openssl.again(&old, SELF);
    let (redis, gate) = before(&new, "", &format!("pin: {}", old.fingerprint()), &[]);
    assert_refused(&gate, "its certificate matches no pin");
    let path = gate.directory().join("portcullis.yaml");
    let text = std::fs::read_to_string(&path).expect("readable");
    let both = format!("[{}, {}]", old.fingerprint(), new.fingerprint());
    std::fs::write(&path, text.replace(&old.fingerprint(), &both)).expect("writable");
    gate.signal(Signal::HUP);
    assert_up(&gate);
    drop(redis);
}

fn for_clients(redis: &Redis, servers: &Authority, tls: &str, files: &[(&str, &str)]) -> Gate {
    let mut gate = Gate::before(redis).tls(&servers.server(), tls).top("log: {level: debug}");
    for (name, content) in files {
        gate = gate.file(name, content);
    }
    gate.start()
}

fn served(
    gate: &Gate,
    servers: &Authority,
    own: Option<&Pair>,
    version: &'static SupportedProtocolVersion,
) -> bool {
    is_served(gate, &servers.client_with(own, &[version]))
}

#[test]
fn a_client_with_a_certificate_of_openssl() {
    let (redis, servers, openssl) = (Redis::plain(), Authority::new("ca"), Openssl::new());
    let alice = openssl.make(&["-subj", "/CN=alice"]);
    let mallory = openssl.make(&["-subj", "/CN=alice"]);
    let mine = openssl.again(&alice, &["-subj", "/CN=alice"]);
    let signed = openssl.sign(&alice, &["-subj", "/CN=bob"]);
    let pinned = format!(", pin: {}", alice.fingerprint());
    for (tls, signs) in [(", client_ca: alice.pem".to_owned(), true), (pinned, false)] {
        let gate = for_clients(&redis, &servers, &tls, &[("alice.pem", &alice.cert)]);
        for version in [&TLS12, &TLS13] {
            assert!(served(&gate, &servers, Some(&alice), version), "{tls}");
            assert!(!served(&gate, &servers, Some(&mallory), version), "{tls}: the same name");
            assert!(!served(&gate, &servers, Some(&mine), version), "{tls}: the same key");
            assert!(!served(&gate, &servers, None, version), "{tls}: none");
            // A certificate with CA:TRUE and without a host name may belong to a CA. It may issue certificates, unless
            // it is pinned.
            assert_eq!(served(&gate, &servers, Some(&signed), version), signs, "{tls}: signed by it");
        }
        gate.assert_log("name=alice");
    }
}

#[test]
fn redis_cli_with_a_certificate_of_its_own() {
    let (redis, servers, openssl) = (Redis::plain(), Authority::new("ca"), Openssl::new());
    let alice = openssl.make(&["-subj", "/CN=alice"]);
    let files = [("ca.pem", &*servers.pem()), ("alice.pem", &*alice.cert), ("alice.key", &*alice.key)];
    let gate = for_clients(&redis, &servers, ", client_ca: alice.pem", &files);
    let port = gate.port().to_string();
    let arguments = ["-h", "localhost", "-p", &port, "--tls", "--cacert", "ca.pem", "--cert", "alice.pem"];
    let output = Command::new("redis-cli")
        .args(arguments)
        .args(["--key", "alice.key", "PING"])
        .current_dir(gate.directory())
        .output();
    assert_eq!(String::from_utf8_lossy(&output.expect("redis-cli is installed").stdout), "PONG\n");
}

#[test]
fn dates_and_usages_of_a_client() {
    let (redis, servers, openssl) = (Redis::plain(), Authority::new("ca"), Openssl::new());
    let usage = |usage: &str| openssl.make(&["-subj", "/CN=x", "-addext", usage]);
    let rows = [
        (Leaf::client("late").expired().alone(), "its certificate has expired"),
        (Leaf::client("early").not_yet().alone(), "its certificate is not valid yet"),
        (usage("keyUsage=critical,keyEncipherment,keyCertSign"), "its certificate does not allow signatures"),
        (usage("extendedKeyUsage=serverAuth"), "its certificate is for another purpose"),
    ];
    for (own, log) in &rows {
        for tls in [", client_ca: own.pem".to_owned(), format!(", pin: {}", own.fingerprint())] {
            let gate = for_clients(&redis, &servers, &tls, &[("own.pem", &own.cert)]);
            for version in [&TLS12, &TLS13] {
                assert!(!served(&gate, &servers, Some(own), version), "{tls}: {log}");
            }
            gate.assert_log(log);
        }
    }
}

/// A pinned certificate names a user as a certificate of a CA does. Its holder cannot name another user.
#[test]
fn a_pinned_certificate_names_its_user() {
    let (redis, servers, openssl) = (Redis::plain(), Authority::new("ca"), Openssl::new());
    let alice = openssl.make(&["-subj", "/CN=alice"]);
    let bob = openssl.sign(&alice, &["-subj", "/CN=bob"]);
    let tls = format!(", pin: [{}], client_auth: optional, user_from: cn", alice.fingerprint());
    let gate = Gate::before(&redis)
        .file("password", "a password of some length")
        .tls(&servers.server(), &tls)
        .listener("auth: users")
        .listener("users: [alice, bob]")
        .top("users: {alice: {password: {file: password}}, bob: {password: {file: password}}}")
        .start();
    connect(&gate, &servers.client_as(&alice)).assert_reply("PING", "+PONG");
    connect(&gate, &servers.client()).assert_reply("PING", "-NOAUTH Authentication required.");
    assert!(!is_served(&gate, &servers.client_as(&bob)));
}
