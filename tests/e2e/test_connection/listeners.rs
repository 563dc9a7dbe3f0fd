//! `--as-client`: the running proxy as a client on this host meets it.

use std::collections::BTreeMap;

use e2e::certificates::Leaf;
use e2e::gate::portcullis;
use e2e::{Authority, Gate, GateBuilder, Redis, eventually, ports};
use serde_json::Value;

use super::{Printed, run_in, words};

/// Runs the test against a proxy, with these variables.
#[track_caller]
fn run_with(gate: &Gate, arguments: &str, environment: &[(&str, &str)]) -> Printed {
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    run_in(gate.directory(), &format!("--as-client {arguments}"), &environment)
}

#[track_caller]
fn run(gate: &Gate) -> Printed {
    run_with(gate, "", &[])
}

/// Returns the lines of the listener, as words.
fn of_listener(printed: &Printed) -> String {
    let (_, rest) = printed.text.split_once("\nlistener public ").expect("the listener's part");
    words(rest)
}

/// Returns the first problem of the listener.
#[track_caller]
fn problem(gate: &Gate) -> Value {
    let json = run_with(gate, "--json", &[]).json();
    let steps = json["listeners"][0]["steps"].as_array().expect("steps").clone();
    let found = steps.into_iter().map(|step| step["problem"].clone()).find(|problem| !problem.is_null());
    found.unwrap_or_else(|| panic!("no problem: {json:#}"))
}

/// Starts a proxy with TRUST, with more keys of its listener.
fn before(redis: &Redis, listener: &str) -> GateBuilder {
    Gate::before(redis).listener("auth: trust").listener(listener)
}

#[test]
fn a_proxy_that_serves() {
    let redis = Redis::plain();
    let gate = before(&redis, "acl: '@public'").start();
    let printed = run(&gate);
    let expected =
        format!("(as a plain client, auth trust) connect 127.0.0.1:{} T PING PONG T works", gate.port());
    assert_eq!((of_listener(&printed), printed.code), (expected, 0));
    // The rules decide about PING too, and the proxy answers in any case.
    let gate = before(&redis, "acl: '+@read'").start();
    let printed = run(&gate);
    let text = of_listener(&printed);
    assert!(text.ends_with(" PING the proxy answers; its command rules refuse PING T works"), "{text}");
    // From this host a wildcard is reached over loopback.
    let gate =
        Gate::before(&redis).bind("0.0.0.0:{port}").bind("unix:{dir}/gate.sock").allow("[127.0.0.1, unix]");
    let printed = run(&gate.start());
    let text = of_listener(&printed);
    assert!(text.contains("connect 127.0.0.1:") && text.contains("connect unix:/"), "{text}");
    assert_eq!(printed.code, 0, "{text}");
}

#[test]
fn a_proxy_that_does_not_run() {
    let redis = Redis::plain();
    let mut gate = before(&redis, "").start();
    gate.process().kill();
    let printed = run(&gate);
    let expected = format!(
        "(as a plain client, auth trust) connect 127.0.0.1:{} FAILED after T: Connection refused \
         start the proxy: portcullis run; if it runs, read its log does not work: listener public (connect)",
        gate.port()
    );
    assert_eq!((of_listener(&printed), printed.code), (expected, 1));
}

/// The advice is a command that admits this host.
#[test]
fn a_refused_host_reads_the_command_that_admits_it() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).allow("[office]").top("groups: {office: [203.0.113.0/24]}").start();
    let printed = run(&gate);
    let expected = format!(
        "(as a plain client, auth passthrough) connect 127.0.0.1:{} T PING FAILED after T: the proxy answers -DENIED \
         source address not allowed. public: 127.0.0.1 refused: the only entry of allow does not match to admit it: \
         portcullis groups add office 127.0.0.1 does not work: listener public (PING)",
        gate.port()
    );
    assert_eq!((of_listener(&printed), printed.code), (expected, 1));
    let advice = problem(&gate)["advice"].as_str().expect("an advice").to_owned();
    let (_, command) = advice.split_once(": portcullis ").expect("a command");
    let output = portcullis(gate.directory(), command.split(' '));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    eventually("the proxy admits this host", || (run(&gate).code == 0).then_some(()));
}

#[test]
fn refusals_and_the_entries_that_decide() {
    let redis = Redis::plain();
    let none = "public: 127.0.0.1 refused: the only entry of allow does not match";
    let gates = [
        (
            Gate::before(&redis).allow("[203.0.113.9]"),
            "not_allowed",
            none,
            "to admit it: write 127.0.0.1 into allow of listener public",
        ),
        (
            Gate::before(&redis).listener("deny: [127.0.0.0/8]"),
            "denied",
            "public: 127.0.0.1 refused by deny, 127.0.0.0/8 (inline), ",
            "to admit it: remove 127.0.0.0/8 from deny of listener public",
        ),
        (
            Gate::before(&redis)
                .allow("[old]")
                .top("groups: {old: [{cidr: 127.0.0.1, until: \"2020-01-01T00:00:00Z\"}]}"),
            "expired",
            "public: 127.0.0.1 refused: expired entry 127.0.0.1 of group old, ",
            "to admit it: portcullis groups add old 127.0.0.1 --until 8h",
        ),
        (
            Gate::before(&redis).listener("deny: [bad]").top("groups: {bad: [127.0.0.1]}"),
            "denied",
            "public: 127.0.0.1 refused by deny, 127.0.0.1 of group bad, ",
            "to admit it: portcullis groups remove bad 127.0.0.1",
        ),
    ];
    for (gate, kind, why, advice) in gates {
        let found = problem(&gate.start());
        let text = found["text"].as_str().expect("a text");
        assert!(
            text.starts_with("the proxy answers -DENIED source address not allowed. ") && text.contains(why),
            "{text}"
        );
        assert_eq!((&found["kind"], &found["advice"]), (&kind.into(), &advice.into()));
    }
    for (style, seen) in [
        ("illegal_address", "the proxy answers -ERR illegal address. "),
        ("close", "the proxy closes the connection without an answer. "),
        ("reset", "the proxy closes the connection without an answer. "),
    ] {
        let gate = Gate::before(&redis).allow("[203.0.113.9]").listener(&format!("refusal: {style}"));
        let found = problem(&gate.start());
        assert_eq!(found["text"], format!("{seen}{none}"), "{style}");
    }
}

#[test]
fn other_refusals_of_the_proxy() {
    let redis = Redis::plain();
    let gate = before(&redis, "limits: {per_source: {clients: 1}}").start();
    let mut other = gate.connect();
    other.assert_reply("PING", "+PONG");
    let found = problem(&gate);
    assert_eq!(
        (&found["kind"], &found["text"]),
        (&"limit".into(), &"the proxy answers -ERR max number of clients reached".into())
    );
    let free = ports::free();
    let gate = Gate::before_address(&format!("127.0.0.1:{free}")).listener("auth: trust").start();
    let found = problem(&gate);
    assert_eq!(found["kind"], "upstream");
    assert_eq!(found["text"], "the proxy answers -ERR portcullis: upstream 'main' unavailable (refused)");
    assert_eq!(found["advice"], "see portcullis test-connection --upstream main");
}

const USERS: &str =
    "users: {reporting: {password: {env: LOGIN}, from: [203.0.113.0/24]}, web: {password: {env: LOGIN}}}";
const LOGIN: &str = "canary-login-7";

#[test]
fn a_login_is_tested_where_the_password_is_given() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .listener("auth: users")
        .listener("users: [reporting, web]")
        .top(USERS)
        .environment("LOGIN", LOGIN)
        .start();
    let with = |arguments: &str, password: &str| {
        run_with(&gate, arguments, &[("LOGIN", LOGIN), ("PORTCULLIS_CLIENT_PASSWORD", password)])
    };
    let printed = with("", "");
    let text = of_listener(&printed);
    assert!(
        text.ends_with(
            " PING the proxy answers, and asks for a login T AUTH not tested: only clients know the password \
             test a login with --user NAME works, with 1 step not tested"
        ),
        "{text}"
    );
    assert_eq!(printed.code, 0);
    let printed = with("--user web", LOGIN);
    assert!(of_listener(&printed).ends_with(" AUTH as web T PING PONG T works"), "{}", printed.text);
    for (user, advice) in [
        ("web", "correct the password"),
        ("reporting", "public: user reporting refused: no entry of the user's from list matches the source"),
        (
            "admin",
            "public: user admin refused: the listener does not list this user; its users: reporting, web",
        ),
    ] {
        let printed = with(&format!("--user {user}"), "canary-wrong");
        let expected = format!(
            " AUTH as {user} FAILED after T: the proxy refuses the user name or password {advice} \
             does not work: listener public (AUTH)"
        );
        assert!(of_listener(&printed).ends_with(&expected), "{}", printed.text);
        assert_eq!(printed.code, 1);
    }
    // Under passthrough Redis checks the password.
    let redis = Redis::builder().password(LOGIN).start();
    let gate = Gate::before(&redis).start();
    let printed = run_with(&gate, "--user default", &[("PORTCULLIS_CLIENT_PASSWORD", LOGIN)]);
    assert!(of_listener(&printed).contains(" AUTH as default T PING PONG T works"), "{}", printed.text);
    let printed = run_with(&gate, "--user default", &[("PORTCULLIS_CLIENT_PASSWORD", "canary-wrong")]);
    assert!(
        printed.code == 1 && printed.last_line() == "does not work: listener public (AUTH)",
        "{}",
        printed.text
    );
}

#[test]
fn a_listener_with_tls() {
    let redis = Redis::plain();
    let authority = Authority::new("for clients");
    let pair = authority.issue(Leaf::server(&["redis.example"]));
    let gate = Gate::before(&redis).tls(&pair, "").start();
    let printed = run(&gate);
    let text = of_listener(&printed);
    assert!(text.starts_with("(as a plain client, auth passthrough, TLS) "), "{text}");
    assert!(text.contains(" TLS for redis.example, ") && text.ends_with(" PING PONG T works"), "{text}");
    // The proxy presents the certificate that it has read, and the file has another one now.
    let other = authority.server();
    let files = tempfile::tempdir().expect("a scratch directory");
    let yaml = std::fs::read_to_string(gate.directory().join("portcullis.yaml")).expect("the configuration");
    for (name, text) in [("server.pem", &other.cert), ("server.key", &other.key), ("portcullis.yaml", &yaml)]
    {
        std::fs::write(files.path().join(name), text).expect("writable");
    }
    let printed = run_in(files.path(), "--as-client", &BTreeMap::new());
    let text = of_listener(&printed);
    assert!(
        text.contains(" TLS FAILED after T: its certificate matches no pin: its fingerprint is sha256:"),
        "{text}"
    );
    // A refused host is not greeted, and a client without a certificate is let go after the handshake.
    let gate = Gate::before(&redis).allow("[203.0.113.9]").tls(&pair, "").start();
    let text = problem(&gate)["text"].to_string();
    assert!(
        text.contains("the proxy closes the connection during the TLS handshake. public: 127.0.0.1 refused"),
        "{text}"
    );
    let gate = Gate::before(&redis)
        .file("clients.pem", &authority.pem())
        .tls(&pair, ", client_auth: required, client_ca: clients.pem")
        .start();
    let printed = run(&gate);
    let text = of_listener(&printed);
    assert!(
        text.contains(" not tested: the listener requires a client certificate, and this test has none "),
        "{text}"
    );
    assert!(printed.code == 0 && text.ends_with(" works, with 1 step not tested"), "{text}");
}

/// On the host of a load balancer the test sends the header that the load balancer sends.
#[test]
fn a_listener_behind_load_balancers() {
    let redis = Redis::plain();
    let listening =
        |from: &str| before(&redis, &format!("proxy_protocol: {{from: [{from}], only: true}}")).start();
    let printed = run(&listening("127.0.0.1"));
    assert_eq!((printed.last_line(), printed.code), ("works", 0), "{}", printed.text);
    let found = problem(&listening("192.0.2.1"));
    assert_eq!(found["kind"], "proxy_header");
    assert_eq!(
        found["advice"],
        "connect through the load balancer, or add 127.0.0.1 to from of listeners.public.proxy_protocol"
    );
}
