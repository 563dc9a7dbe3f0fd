//! The `portcullis` process of one test, with a configuration made for the test.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::certificates::Pair;
use crate::client::Client;
use crate::http;
use crate::inner::Hiding;
use crate::ports;
use crate::process::Process;
use crate::redis::Redis;
use crate::wait::{PATIENCE, within_patience};

pub struct Gate {
    // Dropped before the directory: the proxy must have ended when its directory is removed.
    process: Process,
    environment: Vec<(String, String)>,
    port: u16,
    admin: u16,
    secrets: Vec<String>,
    blanks: Blanks,
    /// Clients that connect meanwhile search what they read.
    _hiding: Option<Hiding>,
    directory: TempDir,
}

/// The values of the placeholders in a test's configuration.
struct Blanks {
    port: String,
    admin: String,
    dir: String,
    redis: String,
}

impl Blanks {
    fn fill(&self, text: &str) -> String {
        text.replace("{port}", &self.port)
            .replace("{admin}", &self.admin)
            .replace("{dir}", &self.dir)
            .replace("{redis}", &self.redis)
    }
}

/// Builds a configuration with one listener `public` and one upstream `main`. The file has only the keys that the
/// test sets. The default has no address of the upstream: see [`Gate::before`].
#[derive(Clone, Default)]
pub struct GateBuilder {
    address: String,
    inner: Vec<SocketAddr>,
    binds: Vec<String>,
    allow: Option<String>,
    listener: Vec<String>,
    upstream: Vec<String>,
    top: Vec<String>,
    password: Option<String>,
    username: Option<String>,
    secrets: Vec<String>,
    files: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    prefix: Vec<OsString>,
    whole: Option<String>,
    options: Option<String>,
    token: bool,
}

impl GateBuilder {
    /// Adds an address to listen on; the default is `127.0.0.1:{port}`. `{port}` and `{dir}` (the scratch directory)
    /// are replaced.
    pub fn bind(mut self, bind: &str) -> Self {
        self.binds.push(bind.to_owned());
        self
    }

    /// Sets the `allow` list as YAML; the default is `[127.0.0.1]`. `""` leaves the key out.
    pub fn allow(mut self, list: &str) -> Self {
        self.allow = Some(list.to_owned());
        self
    }

    /// Adds a line to the listener, such as `auth: trust`.
    pub fn listener(mut self, line: &str) -> Self {
        self.listener.push(line.to_owned());
        self
    }

    /// Adds a line to the upstream, such as `connect_timeout: 1s`.
    pub fn upstream(mut self, line: &str) -> Self {
        self.upstream.push(line.to_owned());
        self
    }

    /// Sets several addresses of the upstream instead of one.
    pub fn addresses<S: AsRef<str>>(mut self, list: impl IntoIterator<Item = S>) -> Self {
        let list: Vec<String> = list.into_iter().map(|address| address.as_ref().to_owned()).collect();
        let quoted: Vec<String> = list.iter().map(|address| format!("\"{address}\"")).collect();
        self.address = format!("[{}]", quoted.join(", "));
        self.inner = list.iter().filter_map(|address| address.parse().ok()).collect();
        self
    }

    /// Sets the addresses behind the proxy that clients must not read. Those of [`Self::addresses`] are known.
    pub fn hides(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.inner = addresses.into_iter().collect();
        self
    }

    /// Returns whether clients must not read the addresses behind the proxy.
    fn is_hidden(&self) -> bool {
        let presents = |line: &String| line.starts_with("present_as") && line != "present_as: [standalone]";
        let moves = |line: &String| line.starts_with("sentinel:") || line.starts_with("cluster:");
        self.listener.iter().any(presents) || self.upstream.iter().any(moves)
    }

    /// Adds a line at the top level, such as `groups: {office: [127.0.0.1]}`.
    pub fn top(mut self, line: &str) -> Self {
        self.top.push(line.to_owned());
        self
    }

    /// Sets the upstream's password. No output of the proxy may contain it.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.secret(password)
    }

    pub fn username(mut self, username: &str) -> Self {
        self.username = Some(username.to_owned());
        self
    }

    /// Adds a text that no output of the proxy may contain.
    pub fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// Sets the token of the admin endpoint.
    pub fn token(mut self, token: &str) -> Self {
        self.token = true;
        self.file("token", token).secret(token)
    }

    /// Adds a file beside the configuration.
    pub fn file(mut self, name: &str, content: &str) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// Enables TLS for clients. `more` has further keys of the mapping, each with a comma before it.
    pub fn tls(self, pair: &Pair, more: &str) -> Self {
        self.file("server.pem", &pair.cert)
            .file("server.key", &pair.key)
            .listener(&format!("tls: {{cert: server.pem, key: server.key{more}}}"))
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the whole configuration instead of its parts. `{port}`, `{admin}` (also a port), `{dir}` and `{redis}`
    /// (the address of the upstream) are replaced.
    pub fn config(mut self, yaml: &str) -> Self {
        self.whole = Some(yaml.to_owned());
        self
    }

    /// Starts with these options in place of the file, separated by spaces, and with `--admin`. `{port}` is replaced.
    pub fn options(mut self, options: &str) -> Self {
        self.options = Some(format!("{options} --admin 127.0.0.1:{{admin}}"));
        self
    }

    /// Runs the proxy under another command, such as `["prlimit", "--nofile=64:64"]`.
    pub fn under<S: AsRef<OsStr>>(mut self, prefix: impl IntoIterator<Item = S>) -> Self {
        self.prefix = prefix.into_iter().map(|s| s.as_ref().to_owned()).collect();
        self
    }

    #[track_caller]
    pub fn start(self) -> Gate {
        let mut told = String::new();
        // Another process may have taken a port in the meantime.
        for _ in 0..5 {
            let mut gate = self.spawn();
            if gate.is_running() {
                return gate;
            }
            told = gate.stderr();
            if !told.to_lowercase().contains("in use") {
                break;
            }
        }
        panic!("the gate does not start: {told}");
    }

    fn spawn(&self) -> Gate {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let (port, admin) = (ports::free(), ports::free());
        let path = directory.path();
        if let Some(password) = &self.password {
            fs::write(path.join("password"), format!("{password}\n")).expect("writable");
            fs::set_permissions(path.join("password"), fs::Permissions::from_mode(0o600)).expect("ours");
        }
        for (name, text) in &self.files {
            fs::write(path.join(name), text).expect("writable");
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).expect("ours");
        }
        let blanks = Blanks {
            port: port.to_string(),
            admin: admin.to_string(),
            dir: path.display().to_string(),
            redis: self.address.clone(),
        };
        let yaml = self.whole.as_ref().map_or_else(|| self.yaml(path, port, admin), |text| blanks.fill(text));
        fs::write(path.join("portcullis.yaml"), yaml).expect("writable");
        let mut words = self.prefix.clone();
        words.extend([binary().into(), "run".into()]);
        match &self.options {
            Some(options) => words.extend(blanks.fill(options).split(' ').map(OsString::from)),
            None => words.extend(["--config".into(), path.join("portcullis.yaml").into()]),
        }
        // Each test has its own state directory, as each service has.
        let mut environment = vec![("RUNTIME_DIRECTORY".to_owned(), path.display().to_string())];
        environment.extend(self.environment.iter().cloned());
        let process = Process::start(path, "gate", &words[0], &words[1..], &environment);
        let hiding = self.is_hidden().then(|| Hiding::begin(port, &self.inner));
        let secrets = self.secrets.clone();
        Gate { process, environment, port, admin, secrets, blanks, _hiding: hiding, directory }
    }

    fn yaml(&self, directory: &Path, port: u16, admin: u16) -> String {
        let fill = |text: &String| {
            text.replace("{port}", &port.to_string()).replace("{dir}", &directory.display().to_string())
        };
        let default_bind = vec!["127.0.0.1:{port}".to_owned()];
        let binds = if self.binds.is_empty() { &default_bind } else { &self.binds };
        let binds: Vec<String> = binds.iter().map(|b| format!("\"{}\"", fill(b))).collect();
        let mut yaml =
            format!("listeners:\n  - name: public\n    bind: [{}]\n    upstream: main\n", binds.join(", "));
        match self.allow.as_deref() {
            Some("") => (),
            allow => yaml += &format!("    allow: {}\n", allow.unwrap_or("[127.0.0.1]")),
        }
        for line in &self.listener {
            yaml += &format!("    {}\n", fill(line));
        }
        yaml += "upstreams:\n  main:\n";
        if !self.address.is_empty() {
            yaml += &format!("    address: {}\n", self.address);
        }
        if self.password.is_some() {
            let user = self.username.as_ref().map(|u| format!("username: {u}, ")).unwrap_or_default();
            yaml += &format!("    credentials: {{{user}password: {{file: password}}}}\n");
        }
        for line in &self.upstream {
            yaml += &format!("    {}\n", fill(line));
        }
        let token = if self.token { ", token: {file: token}" } else { "" };
        yaml += &format!("admin: {{bind: \"127.0.0.1:{admin}\"{token}}}\n");
        for line in &self.top {
            yaml += &format!("{}\n", fill(line));
        }
        yaml
    }
}

impl Gate {
    /// Builds a proxy in front of `redis`, over TCP. It admits only 127.0.0.1.
    pub fn before(redis: &Redis) -> GateBuilder {
        Self::before_address(&redis.address().to_string())
    }

    /// Builds a proxy in front of an address, written as in the configuration.
    pub fn before_address(address: &str) -> GateBuilder {
        GateBuilder::default().addresses([address])
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn admin(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.admin))
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts a further process for the same file, with options of `run`. Its output has this name.
    pub fn beside(&self, name: &str, options: &[&str]) -> Process {
        let file = self.directory().join("portcullis.yaml").display().to_string();
        let words = [&["run", "--config", &file], options].concat();
        Process::start(self.directory(), name, binary().as_os_str(), words, &self.environment)
    }

    /// Puts a process of [`Self::beside`] in the place of the one before, which is returned.
    pub fn succeed(&mut self, next: Process) -> Process {
        std::mem::replace(&mut self.process, next)
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Connects a client from 127.0.0.1.
    pub fn connect(&self) -> Client {
        Client::tcp(self.address())
    }

    /// Connects a client from one loopback address to another: `("127.0.0.2", "127.0.0.1")`, `("::1", "::1")`.
    pub fn connect_from(&self, from: &str, to: &str) -> Client {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        Client::tcp_from(parse(from), SocketAddr::new(parse(to), self.port))
    }

    /// Returns the log lines so far.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Returns the audit lines so far, if the test did not change `audit`.
    pub fn stdout(&self) -> String {
        self.process.stdout()
    }

    /// Replaces the placeholders of [`GateBuilder::config`].
    pub fn fill(&self, text: &str) -> String {
        self.blanks.fill(text)
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let answer = http::get(self.admin(), path).expect("the admin endpoint answers");
        self.assert_no_secrets(path, &answer.1);
        answer
    }

    /// Returns the sum of the samples of `portcullis_NAME` with these labels. 0 if there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        http::sample(&self.get("/metrics").1, &format!("portcullis_{name}"), labels).unwrap_or(0.0)
    }

    /// Waits until [`Self::metric`] is `value`. A client may see an event before the proxy counts it.
    #[track_caller]
    pub fn assert_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut last = None;
        let reached = within_patience(|| {
            last = Some(self.metric(name, labels));
            last == Some(value)
        });
        assert!(reached, "{name} of {labels:?} is {last:?}, not {value}");
    }

    /// Waits until the log contains `text`. A separate thread of the proxy writes the lines.
    #[track_caller]
    pub fn assert_log(&self, text: &str) {
        let logged = within_patience(|| self.stderr().contains(text));
        assert!(logged, "{text:?} is not in the log: {}", self.stderr());
    }

    pub fn has_metric(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        http::sample(&self.get("/metrics").1, &format!("portcullis_{name}"), labels).is_some()
    }

    pub fn peak_memory(&self) -> u64 {
        self.process.peak_memory()
    }

    fn is_running(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.process.ended().is_some() {
                return false;
            }
            if http::get(self.admin(), "/live").is_some_and(|(status, _)| status == 200) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    #[track_caller]
    fn assert_no_secrets(&self, place: &str, text: &str) {
        for secret in &self.secrets {
            assert!(!text.contains(secret.as_str()), "the gate shows the secret {secret:?} in its {place}");
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.process.kill();
        let (log, audit) = (self.stderr(), self.stdout());
        if std::thread::panicking() {
            let tail =
                |text: &str| text.lines().rev().take(30).map(|l| format!("\n    {l}")).collect::<String>();
            let mut shown = std::io::stderr().lock();
            // A failed write is ignored, because the test has failed already.
            let _ = std::io::Write::write_fmt(
                &mut shown,
                format_args!("the gate's log, last line first:{}\nits output:{}\n", tail(&log), tail(&audit)),
            );
            return;
        }
        self.assert_no_secrets("log", &log);
        self.assert_no_secrets("standard output", &audit);
        assert!(!log.contains("panicked at"), "the gate panicked: {log}");
    }
}

/// Runs `portcullis` until it exits. Returns its output.
pub fn portcullis<S: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(directory).env("RUNTIME_DIRECTORY", directory);
    command.output().expect("the binary starts")
}

/// Returns the path in `PORTCULLIS_BIN`, or the binary that cargo has put beside the binary of this test.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("PORTCULLIS_BIN") {
        return named.into();
    }
    let test = std::env::current_exe().expect("this test's path");
    let beside = test.ancestors().nth(2).expect("target/debug/deps/e2e").join("portcullis");
    assert!(
        beside.exists(),
        "there is no {}: `cargo build -p portcullis` makes it (tests/run.sh does), or name one in PORTCULLIS_BIN",
        beside.display()
    );
    beside
}
