//! `run` starts exactly where `check` by the same user exits 0.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use e2e::gate::binary;
use e2e::{Authority, Gate, Process, Random, Redis, eventually, namespace};
use tempfile::TempDir;

/// A user without rights, who does not exist on most hosts either.
const NOBODY: &str = "65534";

/// A setting that the host must allow: a good form and bad ones.
struct Need {
    /// The placeholder in [`YAML`].
    name: &'static str,
    good: &'static str,
    bad: &'static [&'static str],
}

const YAML: &str = "\
listeners:
  - {name: public, bind: [{tcp}, {unix}], upstream: main, allow: [listed], tls: {cert: server.pem, key: {key}}}
upstreams: {main: {address: '127.0.0.1:1', credentials: {password: {file: {password}}}}}
groups: {listed: {file: {list}}}
admin: {bind: {admin}}
audit: {path: {audit}}
";

const NEEDS: [Need; 7] = [
    Need {
        name: "{tcp}",
        good: "'127.0.0.1:7001'",
        // Not of this host, in use, not permitted, without a zone, and a wildcard of a port in use.
        bad: &["'192.0.2.1:7001'", "'127.0.0.1:7000'", "'127.0.0.1:1'", "'[fe80::1]:7001'", "'0.0.0.0:7000'"],
    },
    Need {
        name: "{unix}",
        good: "'unix:sockets/a.sock'",
        bad: &[
            "'unix:absent/a.sock'",
            "'unix:closed/a.sock'",
            "'unix:sockets/file'",
            "'unix:sockets/live.sock'",
            "'unix:sockets/file/a.sock'",
            "'unix:sockets/LONG.sock'",
            "{unix: sockets/a.sock, group: 0}",
            "{unix: sockets/a.sock, group: no-such-group}",
            "{unix: sockets/a.sock, group: '4294967295'}",
        ],
    },
    Need {
        name: "{admin}",
        good: "'127.0.0.1:7002'",
        bad: &[
            "'127.0.0.1:7000'",
            "'[::]:7001'",
            "'127.0.0.1:2'",
            "'unix:absent/admin.sock'",
            "'unix:./sockets/a.sock'",
        ],
    },
    Need {
        name: "{audit}",
        good: "logs/audit.log",
        // Paths that cannot be opened, that are no files, and files of the configuration.
        bad: &[
            "absent/audit.log",
            "closed/audit.log",
            "logs",
            "logs/not-mine.log",
            "logs/absent-link",
            "logs/pipe",
            "sockets/live.sock",
            "/dev/zero",
            "list.txt",
            "list-link",
            "portcullis.yaml",
            "password",
            "server.key",
            "sockets/a.sock",
        ],
    },
    Need { name: "{password}", good: "password", bad: &["absent", "not-mine", "logs", "empty", "/dev/zero"] },
    Need { name: "{key}", good: "server.key", bad: &["absent", "not-mine", "server.pem", "logs"] },
    Need {
        name: "{list}",
        good: "list.txt",
        bad: &["absent.txt", "not-mine", "bad.txt", "sockets/live.sock"],
    },
];

/// Files of all kinds, in a directory that belongs to [`NOBODY`].
struct Host {
    directory: TempDir,
    /// The limit of open files of both programs.
    files: u32,
    _port: TcpListener,
    _socket: UnixListener,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let path = |name: &str| directory.path().join(name);
        for name in ["sockets", "logs", "closed"] {
            fs::create_dir(path(name)).expect("writable");
        }
        let pair = Authority::new("host").server();
        for (name, text) in [
            ("password", "canary\n"),
            ("empty", "\n"),
            ("list.txt", "127.0.0.1\n"),
            ("bad.txt", "127.0.0.300\n"),
            ("server.pem", &pair.cert),
            ("server.key", &pair.key),
            ("not-mine", "10.0.0.1\n"),
            ("logs/not-mine.log", ""),
            ("sockets/file", ""),
        ] {
            fs::write(path(name), text).expect("writable");
            fs::set_permissions(path(name), Permissions::from_mode(0o600)).expect("own");
        }
        std::os::unix::fs::symlink("../absent/audit.log", path("logs/absent-link")).expect("writable");
        std::os::unix::fs::symlink("list.txt", path("list-link")).expect("writable");
        make_pipe(&path("logs/pipe"));
        let socket = UnixListener::bind(path("sockets/live.sock")).expect("writable");
        let port = TcpListener::bind("127.0.0.1:7000").expect("a port of this namespace");
        fs::copy(binary(), path("portcullis")).expect("writable");
        give(directory.path());
        for name in ["not-mine", "logs/not-mine.log", "closed"] {
            let chown = std::os::unix::fs::chown(path(name), Some(0), Some(0));
            chown
                .and_then(|()| fs::set_permissions(path(name), Permissions::from_mode(0o700)))
                .expect("root");
        }
        Self { directory, files: 1024, _port: port, _socket: socket }
    }

    /// A copy of the program: the user may have no access to the original.
    fn binary(&self) -> PathBuf {
        self.directory.path().join("portcullis")
    }

    fn write(&self, yaml: &str) {
        let file = self.directory.path().join("portcullis.yaml");
        fs::write(&file, yaml.replace("LONG", &"x".repeat(100))).expect("writable");
        fs::set_permissions(file, Permissions::from_mode(0o644)).expect("own");
    }

    fn check(&self, more: &[&str]) -> Output {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={0}:{0}", self.files))
            .arg("setpriv")
            .args(unprivileged())
            .arg(self.binary())
            .arg("check")
            .args(more);
        command.current_dir(self.directory.path()).output().expect("setpriv of util-linux starts")
    }

    /// Starts the proxy. Returns whether it started, and its log; it has ended then.
    fn starts(&self) -> (bool, String) {
        let limit = [format!("--nofile={0}:{0}", self.files), "setpriv".to_owned()];
        let mut words: Vec<_> =
            limit.into_iter().chain(unprivileged()).map(std::ffi::OsString::from).collect();
        words.extend([self.binary().into_os_string(), "run".into()]);
        // The output is appended to: that of the run before must not count.
        let _ = fs::remove_file(self.directory.path().join("gate.err"));
        let mut process = Process::start(self.directory.path(), "gate", "prlimit".as_ref(), &words, &[]);
        let started = eventually("it starts, or ends", || {
            let ended = process.ended().is_some();
            let listens = process.stderr().contains("listening");
            (ended || listens).then_some(listens)
        });
        process.kill();
        (started, process.stderr())
    }
}

/// Hands a directory and what is in it over to [`NOBODY`].
fn give(directory: &Path) {
    let owner = format!("{NOBODY}:{NOBODY}");
    let done = Command::new("chown").args(["-R", &owner]).arg(directory).status().expect("chown starts");
    assert!(done.success());
}

fn unprivileged() -> [String; 6] {
    let id = NOBODY.to_owned();
    let word = str::to_owned;
    [word("--reuid"), id.clone(), word("--regid"), id, word("--clear-groups"), word("--no-new-privs")]
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The configuration with one need in that form, and the others as they should be.
fn yaml(forms: &[(&str, &str)]) -> String {
    let good = NEEDS.iter().map(|need| (need.name, need.good));
    let forms = forms.iter().copied().chain(good);
    // The first form of a name counts: the others find nothing to replace.
    forms.fold(YAML.to_owned(), |yaml, (name, form)| yaml.replace(name, form))
}

#[track_caller]
fn assert_agree(host: &Host, yaml: &str) -> bool {
    host.write(yaml);
    let check = host.check(&[]);
    let (started, log) = host.starts();
    let good = check.status.code() == Some(0);
    assert_eq!(started, good, "{yaml}\ncheck says:\n{}\nrun says:\n{log}", text(&check));
    if !good {
        assert_eq!(check.status.code(), Some(78), "{}", text(&check));
    }
    good
}

/// Each fault alone, and some at once.
#[test]
fn run_starts_exactly_where_check_finds_no_fault() {
    namespace::alone("facts of a host are", || {
        let mut host = Host::new();
        for files in [16, 24, 32, 49, 64] {
            host.files = files;
            assert_eq!(assert_agree(&host, &yaml(&[])), files == 64, "{files} open files");
        }
        for need in &NEEDS {
            for bad in need.bad {
                assert!(!assert_agree(&host, &yaml(&[(need.name, bad)])), "{} {bad}", need.name);
            }
        }
        let mut random = Random::new(7);
        for _ in 0..20 {
            let forms: Vec<(&str, &str)> = NEEDS
                .iter()
                .map(|need| match random.below(need.bad.len() * 6) {
                    at if at < need.bad.len() => (need.name, need.bad[at]),
                    _ => (need.name, need.good),
                })
                .collect();
            assert_agree(&host, &yaml(&forms));
        }
    });
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo starts").success());
}

/// A configuration that comes through a pipe is read. A pipe that no program writes is an error after some seconds.
#[test]
fn pipes_in_place_of_files() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let pair = Authority::new("host").server();
    let write = |name: &str, text: &str| fs::write(scratch.path().join(name), text).expect("writable");
    for (name, text) in [
        ("password", "canary\n"),
        ("list.txt", "127.0.0.1\n"),
        ("server.pem", &pair.cert),
        ("server.key", &pair.key),
    ] {
        write(name, text);
    }
    make_pipe(&scratch.path().join("pipe"));
    let check = |name: &str, shell: &str| {
        let shell = shell.replace("PORTCULLIS", &format!("{} check --no-host", binary().display()));
        let mut command = Command::new("sh");
        command.args(["-c", &shell.replace("NAME", name)]).current_dir(scratch.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh starts")
    };
    // Relative paths would begin in /dev.
    let at = |name: &str| scratch.path().join(name).display().to_string();
    let (list, password, key) = (at("list.txt"), at("password"), at("server.key"));
    let good = yaml(&[
        ("{tcp}", "'127.0.0.1:0'"),
        ("{unix}", "'127.0.0.2:0'"),
        ("{admin}", "'127.0.0.3:0'"),
        ("{list}", &list),
        ("{password}", &password),
        ("{key}", &key),
    ]);
    let good = good.replace("server.pem", &at("server.pem"));
    write("good.yaml", &good);
    let mut checks = vec![("pipe", check("pipe", "PORTCULLIS --config NAME"))];
    for (file, name) in [(&list, "list"), (&password, "secret"), (&key, "key")] {
        write(&format!("{name}.yaml"), &good.replace(file, "pipe"));
        checks.push((name, check(name, "PORTCULLIS --config NAME.yaml")));
    }
    let read = check("good.yaml", "sleep 1 | cat NAME - | PORTCULLIS --config /dev/stdin");
    let read = read.wait_with_output().expect("it ends");
    assert_eq!(read.status.code(), Some(0), "{}", text(&read));
    for (name, check) in checks {
        let output = check.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(78), "{name}: {}", text(&output));
        assert!(text(&output).contains("nothing came for 10s"), "{name}: {}", text(&output));
    }
}

/// What `check` says about the host is marked, and left out on request.
#[test]
fn facts_of_the_host_are_marked_and_can_be_left_out() {
    namespace::alone("facts of a host are", || {
        let host = Host::new();
        let bad = [
            ("{tcp}", "'192.0.2.1:7001'"),
            ("{unix}", "{unix: absent/a.sock, group: no-such-group}"),
            ("{admin}", "'127.0.0.1:7000'"),
            ("{audit}", "closed/audit.log"),
        ];
        for form in bad {
            host.write(&yaml(&[form]));
            let check = host.check(&["--json"]);
            let found: serde_json::Value = serde_json::from_slice(&check.stdout).expect("JSON");
            let problems = found["problems"].as_array().expect("a list");
            let errors: Vec<_> = problems.iter().filter(|problem| problem["severity"] == "error").collect();
            let [error] = errors.as_slice() else { panic!("{form:?}: {found}") };
            let message = error["message"].as_str().expect("text");
            assert!(message.ends_with(" (this host)"), "{form:?}: {error}");
            let line = YAML.lines().position(|line| line.contains(form.0)).expect("it is there") + 1;
            assert_eq!(error["line"], line, "{form:?}: {error}");
            assert_eq!(host.check(&["--no-host"]).status.code(), Some(0), "{form:?}");
        }
        host.write(&yaml(&[("{password}", "absent")]));
        assert_eq!(host.check(&["--no-host"]).status.code(), Some(78), "a secret is not of the host");
        assert_eq!(host.check(&["--no-host", "--no-secrets"]).status.code(), Some(0));
        // Nothing is left behind.
        host.write(&yaml(&[]));
        assert_eq!(host.check(&[]).status.code(), Some(0));
        let names = |directory: &str| {
            let files = fs::read_dir(host.directory.path().join(directory)).expect("readable");
            let mut names: Vec<_> = files.map(|file| file.expect("readable").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names("sockets"), ["file", "live.sock"]);
        assert_eq!(names("logs"), ["absent-link", "not-mine.log", "pipe"]);
    });
}

/// `check` before a reload: the ports that the proxy itself holds are no obstacle, those of others are.
#[test]
fn check_beside_the_running_proxy() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).bind("127.0.0.1:{port}").bind("unix:{dir}/a.sock").start();
    let check =
        || Command::new(binary()).arg("check").current_dir(gate.directory()).output().expect("it starts");
    let first = check();
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    gate.connect().assert_reply("PING", "+PONG");
    assert!(gate.directory().join("a.sock").exists());

    // A second configuration with the same address is another proxy.
    let yaml = fs::read_to_string(gate.directory().join("portcullis.yaml")).expect("readable");
    let other = tempfile::tempdir().expect("a scratch directory");
    fs::write(other.path().join("portcullis.yaml"), &yaml).expect("writable");
    let output = Command::new(binary()).arg("check").current_dir(other.path()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("another process already listens there"), "{}", text(&output));

    // After a reload the new address counts as well.
    let second = e2e::ports::free();
    let moved = yaml.replace(&gate.port().to_string(), &second.to_string());
    gate.reload_after(|| gate.configure(&moved));
    let after = check();
    assert_eq!(after.status.code(), Some(0), "{}", text(&after));
    let taken = TcpListener::bind(gate.address()).expect("it was released");
    gate.configure(&yaml);
    let refused = check();
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused));
    drop(taken);
}
