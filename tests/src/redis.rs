//! A `redis-server` process for one test.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::certificates::Pair;
use crate::client::Client;
use crate::ports;
use crate::process::Process;
use crate::server::Server;
use crate::wait::{PATIENCE, eventually};

pub struct Redis {
    // Dropped before the directory: the server must have ended when its directory is removed.
    process: Option<Process>,
    builder: RedisBuilder,
    port: u16,
    directory: TempDir,
}

#[derive(Clone, Default)]
pub struct RedisBuilder {
    password: Option<String>,
    ip: Option<IpAddr>,
    lines: Vec<String>,
    tls_only: bool,
    pair: Option<Pair>,
    server: Option<Server>,
}

impl RedisBuilder {
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Listens on this loopback address instead of 127.0.0.1 and ::1.
    pub fn at(mut self, ip: IpAddr) -> Self {
        self.ip = Some(ip);
        self
    }

    /// Adds a line to redis.conf.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Uses another binary than the installed `redis-server`.
    pub fn server(mut self, server: &Server) -> Self {
        self.server = Some(server.clone());
        self
    }

    /// Allows TCP only with TLS, with a certificate that is made for this server.
    pub fn tls_only(mut self) -> Self {
        self.tls_only = true;
        self
    }

    /// Allows TCP only with TLS, with this certificate. The server trusts client certificates of `ca`.
    pub fn tls(mut self, pair: &Pair, ca: &str) -> Self {
        self.pair = Some(Pair { cert: format!("{}{ca}", pair.cert), key: pair.key.clone() });
        self.tls_only()
    }

    pub fn start(self) -> Redis {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let mut redis = Redis { process: None, builder: self, port: 0, directory };
        match &redis.builder.pair {
            Some(pair) => redis.write_certificate(pair),
            None if redis.builder.tls_only => redis.make_certificate(),
            None => {}
        }
        redis.start();
        redis
    }
}

impl Redis {
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// Starts a server without a password, on 127.0.0.1, ::1 and a unix socket.
    pub fn plain() -> Self {
        Self::builder().start()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.builder.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), self.port)
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub fn password(&self) -> Option<&str> {
        self.builder.password.as_deref()
    }

    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Returns a client on the unix socket that is logged in. The proxy does not use the socket by default, so CLIENT
    /// LIST distinguishes the two.
    pub fn control(&self) -> Client {
        let mut client = Client::unix(&self.socket());
        if let Some(password) = self.password() {
            client.assert_reply(&format!("AUTH {password}"), "+OK");
        }
        client
    }

    /// Returns the lines of CLIENT LIST, without the control connections of the tests.
    pub fn tcp_clients(&self) -> Vec<String> {
        let list = self.control().call("CLIENT LIST").text();
        let socket = format!("addr={}", self.socket().display());
        list.lines().filter(|line| !line.contains(&socket)).map(str::to_owned).collect()
    }

    /// Returns the number of calls of a command from INFO commandstats ("get", "client|list").
    pub fn calls(&self, command: &str) -> u64 {
        let info = self.control().call("INFO commandstats").text();
        let prefix = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&prefix));
        line.map_or(0, |rest| rest.split(',').next().and_then(|n| n.parse().ok()).expect("a count"))
    }

    /// Returns the number of connections accepted since the start, including those on the unix socket.
    pub fn connections_received(&self) -> u64 {
        let info = self.control().call("INFO stats").text();
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.and_then(|n| n.trim().parse().ok()).expect("INFO stats")
    }

    /// Waits until `count` connections are subscribed. Redis notices a closed subscriber a moment later, and counts
    /// it among the receivers of PUBLISH until then.
    #[track_caller]
    pub fn await_subscribers(&self, count: usize) {
        let mut control = self.control();
        eventually(&format!("{count} connections are subscribed"), || {
            (control.call("CLIENT LIST TYPE pubsub").text().lines().count() == count).then_some(())
        });
    }

    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Restarts the server on the same port, with further lines of redis.conf. If `wait` is true, returns after the
    /// server answers.
    pub fn start_again(&mut self, lines: &[&str], wait: bool) {
        assert!(self.process.is_none(), "the server still runs: call kill first");
        self.spawn(lines);
        if wait {
            assert!(self.answers(), "redis-server does not restart: {}", self.process().stdout());
        }
    }

    fn start(&mut self) {
        // Another process may have taken the port in the meantime.
        for _ in 0..5 {
            self.port = ports::free();
            self.spawn(&[]);
            if self.answers() {
                return;
            }
        }
        panic!("redis-server does not start: {}", self.process().stdout() + &self.process().stderr());
    }

    fn spawn(&mut self, lines: &[&str]) {
        let directory = self.directory.path();
        let configuration = directory.join("redis.conf");
        fs::write(&configuration, self.configuration(lines)).expect("the scratch directory is writable");
        let server = self.builder.server.clone().unwrap_or_else(Server::installed);
        let process = Process::start(directory, "redis", server.path.as_os_str(), [&configuration], &[]);
        self.process = Some(process);
    }

    fn configuration(&self, lines: &[&str]) -> String {
        let directory = self.directory.path().display();
        let bind = self.builder.ip.map_or_else(|| "127.0.0.1 ::1".to_owned(), |ip| ip.to_string());
        let ports = match self.builder.tls_only {
            false => format!("port {}", self.port),
            true => format!(
                "port 0\ntls-port {}\ntls-cert-file {directory}/tls.crt\ntls-key-file {directory}/tls.key\n\
                 tls-ca-cert-file {directory}/tls.crt\ntls-auth-clients no",
                self.port
            ),
        };
        // Before version 7, DEBUG was always allowed, and an unknown key in the file is an error.
        let debug = match &self.builder.server {
            Some(server) if server.version() < (7, 0) => "",
            _ => "enable-debug-command yes\n",
        };
        let password = self.password().map(|p| format!("requirepass {p}\n")).unwrap_or_default();
        let more: String = self
            .builder
            .lines
            .iter()
            .map(String::as_str)
            .chain(lines.iter().copied())
            .map(|l| format!("{l}\n"))
            .collect();
        format!(
            "bind {bind}\n{ports}\nunixsocket {directory}/redis.sock\ndir {directory}\n{password}\
             save \"\"\nappendonly no\nprotected-mode no\n{debug}{more}"
        )
    }

    fn answers(&mut self) -> bool {
        let socket = self.socket();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.process.as_mut().is_none_or(|p| p.ended().is_some()) {
                return false;
            }
            if let Some(mut client) = Client::try_unix(&socket) {
                // The reply is PONG, or NOAUTH if there is a password.
                client.call("PING");
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Returns the server's log so far.
    pub fn log(&self) -> String {
        self.process().stdout()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("redis-server runs")
    }

    /// Writes the certificate. The same file contains the CA and serves as the file of trusted CAs.
    fn write_certificate(&self, pair: &Pair) {
        let directory = self.directory.path();
        fs::write(directory.join("tls.crt"), &pair.cert).expect("writable");
        fs::write(directory.join("tls.key"), &pair.key).expect("writable");
    }

    fn make_certificate(&self) {
        let directory = self.directory.path();
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=localhost", "-keyout", "tls.key", "-out", "tls.crt"])
            .current_dir(directory)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    }
}
