//! The move of docs/migration.md, played beside the real programs: each command as it is written, and after each step
//! the clients that get in.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;

use e2e::gate::binary;
use e2e::{PATIENCE, Process, eventually, http, namespace};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::commands::{assert_works, commands_below, page, shell, workshop};

/// The address of the host, in the documentation's networks like those of the clients.
const HOST: &str = "198.51.100.10";
const REDIS: &str = "10.0.0.5";
/// Clients that the old rules admit. The shadow list of the page admits only the first.
const ADMITTED: [&str; 2] = ["203.0.113.9", "203.0.113.10"];
const REFUSED: &str = "192.0.2.1";

/// The program that forwards until now.
struct Program {
    name: &'static str,
    path: &'static str,
    arguments: &'static [&'static str],
    file: &'static str,
}

#[test]
fn haproxy_is_moved_as_the_page_says() {
    Program {
        name: "haproxy",
        path: "/usr/sbin/haproxy",
        arguments: &["-db", "-f", "old.conf"],
        file: "listen redis\n    bind 198.51.100.10:6379\n    mode tcp\n    timeout connect 2s\n    timeout client 1h\n    \
               timeout server 1h\n    acl office src 203.0.113.0/24\n    \
               tcp-request connection reject if !office\n    server main 10.0.0.5:6379\n",
    }
    .moves();
}

#[test]
fn rinetd_is_moved_as_the_page_says() {
    Program {
        name: "rinetd",
        path: "/usr/sbin/rinetd",
        arguments: &["-f", "-c", "old.conf"],
        // rinetd 0.73 skips the first rule of the file if no rule for all forwards stands before it.
        file: "allow 203.0.113.*\n198.51.100.10 6379 10.0.0.5 6379\n",
    }
    .moves();
}

#[test]
fn nginx_is_moved_as_the_page_says() {
    Program {
        name: "nginx",
        path: "/usr/sbin/nginx",
        arguments: &["-p", ".", "-c", "old.conf"],
        file: "daemon off;\nmaster_process off;\npid old.pid;\nerror_log stderr;\nevents {}\n\
               stream {\n  server {\n    listen 198.51.100.10:6379;\n    allow 203.0.113.0/24;\n    deny all;\n    \
               proxy_pass 10.0.0.5:6379;\n  }\n}\n",
    }
    .moves();
}

/// The old host is not here, so the test begins with its dump.
#[test]
fn netsh_is_moved_as_the_page_says() {
    let program = Program {
        name: "netsh",
        path: "",
        arguments: &[],
        file: "netsh interface portproxy add v4tov4 listenaddress=198.51.100.10 listenport=6379 \
               connectaddress=10.0.0.5 connectport=6379\n",
    };
    program.alone(|program| {
        let mut host = Host::new(program);
        fs::rename(host.directory.path().join("old.conf"), host.directory.path().join("portproxy.txt"))
            .expect("writable");
        host.run("netsh");
        host.await_gate(6379);
    });
}

impl Program {
    fn moves(self) {
        if !Path::new(self.path).exists() {
            return namespace::not_checked(&format!("there is no {} here", self.name));
        }
        self.alone(|program| {
            let mut host = Host::new(program);
            host.start_old();
            host.play();
        });
    }

    /// Runs a test in a network that has the addresses of the page.
    fn alone(self, test: impl FnOnce(Self) + Send) {
        namespace::alone(&format!("the move from {} is", self.name), || {
            for network in ["203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24", "10.0.0.0/24"] {
                namespace::ip(&["route", "add", "local", network, "dev", "lo"]);
            }
            test(self);
        });
    }
}

/// The host: the old program, the gate and Redis.
struct Host {
    directory: TempDir,
    program: Program,
    old: Option<Process>,
    gate: Option<Process>,
    _redis: Process,
}

impl Host {
    fn new(program: Program) -> Self {
        let directory = workshop();
        let words = ["--bind", REDIS, "--port", "6379", "--protected-mode", "no", "--save", ""];
        let redis = Process::start(directory.path(), "redis", "redis-server".as_ref(), words, &[]);
        // Debian's nginx has the module in a file of its own.
        let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let load = if program.name == "nginx" && Path::new(module).exists() {
            format!("load_module {module};\n")
        } else {
            String::new()
        };
        fs::write(directory.path().join("old.conf"), load + program.file).expect("writable");
        Self { directory, program, old: None, gate: None, _redis: redis }
    }

    fn play(mut self) {
        self.await_old(6379);
        self.run("beside");
        self.await_gate(16379);
        self.await_old(6379);
        let compared = self.run("compare");
        assert!(
            compared.contains("203.0.113.9 allowed by ") && compared.contains("\nrefused\n"),
            "{compared}"
        );
        self.run("shadow");
        eventually("the shadow list sees the other client", || {
            self.await_gate(16379);
            let (_, metrics) = http::get(([127, 0, 0, 1], 9377).into(), "/metrics")?;
            http::sample(&metrics, "portcullis_shadow_denied_total", &[]).filter(|count| *count > 0.0)
        });
        let suggested = self.run("suggest");
        assert!(suggested.contains(ADMITTED[1]) && !suggested.contains(ADMITTED[0]), "{suggested}");
        self.run("switch");
        self.await_gate(6379);
        assert!(answer(REFUSED, 16379).is_none(), "the other port is closed");
        self.run("back");
        self.await_old(6379);
        self.await_gate(16379);
    }

    /// Runs the commands of a step. Returns their output.
    fn run(&mut self, step: &str) -> String {
        let mark = format!("move: {step}");
        let commands = commands_below(&page("docs/migration.md"), |found| found == Some(mark.as_str()));
        assert!(!commands.is_empty(), "the page has the step {step}");
        let mut printed = String::new();
        for command in commands {
            match command.as_str() {
                "systemctl restart portcullis" => {
                    let path = self.directory.path();
                    let words = ["run"];
                    self.gate = Some(Process::start(path, "gate", binary().as_os_str(), words, &[]));
                }
                "systemctl stop haproxy" => self.old = None,
                "systemctl start haproxy" => {
                    // The gate leaves the port within a second of the change, and systemd would try again.
                    self.await_gate(16379);
                    self.start_old();
                }
                _ => {
                    let import = format!("import {} old.conf", self.program.name);
                    let ours = command.replace("import haproxy /etc/haproxy/haproxy.cfg", &import);
                    printed += &assert_works(&ours, &shell(self.directory.path(), &ours, ""));
                }
            }
        }
        printed
    }

    fn start_old(&mut self) {
        let Program { path, arguments, .. } = self.program;
        self.old = Some(Process::start(self.directory.path(), "old", path.as_ref(), arguments, &[]));
    }

    /// Waits until the old program serves its clients at the port, and no others.
    fn await_old(&self, port: u16) {
        eventually("the old program serves", || {
            ADMITTED.iter().all(|source| answer(source, port).as_deref() == Some("+PONG\r\n")).then_some(())
        });
        assert_eq!(answer(REFUSED, port).unwrap_or_default(), "", "it closes without a word");
    }

    /// Waits until the gate serves its clients at the port, and no others.
    fn await_gate(&self, port: u16) {
        eventually("the gate serves", || {
            let denied = answer(REFUSED, port).is_some_and(|reply| reply.starts_with("-DENIED "));
            let served = |source: &&str| answer(source, port).as_deref() == Some("+PONG\r\n");
            (denied && ADMITTED.iter().all(served)).then_some(())
        });
    }
}

/// Connects from `source` and sends a PING. Returns the first line that comes, which is empty if the connection is
/// closed before. `None`: the port is closed.
fn answer(source: &str, port: u16) -> Option<String> {
    let [from, to] = [source, HOST].map(|ip| ip.parse::<IpAddr>().expect("an address"));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(from, 0).into()).expect("an address of the namespace");
    socket.connect(&SocketAddr::new(to, port).into()).ok()?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    // A refused client may be disconnected before this write.
    let _ = stream.write_all(b"PING\r\n");
    let mut line = String::new();
    // The line stays empty if the connection is reset.
    let _ = BufReader::new(stream).read_line(&mut line);
    Some(line)
}
