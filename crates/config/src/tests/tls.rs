//! The files of `tls`: each fault has its place, says what is wrong and what to do.

use std::os::unix::fs::PermissionsExt;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::*;

const SECRET: &str = "-----BEGIN PRIVATE KEY-----\nCANARYCANARY!\n-----END PRIVATE KEY-----\n";

fn pair(until: (i32, u8, u8), purpose: ExtendedKeyUsagePurpose) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A certificate as `openssl req -x509` makes it: CA:TRUE.
fn openssl(
    common_name: &str,
    names: &[&str],
    usages: &[KeyUsagePurpose],
    purposes: &[ExtendedKeyUsagePurpose],
) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = usages.to_vec();
    params.extended_key_usages = purposes.to_vec();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// With the listener's `tls` in line 3 and the upstream's in line 7.
fn files(listener: &str, upstream: &str) -> Files {
    let (cert, key) = pair((2099, 1, 1), ExtendedKeyUsagePurpose::ServerAuth);
    let other = pair((2099, 1, 1), ExtendedKeyUsagePurpose::ServerAuth);
    let old = pair((2021, 1, 1), ExtendedKeyUsagePurpose::ServerAuth);
    let soon = pair((2026, 11, 30), ExtendedKeyUsagePurpose::ServerAuth);
    let client = pair((2099, 1, 1), ExtendedKeyUsagePurpose::ClientAuth);
    let address = if upstream.contains("unix") { "\"unix:redis.sock\"" } else { "redis.internal:6379" };
    let yaml = format!(
        "listeners:\n  - {{name: a, bind: \"127.0.0.1:1\", upstream: main, allow: [10.0.0.1],\n     tls: {listener}}}\n\
         upstreams:\n  main:\n    address: {address}\n    tls: {}\n",
        upstream.replace("unix", "")
    );
    let mut files = Files::new().with("portcullis.yaml", yaml).with("both.pem", format!("{key}{cert}"));
    for (name, (cert, key)) in
        [("own", (cert, key)), ("other", other), ("old", old), ("soon", soon), ("client", client)]
    {
        files = files.with(&format!("{name}.pem"), cert).with(&format!("{name}.key"), key);
    }
    for (name, pem) in [
        ("ca", openssl("Example CA", &[], &[KeyUsagePurpose::KeyCertSign], &[])),
        ("plainca", openssl("Example CA", &[], &[], &[])),
        ("redis", openssl("x", &["redis.internal"], &[], &[])),
        ("elsewhere", openssl("redis.internal", &["elsewhere"], &[], &[])),
        ("nameless", openssl("redis.internal", &[], &[], &[])),
        ("encrypts", openssl("x", &["redis.internal"], &[KeyUsagePurpose::KeyEncipherment], &[])),
        ("servers", openssl("x", &["redis.internal"], &[], &[ExtendedKeyUsagePurpose::ServerAuth])),
        ("clients", openssl("x", &["redis.internal"], &[], &[ExtendedKeyUsagePurpose::ClientAuth])),
    ] {
        files = files.with(&format!("{name}.pem"), pem);
    }
    let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    files = files.with("sealed.key", sealed).with("broken.key", SECRET).with("der.pem", b"\x30\x82\x01\x0a");
    files = files.with("empty.pem", "").with("torn.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    for file in files.0.path().read_dir().unwrap() {
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(file.unwrap().path(), mode).unwrap();
    }
    files
}

/// `line: message` of each problem, with the files by their names alone.
fn told(files: &Files) -> Vec<String> {
    let problems = files.load().map_or_else(|problems| problems, |loaded| loaded.warnings);
    let directory = format!("{}/", files.0.path().display());
    let tell = |problem: &Problem| {
        let text = format!("{} {}: {}", problem.severity(), problem.line(), problem.message());
        assert!(problem.hint().is_some_and(|hint| !hint.is_empty()), "{text}: no hint");
        let all = format!("{text} {problem}");
        assert!(!all.contains("CANARY"), "{all}");
        text.replace(&directory, "")
    };
    problems.iter().map(tell).collect()
}

const GOOD: &str = "{cert: own.pem, key: own.key}";
const CA: &str = "{ca: ca.pem}";

#[test]
fn good_ones() {
    for listener in [
        GOOD,
        "{cert: both.pem, key: both.pem}",
        "{certificates: [{cert: own.pem, key: own.key}, {cert: other.pem, key: other.key}]}",
        "{cert: own.pem, key: own.key, client_ca: ca.pem}",
        "{cert: own.pem, key: own.key, client_ca: ca.pem, client_auth: optional}",
    ] {
        let files =
            files(listener, "{ca: ca.pem, cert: client.pem, key: client.key, server_name: x.example}");
        assert_eq!(told(&files), Vec::<String>::new(), "{listener}");
        let config = files.config();
        assert!(config.listeners()[0].tls().is_some() && config.upstreams()[0].tls().is_some());
        assert_eq!(config.listeners()[0].refusal(), Refusal::Close, "a line would be a broken handshake");
        let shown = format!("{config:?}");
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }
}

/// Settings of a listener, and the problems that each has.
const BAD_LISTENERS: &[(&str, &str)] = &[
    ("{}", "error 3: tls has no certificate"),
    ("{cert: own.pem}", "error 3: 'cert' without 'key'"),
    ("{key: own.key}", "error 3: 'key' without 'cert'"),
    (
        "{cert: none.pem, key: own.key}",
        "error 3: cannot read the certificate from none.pem: no such file or directory",
    ),
    (
        "{cert: own.pem, key: none.key}",
        "error 3: cannot read the private key from none.key: no such file or directory",
    ),
    (
        "{cert: own.key, key: own.pem}",
        "error 3: no certificate in own.key; error 3: no private key in own.pem",
    ),
    ("{cert: der.pem, key: own.key}", "error 3: no certificate in der.pem"),
    ("{cert: empty.pem, key: own.key}", "error 3: no certificate in empty.pem"),
    ("{cert: torn.pem, key: own.key}", "error 3: torn.pem is damaged: a PEM section in it is broken"),
    ("{cert: own.pem, key: sealed.key}", "error 3: the private key in sealed.key is encrypted"),
    ("{cert: own.pem, key: broken.key}", "error 3: no private key in broken.key"),
    ("{cert: own.pem, key: other.key}", "error 3: the private key does not match the certificate in own.pem"),
    (
        "{cert: old.pem, key: old.key}",
        "warning 3: the certificate in old.pem expired on 2021-01-01T00:00:00Z",
    ),
    (
        "{cert: soon.pem, key: soon.key}",
        "warning 3: the certificate in soon.pem expires on 2026-11-30T00:00:00Z",
    ),
    (
        "{cert: client.pem, key: client.key}",
        "warning 3: the certificate in client.pem is not for server use (extended key usage)",
    ),
    ("{cert: own.pem, key: own.key, client_auth: required}", "error 3: 'client_auth' without 'client_ca'"),
    ("{cert: own.pem, key: own.key, client_crl: own.pem}", "error 3: 'client_crl' without 'client_ca'"),
    (
        "{cert: own.pem, key: own.key, client_ca: ca.pem, client_crl: own.pem}",
        "error 3: no revocation list in own.pem",
    ),
    (
        "{cert: own.pem, key: own.key, client_ca: ca.pem, client_auth: maybe}",
        "error 3: unknown value '***' for client_auth",
    ),
    (
        "{cert: own.pem, key: own.key, client_ca: ca.pem, user_from: cn}",
        "error 2: user_from without auth: users",
    ),
    ("{cert: own.pem, key: own.key, user_from: san}", "error 3: 'user_from' without 'client_ca'"),
    ("{cert: own.pem, key: own.key, certificates: [{cert: other.pem}]}", "error 3: 'cert' without 'key'"),
    (
        "{cert: own.pem, key: own.key, certificates: other.pem}",
        "error 3: certificates must be a list, not a single value",
    ),
    ("{cert: own.pem, key: own.key, ca: own.pem}", "error 3: unknown key 'ca' in tls"),
];

#[test]
fn bad_ones_of_a_listener() {
    for (listener, expected) in BAD_LISTENERS {
        assert_eq!(told(&files(listener, CA)).join("; "), *expected, "{listener}");
    }
}

#[test]
fn bad_ones_of_an_upstream() {
    let rows = [
        (
            "{ca: none.pem}",
            "error 7: cannot read the CA certificate from none.pem: no such file or directory",
        ),
        ("{ca: own.key}", "error 7: no certificate in own.key"),
        ("{ca: old.pem}", "warning 7: a CA certificate in old.pem expired on 2021-01-01T00:00:00Z"),
        ("{ca: ca.pem, server_name: \"a b\"}", "error 7: '***' is not a host name"),
        ("{ca: ca.pem, cert: client.pem}", "error 7: 'cert' without 'key'"),
        (
            "{ca: ca.pem, cert: own.pem, key: own.key}",
            "warning 7: the certificate in own.pem is not for client use (extended key usage)",
        ),
        ("unix{ca: ca.pem}", "error 7: cannot verify the certificate of unix:redis.sock: no server name"),
    ];
    for (upstream, expected) in rows {
        assert_eq!(told(&files(GOOD, upstream)).join("; "), expected, "{upstream}");
    }
}

const PIN: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const PRINTED: &str =
    "sha256:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF";

#[test]
fn good_pins() {
    for pins in
        [PIN.to_owned(), PRINTED.to_owned(), format!("\"{PRINTED}\""), format!("[{PIN}, \"{PRINTED}\"]")]
    {
        let listener = format!("{{cert: own.pem, key: own.key, pin: {pins}, client_auth: optional}}");
        for upstream in [format!("{{pin: {pins}}}"), format!("unix{{pin: {pins}}}")] {
            let files = files(&listener, &upstream);
            assert_eq!(told(&files), Vec::<String>::new(), "{upstream}");
        }
    }
}

#[test]
fn bad_pins() {
    let other = format!("sha256:{}", "a".repeat(64));
    let rows = [
        ("pin: CANARY", "invalid pin: it does not begin with 'sha256:'"),
        ("pin: sha1:00", "invalid pin: it does not begin with 'sha256:'"),
        ("pin: sha256:00:11", "invalid pin: it has 4 hexadecimal digits instead of 64"),
        (
            "pin: [sha256:CANARY]",
            "invalid pin: it has characters other than hexadecimal digits, or colons that do not separate pairs of digits",
        ),
        ("pin: []", "pin has no value"),
    ];
    for (pin, expected) in rows {
        let upstream = told(&files(GOOD, &format!("{{{pin}}}")));
        assert_eq!(upstream, [format!("error 7: {expected}")], "{pin}");
        let listener = told(&files(&format!("{{cert: own.pem, key: own.key, {pin}}}"), CA));
        assert_eq!(listener, [format!("error 3: {expected}")], "{pin}");
    }
    let beside = "cannot be used with 'pin': a pin trusts a certificate whatever CA issued it";
    assert_eq!(
        told(&files(GOOD, &format!("{{ca: ca.pem, pin: {other}}}"))),
        [format!("error 7: 'ca' {beside}")]
    );
    let listener = format!("{{cert: own.pem, key: own.key, client_ca: ca.pem, pin: {other}}}");
    assert_eq!(told(&files(&listener, CA)), [format!("error 3: 'client_ca' {beside}")]);
    let listener = format!("{{cert: own.pem, key: own.key, client_crl: ca.pem, pin: {other}}}");
    assert_eq!(told(&files(&listener, CA)), ["error 3: 'client_crl' without 'client_ca'"]);
    let files = files(GOOD, "{pin: sha1}");
    let problems = files.load().unwrap_err();
    let hint = problems[0].hint().unwrap();
    assert!(hint.contains("openssl x509 -in FILE -noout -fingerprint -sha256"), "{hint}");
}

/// Certificates that the first connection would refuse are reported before, with the command that repairs them.
#[test]
fn certificates_that_would_be_refused() {
    let server = "warning 7: a server that uses a certificate of this file is refused: its certificate";
    let rows = [
        ("{ca: redis.pem}", String::new(), ""),
        ("{ca: plainca.pem}", String::new(), ""),
        ("{ca: nameless.pem, server_name: redis.internal}", String::new(), ""),
        (
            "{ca: elsewhere.pem}",
            format!("{server} is not for redis.internal but for elsewhere"),
            "set upstreams.main.tls.server_name to a name in the certificate",
        ),
        (
            "{ca: nameless.pem}",
            format!("{server} is not for redis.internal"),
            "-addext subjectAltName=DNS:NAME, or set upstreams.main.tls.server_name to its common name",
        ),
        (
            "{ca: encrypts.pem}",
            format!("{server} does not allow signatures (key usage without digitalSignature)"),
            "openssl req -x509 -addext keyUsage=digitalSignature",
        ),
        (
            "{ca: clients.pem}",
            format!("{server} is for another purpose (extended key usage)"),
            "openssl req -x509 -addext extendedKeyUsage=serverAuth",
        ),
    ];
    for (upstream, expected, hint) in rows {
        let files = files(GOOD, upstream);
        assert_eq!(told(&files).join("; "), expected, "{upstream}");
        let hints: Vec<_> =
            files.load().unwrap().warnings.iter().filter_map(|p| p.hint().map(str::to_owned)).collect();
        assert!(hints.join("; ").contains(hint), "{upstream}: {hints:?}");
    }
    let listener = "{cert: own.pem, key: own.key, client_ca: servers.pem}";
    let client = "warning 3: a client that uses a certificate of this file is refused: its certificate";
    assert_eq!(told(&files(listener, CA)), [format!("{client} is for another purpose (extended key usage)")]);
}

/// With `user_from` an issuer can name any user.
#[test]
fn a_client_that_may_be_its_own_ca() {
    let listener = "{cert: own.pem, key: own.key, client_ca: plainca.pem, user_from: cn}";
    let told = told(&files(listener, CA)).join("; ");
    assert!(
        told.contains("a certificate of client_ca has CA:TRUE and no key usage: with user_from"),
        "{told}"
    );
}

#[test]
fn a_key_that_everybody_can_read() {
    let files = files(GOOD, CA);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(files.path("own.key"), open).unwrap();
    assert_eq!(told(&files), ["warning 3: every local user can read the private key in own.key"]);
}

#[test]
fn without_secrets_no_key_is_read() {
    let files = files("{cert: own.pem, key: none.key}", "{ca: ca.pem, cert: client.pem, key: none.key}");
    let path = files.path("portcullis.yaml");
    let loaded = load(&path, &LoadOptions::new().without_secrets().at(NOW)).unwrap();
    assert!(loaded.config.listeners()[0].tls().is_some(), "a listener with tls does not become one without");
    assert!(files.load().is_err());
}

/// A file of `tls` that changes is a change of the configuration.
#[test]
fn its_files_are_sources() {
    let files = files("{cert: own.pem, key: own.key, client_ca: ca.pem}", CA);
    let reading = read(&files.path("portcullis.yaml"), &LoadOptions::new().at(NOW));
    let named = |name: &str| reading.sources.iter().any(|source| source.path.ends_with(name));
    assert!(["own.pem", "own.key", "ca.pem"].iter().all(|name| named(name)), "{:?}", reading.sources);
}
