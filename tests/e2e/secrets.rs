//! The outputs of the proxy contain no password that it was given.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use e2e::client::command;
use e2e::gate::portcullis;
use e2e::reload::TOKEN;
use e2e::{Client, Gate, Process, Redis, eventually, http};
use rustix::process::Signal;

const CANARIES: [&str; 9] = [
    "canary-gate-7f31",
    "canary-own-7f32",
    "canary-user-7f33",
    "canary-user-7f34",
    "canary-user-7f35",
    "canary-health-7f36",
    "canary-guess-7f37",
    "canary-next-7f38",
    TOKEN,
];

const YAML: &str = r#"
listeners:
  - name: users
    bind: "127.0.0.1:{port}"
    upstream: main
    allow: [127.0.0.1]
    auth: users
    users: [default, alice, bob]
    acl: "+@all ~app:*"
    limits: {per_source: {auth_failures: 60/1m, block_for: 1s}}
  - {name: trust, bind: "unix:{dir}/trust.sock", upstream: main, allow: [unix], auth: trust}
  - {name: through, bind: "unix:{dir}/through.sock", upstream: main, allow: [unix]}
  - {name: dead, bind: "unix:{dir}/dead.sock", upstream: dead, allow: [unix], auth: trust}
  - {name: wrong, bind: "unix:{dir}/wrong.sock", upstream: wrong, allow: [unix], auth: trust}
upstreams:
  main: {address: {redis}, credentials: {username: gate, password: {file: gate.pw}}}
  dead: {address: "127.0.0.1:1", credentials: {username: dead, password: {file: dead.pw}}}
  wrong: {address: {redis}, credentials: {username: wrong, password: {file: dead.pw}}}
groups: {office: [127.0.0.1]}
users:
  default: {password: {env: GATE_TEST_DEFAULT}}
  alice:
    password: [{file: alice.pw}, {env: GATE_TEST_ALICE}]
    upstream_credentials: {main: {username: own, password: {file: own.pw}}}
  bob: {password: {env: GATE_TEST_ALICE}, acl: "+get"}
admin: {bind: "127.0.0.1:{admin}", token: {file: token}}
log: {level: trace}
"#;

fn start(redis: &Redis, yaml: &str) -> Gate {
    let [gate, own, default, alice, alice2, dead, ..] = CANARIES;
    let mut builder = Gate::before(redis)
        .config(yaml)
        .file("gate.pw", gate)
        .file("own.pw", own)
        .file("alice.pw", alice)
        .file("dead.pw", dead)
        .file("token", TOKEN)
        .environment("GATE_TEST_DEFAULT", default)
        .environment("GATE_TEST_ALICE", alice2);
    for canary in CANARIES {
        builder = builder.secret(canary);
    }
    builder.start()
}

#[track_caller]
fn assert_no_canary(place: &str, text: &str) {
    for canary in CANARIES {
        assert!(!text.contains(canary), "{canary} is in {place}:\n{text}");
        // Dumps show the password as hexadecimal bytes or as a list of numbers.
        let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
        let list = canary.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        assert!(
            !text.contains(&hex) && !text.contains(&list),
            "{canary} in another form is in {place}:\n{text}"
        );
    }
}

/// Sends commands that cause every kind of reply. Returns the replies.
fn dialogue(mut client: Client) -> String {
    let [gate, own, default, alice, alice2, .., guess, _, _] = CANARIES;
    for line in [
        format!("AUTH alice {guess}"),
        format!("AUTH alice:{guess}"),
        format!("AUTH a b {guess}"),
        format!("HELLO 3 AUTH alice {guess}"),
        format!("HELLO 3 AUTH alice {guess} NOSUCH"),
        format!("HELLO 9 AUTH alice {alice}"),
        format!("AUTH gate {gate}"),
        format!("AUTH {default}"),
        "GET app:1".to_owned(),
        "GET other".to_owned(),
        format!("AUTH alice {alice}"),
        "ACL WHOAMI".to_owned(),
        "MULTI".to_owned(),
        format!("AUTH alice {alice2}"),
        "EXEC".to_owned(),
        format!("AUTH bob {alice2}"),
        "SET app:1 x".to_owned(),
        format!("AUTH own {own}"),
        "RESET".to_owned(),
        format!("HELLO 3 AUTH alice {alice2} SETNAME n"),
        "CLIENT LIST".to_owned(),
        "QUIT".to_owned(),
    ] {
        client.hold(&command(&line));
    }
    client.send_raw(b"");
    String::from_utf8_lossy(&client.read_to_end().0).into_owned()
}

fn get(gate: &Gate, path: &str, token: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", gate.admin());
    let answer = http::call(gate.admin(), &format!("{head}Authorization: Bearer {token}\r\n\r\n"));
    answer.expect("the admin endpoint answers").1
}

#[test]
fn no_output_holds_a_secret() {
    let [gate_password, own, ..] = CANARIES;
    let redis = Redis::builder()
        .password("another-password")
        .line(&format!("user gate on >{gate_password} ~* &* +@all"))
        .line(&format!("user own on >{own} ~* &* +@all"))
        .start();
    let mut gate = start(&redis, YAML);
    check_replies(&gate);
    check_admin_endpoint(&gate);
    check_commands(&gate);
    check_rejected_configurations(&gate);
    assert_no_canary("the log", &gate.stderr());
    assert_no_canary("the audit trail", &gate.stdout());
    let cmdline = fs::read(format!("/proc/{}/cmdline", gate.process().pid())).expect("the proxy runs");
    assert_no_canary("the command line", &String::from_utf8_lossy(&cmdline));
}

/// Checks the replies to all kinds of logins on every listener, including malformed logins.
#[track_caller]
fn check_replies(gate: &Gate) {
    let guess = CANARIES[6];
    assert_no_canary("the replies to a user", &dialogue(gate.connect()));
    for socket in ["trust", "through", "dead", "wrong"] {
        let client = Client::unix(&gate.directory().join(format!("{socket}.sock")));
        assert_no_canary(&format!("the replies of {socket}"), &dialogue(client));
    }
    let mut inline = gate.connect();
    inline.send_raw(format!("AUTH alice \"{guess}\nAUTH x {guess}\x01\n").as_bytes());
    assert_no_canary("the replies to broken lines", &String::from_utf8_lossy(&inline.read_to_end().0));
    let mut torn = gate.connect();
    torn.send_raw(format!("*3\r\n$4\r\nAUTH\r\n$5\r\nalice\r\n$17\r\n{guess}").as_bytes());
    torn.abort();
}

/// Checks the answers of the admin endpoint, with the token and with a wrong one.
#[track_caller]
fn check_admin_endpoint(gate: &Gate) {
    for path in [
        "/",
        "/metrics",
        "/live",
        "/ready",
        "/api/status",
        "/api/groups",
        "/api/groups/office",
        "/api/explain?ip=127.0.0.1&user=alice&command=GET%20app:1",
        "/api/clients",
        "/api/sources",
        "/api/config",
        "/openapi.json",
        "/nosuch",
    ] {
        for token in [TOKEN, "wrong"] {
            assert_no_canary(path, &get(gate, path, token));
        }
    }
    let ((_, report), _) = gate.reload_by_http();
    assert_no_canary("the answer to a reload", &report.to_string());
}

/// Checks the output of the subcommands.
#[track_caller]
fn check_commands(gate: &Gate) {
    let arguments: [&[&str]; 8] = [
        &["check"],
        &["check", "--json"],
        &["check", "--no-secrets"],
        &["explain", "127.0.0.1", "--user", "alice", "--command", "GET x"],
        &["explain", "127.0.0.1", "--json", "--user", "alice"],
        &["groups", "list"],
        &["groups", "show", "office", "--json"],
        &["groups", "add", "office", "192.0.2.1", "--dry-run"],
    ];
    for arguments in arguments {
        assert_no_canary(&arguments.join(" "), &output(gate.directory(), arguments));
    }
}

/// Returns invalid configurations of every kind, each with a secret in a wrong place: a part of [`YAML`], and the text
/// that replaces it.
fn rejected() -> [(&'static str, String); 19] {
    let next = CANARIES[7];
    [
        ("{file: gate.pw}", format!("\"{next}\"")),
        ("{file: alice.pw}", format!("{{sha256: {next}}}")),
        ("{env: GATE_TEST_DEFAULT}", format!("{{plain: {next}}}")),
        ("{env: GATE_TEST_DEFAULT}", format!("[{next}, {next}]")),
        ("{file: token}", next.to_owned()),
        ("token: {file: token}", format!("token: {{file: token, {next}: x}}")),
        ("username: own, password: {file: own.pw}", format!("username: own, password: {{file: [{next}]}}")),
        ("address: \"127.0.0.1:1\"", format!("address: \"redis://:{next}@127.0.0.1:6379\"")),
        ("address: \"127.0.0.1:1\"", format!("address: \"{next}@127.0.0.1:6379\"")),
        ("acl: \"+get\"", format!("acl: \">{next}\"")),
        ("acl: \"+get\"", format!("acl: \"{next}\"")),
        ("{file: alice.pw}", format!("{{file: \"-----BEGIN PRIVATE KEY-----\\n{next}\\n\"}}")),
        ("users: [default, alice, bob]", format!("users: [default, {next}]")),
        ("allow: [127.0.0.1]", format!("allow: [{next}]")),
        ("auth: users", format!("auth: {next}")),
        ("block_for: 1s", format!("block_for: {next}")),
        ("log: {level: trace}", format!("log: {{level: trace, {next}: x}}")),
        ("log: {level: trace}", format!("log: {{level: {next}}}")),
        ("name: dead, bind: \"unix", format!("name: dead, upstream: {next}, bind: \"{next}@unix")),
    ]
}

/// Checks every output about invalid configurations. Then puts the valid configuration in force again.
#[track_caller]
fn check_rejected_configurations(gate: &Gate) {
    for (from, to) in &rejected() {
        assert!(YAML.contains(from), "{from}");
        let report = gate.reload_with(&YAML.replace(from, to));
        assert_eq!(report["result"], "rejected", "{report}");
        assert_no_canary("the audit line of a rejected reload", &report.to_string());
        assert_no_canary("check", &output(gate.directory(), &["check"]));
        assert_no_canary("check --json", &output(gate.directory(), &["check", "--json"]));
        assert_no_canary("run", &output(gate.directory(), &["run"]));
        assert_no_canary("explain", &output(gate.directory(), &["explain", "127.0.0.1"]));
        assert_no_canary("groups", &output(gate.directory(), &["groups", "list"]));
        assert_no_canary("the answer to a bad reload", &gate.reload_by_http().0.1.to_string());
    }
    gate.reload_with(&format!("{YAML}\nlog: {{level: debug}}\n{}: [\n", CANARIES[7]));
    gate.configure(YAML);
    eventually("the configuration is valid again", || {
        gate.send_sighup();
        (gate.metric("config_last_reload_successful", &[]) == 1.0).then_some(())
    });
}

fn output(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(e2e::gate::binary());
    command.args(arguments).current_dir(directory);
    command.env("GATE_TEST_DEFAULT", CANARIES[2]).env("GATE_TEST_ALICE", CANARIES[4]);
    let output = command.env("RUST_LOG", "trace").output().expect("the binary starts");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The importers do not repeat other content of a file, because it may be secret.
#[test]
fn import_repeats_no_secret() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let next = CANARIES[7];
    let files = [
        (
            "haproxy",
            format!(
                "listen redis\n bind :6379\n acl here src 127.0.0.1\n option tcp-check\n tcp-check send AUTH\\ {next}\\r\\n\n \
                 tcp-check send-binary {next}\n tcp-request connection reject unless here\n server a redis://:{next}@10.0.0.5:6379\n \
                 server b 10.0.0.5:6379 {next}\n"
            ),
        ),
        (
            "nginx",
            format!(
                "stream {{ server {{ listen 6379; allow 127.0.0.1; deny {next}; set $pw {next}; proxy_pass 10.0.0.5:6379; }} }}"
            ),
        ),
        ("rinetd", format!("0.0.0.0 6379 10.0.0.5 6379 [{next}]\nallow 127.0.0.1\ndeny {next}\n{next}\n")),
        (
            "netsh",
            format!(
                "add v4tov4 listenport=6379 connectaddress=10.0.0.5\nadd v4tov4 listenport=6380 password={next}\n"
            ),
        ),
        (
            "apsaradb",
            format!(
                "{{\"SecurityIpGroups\": {{\"SecurityIpGroup\": [{{\"SecurityIpGroupName\": \"a\", \"SecurityIpList\": \"10.0.0.1,{next}\"}}]}}}}"
            ),
        ),
    ];
    for (format, text) in files {
        fs::write(directory.path().join("old"), text).expect("writable");
        let said = output(directory.path(), &["import", format, "old"]);
        assert!(said.contains("listeners:") && said.contains("not carried over"), "{format}: {said}");
        assert_no_canary(format, &said);
    }
}

/// The proxy leaves no core file in a situation in which other processes do.
#[test]
fn the_memory_is_shut() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).under(["prlimit", "--core=unlimited"]).start();
    gate.signal(Signal::ABORT);
    let ended = gate.process().wait();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));

    let directory = tempfile::tempdir().expect("a scratch directory");
    let mut other = Process::start(
        directory.path(),
        "other",
        "prlimit".as_ref(),
        ["--core=unlimited", "sleep", "60"],
        &[],
    );
    eventually("the process sleeps", || {
        let name = fs::read_to_string(format!("/proc/{}/comm", other.pid())).ok()?;
        (name.trim() == "sleep").then_some(())
    });
    other.signal(Signal::ABORT);
    let ended = other.wait();
    assert!(ended.core_dumped(), "core files are off on this machine: this test proves nothing here");
}

/// `hash-password` reads the password from standard input, and prints only the digest.
#[test]
fn hash_password_says_only_the_digest() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let refused = portcullis(directory.path(), ["hash-password", CANARIES[0]]);
    assert_eq!(
        refused.status.code(),
        Some(64),
        "a password on the command line would be visible to all users"
    );
}
