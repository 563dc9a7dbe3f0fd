//! `test-connection`: each step of a connection, and what to do about each failure.

mod clusters;
mod listeners;
mod modes;
mod sentinels;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use e2e::certificates::Leaf;
use e2e::fake::{Answer, Fake, bulk};
use e2e::gate::binary;
use e2e::{Authority, Redis, ports};
use rustix::process::Signal;
use serde_json::Value;

const PASSWORD: &str = "canary-test-connection-1";
/// The beginning of each password here. No output may contain it.
const CANARY: &str = "canary-";

/// A configuration in a directory of its own.
struct Bench {
    directory: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

impl Bench {
    /// Makes a configuration with one upstream `main`, which has these keys.
    fn of(auth: &str, upstream: &str) -> Self {
        Self::with(&format!(
            "listeners: [{{name: public, bind: '127.0.0.1:1', upstream: main, allow: [127.0.0.1], auth: {auth}}}]\n\
             upstreams: {{main: {{{upstream}}}}}\nadmin: off\n"
        ))
    }

    fn with(yaml: &str) -> Self {
        let bench = Self {
            directory: tempfile::tempdir().expect("a scratch directory"),
            environment: BTreeMap::new(),
        };
        bench.file("password", PASSWORD).file("portcullis.yaml", yaml)
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("writable");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("ours");
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Runs `portcullis test-connection` with these arguments.
    #[track_caller]
    fn run(&self, arguments: &str) -> Printed {
        run_in(self.directory.path(), arguments, &self.environment)
    }

    /// Checks the whole output, apart from times and the breaks between lines.
    #[track_caller]
    fn assert_prints(&self, code: i32, expected: &str) {
        let printed = self.run("");
        assert_eq!(words(&printed.text), words(expected), "{}", printed.text);
        assert_eq!(printed.code, code);
    }

    /// Checks that the first problem has this kind, this text and this advice, in both forms, and how the output ends.
    #[track_caller]
    fn assert_finds(&self, kind: &str, text: &str, advice: &str, verdict: &str) {
        let (printed, json) = (self.run(""), self.run("--json").json());
        assert_eq!(printed.code, i32::from(verdict.starts_with("does not work")), "{}", printed.text);
        let steps = json["upstreams"][0]["steps"].as_array().expect("steps");
        let problem = steps.iter().map(|step| &step["problem"]).find(|problem| !problem.is_null());
        let problem = problem.unwrap_or_else(|| panic!("no problem in {json:#}"));
        assert_eq!(problem["kind"], kind, "{problem}");
        assert_eq!(problem["text"], text);
        assert_eq!(problem["advice"], advice);
        let flat = words(&printed.text);
        assert!(flat.contains(&words(text)) && flat.contains(&words(advice)), "{}", printed.text);
        assert_eq!(words(printed.last_line()), words(verdict), "{}", printed.text);
    }
}

struct Printed {
    code: i32,
    text: String,
    told: String,
}

impl Printed {
    fn last_line(&self) -> &str {
        let start =
            ["works", "does not work"].iter().filter_map(|word| self.text.rfind(&format!("\n{word}"))).max();
        self.text[start.expect("a verdict")..].trim()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("JSON: {} {}", self.text, self.told))
    }
}

#[track_caller]
fn run_in(directory: &Path, arguments: &str, environment: &BTreeMap<String, String>) -> Printed {
    let mut command = Command::new(binary());
    command
        .arg("test-connection")
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .envs(environment);
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    let (text, told) =
        (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned());
    assert!(!text.contains(CANARY) && !told.contains(CANARY), "a password is shown: {text}{told}");
    Printed { code: status.code().expect("an exit code"), text, told }
}

/// Returns the words of a text, with `T` for each time.
fn words(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let is_unit = |unit: &str| matches!(unit.trim_end_matches(':'), "ms" | "s");
        if is_unit(word) && words.last().is_some_and(|last| last.parse::<f64>().is_ok()) {
            words.pop();
            words.push(if word.ends_with(':') { "T:" } else { "T" });
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

/// Replaces each time at the end of a line, with the spaces before it.
fn masked(text: &str) -> String {
    let line = |line: &str| match line.trim_end_matches(" ms").rsplit_once(' ') {
        Some((rest, number)) if line.ends_with(" ms") && number.parse::<f64>().is_ok() => {
            format!("{}  T", rest.trim_end())
        }
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

/// Returns a redis with the password, the upstream's keys for it, and its address.
fn with_password(lines: &[&str]) -> (Redis, String) {
    let builder = Redis::builder().password(PASSWORD);
    let redis = lines.iter().fold(builder, |builder, line| builder.line(line)).start();
    let upstream = format!("address: '{}', credentials: {{password: {{file: password}}}}", redis.address());
    (redis, upstream)
}

#[test]
fn each_step_has_a_line_with_its_time() {
    let (redis, _) = with_password(&[]);
    let port = redis.address().port();
    let bench = Bench::of(
        "trust",
        &format!(
            "address: 'localhost:{port}', credentials: {{username: default, password: {{file: password}}}}"
        ),
    );
    let printed = bench.run("");
    let expected = format!(
        "upstream main (standalone)\n  resolve  localhost  127.0.0.1  T\n  connect  127.0.0.1:{port}  T\n  AUTH     as default  T\n  \
         PING     PONG  T\n  ROLE     master, 0 replicas; Redis VERSION  T\nworks\n"
    );
    let version = bench.run("--json").json()["upstreams"][0]["steps"][4]["server"]["version"].clone();
    let text = masked(&printed.text).replace(version.as_str().expect("a version"), "VERSION");
    assert_eq!(
        text.replace("localhost  ::1, 127.0.0.1", "localhost  127.0.0.1"),
        expected,
        "{}",
        printed.text
    );
    assert!(printed.text.lines().all(|line| line.chars().count() <= 80), "{}", printed.text);
    let times = printed.text.lines().filter(|line| line.ends_with(" ms"));
    assert!(times.clone().count() == 5 && times.clone().all(|line| line.len() == 80), "{}", printed.text);
    assert_eq!((printed.code, printed.told.as_str()), (0, ""));
}

#[test]
fn the_fields_of_json_are_stable() {
    let (redis, upstream) = with_password(&["user app on >canary-app +@all ~*"]);
    let json = Bench::of("trust", &upstream).run("--json").json();
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["listeners", "not_tested", "upstreams", "verdict", "warnings", "works"]);
    assert_eq!((&json["works"], &json["verdict"]), (&Value::Bool(true), &"works".into()));
    let upstream = &json["upstreams"][0];
    assert_eq!(keys(upstream), ["name", "steps", "works"]);
    let steps = upstream["steps"].as_array().expect("steps");
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().expect("a name")).collect();
    assert_eq!(names, ["connect", "auth", "ping", "role"]);
    assert_eq!(keys(&steps[0]), ["milliseconds", "problem", "result", "step", "target"]);
    assert_eq!(steps[0]["target"], redis.address().to_string());
    assert_eq!(steps[1]["login"], serde_json::json!({"user": "default", "for": null}));
    assert_eq!(steps[2]["reply"], "PONG");
    assert_eq!((&steps[3]["server"]["role"], &steps[3]["server"]["replicas"]), (&"master".into(), &0.into()));
    assert!(steps.iter().all(|step| step["result"] == "ok" && step["milliseconds"].as_f64() > Some(0.0)));
}

#[test]
fn logins_that_fail() {
    let (redis, upstream) = with_password(&["user app on >canary-app ~* +@all -ping"]);
    let address = redis.address();
    let wrong = "credentials: {password: {env: WRONG}}";
    Bench::of("trust", &format!("address: '{address}', {wrong}"))
        .variable("WRONG", "canary-wrong")
        .assert_finds(
            "auth",
            "Redis refused the user name or password",
            "correct upstreams.main.credentials",
            "does not work: upstream main (AUTH)",
        );
    Bench::of("trust", &format!("address: '{address}'")).assert_finds(
        "auth",
        "Redis requires a password, but none is configured",
        "set upstreams.main.credentials: listeners with `auth: trust` log in with them",
        "does not work: upstream main (PING)",
    );
    Bench::of("passthrough", &format!("address: '{address}'")).assert_finds(
        "auth",
        "only clients have a password",
        "set upstreams.main.credentials, with which the health check logs in too",
        "works, with 1 step not tested",
    );
    let app = "credentials: {username: app, password: {env: APP}}";
    Bench::of("trust", &format!("address: '{address}', {app}")).variable("APP", "canary-app").assert_finds(
        "noperm",
        "Redis refuses PING: user app lacks the right +ping",
        "run in Redis: ACL SETUSER app +ping",
        "works, with 1 warning",
    );
    let open = Redis::plain();
    Bench::of("trust", &upstream.replace(&address.to_string(), &open.address().to_string())).assert_finds(
        "auth",
        "a password is configured, but Redis has none for that user",
        "remove upstreams.main.credentials, or set a password (requirepass) in Redis",
        "does not work: upstream main (AUTH)",
    );
}

#[test]
fn each_user_with_an_own_login_is_tested() {
    let (redis, upstream) = with_password(&["user ro on >canary-ro ~* +@all"]);
    let config = |password: &str| {
        Bench::with(&format!(
            "listeners:\n  - {{name: teams, bind: '127.0.0.1:1', upstream: main, allow: [127.0.0.1], auth: users, users: [bi, web]}}\n\
             upstreams: {{main: {{{upstream}}}}}\nadmin: off\nusers:\n  web: {{password: {{env: LOGIN}}}}\n  \
             bi: {{password: {{env: LOGIN}}, upstream_credentials: {{main: {{username: ro, password: {{env: RO}}}}}}}}\n"
        ))
        .variable("LOGIN", "canary-login")
        .variable("RO", password)
    };
    for (password, rest, code) in [
        ("canary-ro", " T AUTH as ro, for user bi T works", 0),
        (
            "canary-other",
            " T AUTH as ro, for user bi FAILED after T: Redis refused the user name or password \
             correct users.bi.upstream_credentials.main does not work: upstream main (AUTH)",
            1,
        ),
    ] {
        let printed = config(password).run("");
        let text = words(&printed.text);
        let head = format!(
            "upstream main (standalone) connect {} T AUTH as default T PING PONG T ",
            redis.address()
        );
        assert!(text.starts_with(&head) && text.ends_with(rest), "{text}");
        assert_eq!(printed.code, code);
    }
}

#[test]
fn servers_that_cannot_be_reached() {
    let free = ports::free();
    Bench::of("trust", &format!("address: '127.0.0.1:{free}'")).assert_prints(
        1,
        &format!(
            "upstream main (standalone)\n  connect  127.0.0.1:{free}  FAILED after 0.1 ms: Connection refused\n           \
             start Redis there, or correct upstreams.main.address\ndoes not work: upstream main (connect)"
        ),
    );
    let bench = Bench::of("trust", "address: 'no-such-host.invalid:6379'");
    let printed = bench.run("");
    let text = words(&printed.text);
    assert!(
        text.contains("resolve no-such-host.invalid FAILED after T: cannot resolve the name: "),
        "{text}"
    );
    assert!(
        text.contains(
            " correct upstreams.main.address, or check the name server does not work: upstream main (resolve)"
        ),
        "{text}"
    );
    Bench::of("trust", "address: 'unix:/nonexistent/redis.sock'").assert_finds(
        "refused",
        "No such file or directory",
        "start Redis there, or correct upstreams.main.address",
        "does not work: upstream main (connect)",
    );
    let stopped = Redis::plain();
    stopped.signal(Signal::STOP);
    Bench::of("trust", &format!("address: '{}', connect_timeout: 300ms", stopped.address())).assert_finds(
        "timeout",
        "connected, but no answer to PING within 300ms",
        "check whether Redis hangs or is overloaded, or raise upstreams.main.connect_timeout",
        "does not work: upstream main (PING)",
    );
    stopped.signal(Signal::CONT);
}

#[test]
fn the_first_address_that_connects_decides() {
    let (redis, free) = (Redis::plain(), ports::free());
    let (good, bad) = (redis.address().to_string(), format!("127.0.0.1:{free}"));
    let socket = format!("unix:{}", redis.socket().display());
    for (list, verdict) in [
        (vec![bad.as_str(), good.as_str()], "works, with 1 warning"),
        (vec![good.as_str(), bad.as_str()], "works, with 1 warning"),
        (vec![good.as_str(), socket.as_str()], "works"),
    ] {
        let printed = Bench::of("trust", &format!("address: {list:?}")).run("");
        assert_eq!((printed.last_line(), printed.code), (verdict, 0), "{}", printed.text);
    }
    // The proxy uses the first server although its login fails, and never tries the second.
    let (locked, _) = with_password(&[]);
    let list = [locked.address().to_string(), good];
    let printed = Bench::of("trust", &format!("address: {list:?}")).run("");
    assert_eq!(printed.last_line(), "does not work: upstream main (PING)", "{}", printed.text);
}

/// Starts a server that greets each connection with these bytes after it has read something, or at once.
fn greeting(greeting: &'static [u8], reads_first: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if reads_first {
                let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
            }
            let _ = stream.write_all(greeting);
            let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
        }
    });
    address
}

#[test]
fn servers_that_are_not_redis() {
    let rows: [(&[u8], bool, &str, &str, &str); 4] = [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            true,
            "protocol",
            "the server there speaks HTTP, not the Redis protocol",
            "set upstreams.main.address to a Redis server",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            false,
            "protocol",
            "the server there speaks SSH, not the Redis protocol",
            "set upstreams.main.address to a Redis server",
        ),
        (
            b"220 mail ESMTP\r\n",
            false,
            "protocol",
            "the server there does not speak the Redis protocol",
            "set upstreams.main.address to a Redis server",
        ),
        (
            b"-ERR max number of clients reached\r\n",
            false,
            "limit",
            "Redis has reached maxclients",
            "raise maxclients in Redis, or lower limits.clients below it",
        ),
    ];
    for (text, reads_first, kind, problem, advice) in rows {
        let address = greeting(text, reads_first);
        Bench::of("trust", &format!("address: '{address}'")).assert_finds(
            kind,
            problem,
            advice,
            "does not work: upstream main (PING)",
        );
    }
}

#[test]
fn servers_that_do_not_serve_yet() {
    let rows = [
        (
            "-DENIED Redis is running in protected mode because protected mode is enabled",
            "refused",
            "Redis is in protected mode and refuses the address of this machine",
            "set a password (requirepass) in Redis and in upstreams.main.credentials, or bind Redis to a private \
             address only and set `protected-mode no`",
        ),
        (
            "-LOADING Redis is loading the dataset in memory",
            "loading",
            "Redis is loading its data set",
            "wait until Redis has loaded its data set",
        ),
    ];
    for (line, kind, text, advice) in rows {
        let fake = Fake::start(move |words| (words[0] == "PING").then(|| Answer::line(line)).flatten());
        let bench = Bench::of("trust", &format!("address: '{}'", fake.address()));
        bench.assert_finds(kind, text, advice, "does not work: upstream main (PING)");
    }
}

#[test]
fn servers_in_another_role() {
    let master = Redis::plain();
    let at = master.address();
    let replica = Redis::builder().line(&format!("replicaof 127.0.0.1 {}", at.port())).start();
    Bench::of("trust", &format!("address: '{}'", replica.address())).assert_finds(
        "replica",
        &format!("it is a replica of {at}, and refuses writes (READONLY)"),
        "set upstreams.main.address to the master, unless clients only read",
        "works, with 1 warning",
    );
    let cluster = Redis::builder().line("cluster-enabled yes").start();
    Bench::of("trust", &format!("address: '{}'", cluster.address())).assert_finds(
        "cluster",
        "it is a node of a Redis Cluster: clients read MOVED for the keys of other nodes",
        "set upstreams.main.address to a Redis without cluster mode (cluster-enabled no)",
        "works, with 1 warning",
    );
    // A server before version 6 has no HELLO, and a managed one may have no ROLE.
    let old = Fake::start(|words| match words {
        ["INFO", "server"] => {
            Some(Answer::Bytes(bulk("# Server\r\nredis_version:5.0.14\r\nredis_mode:standalone")))
        }
        ["HELLO"] => Answer::line("-ERR unknown command `HELLO`"),
        _ => None,
    });
    let printed = Bench::of("trust", &format!("address: '{}'", old.address())).run("");
    assert!(printed.text.contains("  ROLE     role unknown; Redis 5.0.14 "), "{}", printed.text);
    assert_eq!(printed.last_line(), "works");
}

#[test]
fn tls_that_works_or_fails() {
    let authority = Authority::new("the right one");
    let secured = Redis::builder().tls(&authority.server(), &authority.pem()).start();
    let port = secured.address().port();
    let tls = |address: &str, more: &str| {
        Bench::of("trust", &format!("address: '{address}:{port}', tls: {{ca: ca.pem{more}}}"))
            .file("ca.pem", &authority.pem())
    };
    let printed = tls("127.0.0.1", "").run("");
    assert!(printed.text.contains("  TLS      for localhost, "), "{}", printed.text);
    assert!(printed.text.contains(" days left ") && printed.last_line() == "works", "{}", printed.text);
    let verdict = "does not work: upstream main (TLS)";
    let json = tls("127.0.0.1", ", server_name: redis.internal").run("--json").json();
    let problem = &json["upstreams"][0]["steps"][1]["problem"];
    assert_eq!(problem["advice"], "set upstreams.main.tls.server_name to a name in the certificate");
    assert!(problem["text"].as_str().is_some_and(|text| text.contains("localhost")), "{problem}");
    assert_eq!(json["verdict"], verdict);
    tls("127.0.0.1", "").file("ca.pem", &Authority::new("another").pem()).assert_finds(
        "tls",
        "its certificate is from an unknown issuer",
        "set upstreams.main.tls.ca to the CA that issued it, with all intermediate certificates",
        verdict,
    );
    let plain = Redis::plain();
    Bench::of(
        "trust",
        &format!("address: '{}', tls: {{ca: ca.pem}}, connect_timeout: 500ms", plain.address()),
    )
    .file("ca.pem", &authority.pem())
    .assert_finds(
        "tls",
        "it sent plain text instead of TLS",
        "remove upstreams.main.tls, or set upstreams.main.address to the TLS port (tls-port)",
        verdict,
    );
    let json = Bench::of("trust", &format!("address: '127.0.0.1:{port}'")).run("--json").json();
    let problem = &json["upstreams"][0]["steps"][1]["problem"];
    assert_eq!(
        problem["advice"],
        "it seems to require TLS: set upstreams.main.tls, or set upstreams.main.address to a port without TLS"
    );
    let expired =
        Redis::builder().tls(&authority.issue(Leaf::server(&["x"]).expired()), &authority.pem()).start();
    Bench::of("trust", &format!("address: '{}', tls: {{ca: ca.pem}}", expired.address()))
        .file("ca.pem", &authority.pem())
        .assert_finds("tls", "its certificate has expired", "renew the server's certificate", verdict);
}

#[test]
fn a_choice_and_its_mistakes() {
    let (redis, free) = (Redis::plain(), ports::free());
    let bench = Bench::with(&format!(
        "listeners:\n  - {{name: public, bind: '127.0.0.1:1', upstream: main, allow: [127.0.0.1]}}\n  \
         - {{name: inside, bind: '127.0.0.1:2', upstream: spare, allow: [127.0.0.1]}}\n\
         upstreams: {{main: {{address: '{}'}}, spare: {{address: '127.0.0.1:{free}'}}}}\nadmin: off\n",
        redis.address()
    ));
    for (arguments, code) in [
        ("", 1),
        ("--upstream main", 0),
        ("-u spare", 1),
        ("--listener public", 0),
        ("--listener inside", 1),
        ("--listener public --upstream main", 0),
    ] {
        assert_eq!(bench.run(arguments).code, code, "{arguments}");
    }
    assert!(!bench.run("--listener public").text.contains("spare"));
    for (arguments, code, told) in [
        ("--upstream mian", 64, "unknown upstream 'mian'; did you mean 'main'?"),
        ("--listener pulbic", 64, "unknown listener 'pulbic'; did you mean 'public'?"),
        (
            "--listener public --upstream spare",
            64,
            "listener 'public' has upstream 'main', not that of --upstream",
        ),
        ("--user app", 64, "--as-client"),
        ("--nonsense", 64, "--nonsense"),
        ("--config absent.yaml", 78, "absent.yaml"),
    ] {
        let printed = bench.run(arguments);
        assert!(printed.told.contains(told) && printed.text.is_empty(), "{arguments}: {}", printed.told);
        assert_eq!(printed.code, code, "{arguments}");
    }
    let bad = Bench::with("listeners: 3\n").run("");
    assert!(bad.code == 78 && bad.told.contains("portcullis.yaml:1:"), "{}", bad.told);
}
