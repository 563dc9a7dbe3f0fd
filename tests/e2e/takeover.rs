//! `run --takeover`: a new process gets the listening sockets of the running one, which then drains.

mod faults;
mod load;
mod service;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use e2e::gate::binary;
use e2e::{Authority, Client, Gate, GateBuilder, Process, Redis, eventually, http, ports};
use rustix::process::Signal;

/// Starts a process that takes over, and waits until the one before has stopped accepting. Returns that one.
#[track_caller]
fn take_over(gate: &mut Gate, name: &str) -> Process {
    let next = gate.beside(name, &["--takeover"]);
    eventually("the new process serves", || next.stderr().contains(" INFO ready").then_some(()));
    let before = gate.succeed(next);
    // A thread of its own writes the lines.
    eventually("the old process stops accepting", || {
        before.stderr().contains("this process stops accepting").then_some(())
    });
    before
}

/// The socket on which the running process offers its sockets.
fn offer(gate: &Gate) -> PathBuf {
    let files = std::fs::read_dir(gate.directory()).expect("the scratch directory");
    let mut paths = files.map(|file| file.expect("readable").path());
    paths.find(|path| path.extension().is_some_and(|name| name == "takeover")).expect("a socket")
}

fn builder(redis: &Redis) -> GateBuilder {
    Gate::before(redis).top("limits: {timeouts: {drain: 4s}}")
}

/// A subscriber stays on the old process until the end of its drain, and the log says what the drain did.
#[test]
fn the_old_process_drains_and_says_so() {
    let redis = Redis::plain();
    let mut gate = builder(&redis).top("workers: 1").start();
    let mut subscriber = gate.connect();
    subscriber.send("SUBSCRIBE news");
    subscriber.recv();
    let mut idle = gate.connect();
    idle.assert_reply("PING", "+PONG");
    let mut old = take_over(&mut gate, "second");
    // Later clients are on the new process, which counts from 0.
    gate.connect().assert_reply("PING", "+PONG");
    gate.assert_metric("connections_accepted_total", &[], 1.0);
    redis.control().assert_reply("PUBLISH news hello", ":1");
    assert!(subscriber.recv().to_string().contains("hello"));
    idle.assert_closed();
    subscriber.assert_closed();
    assert_eq!(old.wait().code(), Some(0));
    let log = old.stderr();
    let end = log.lines().find(|line| line.contains(" drained ")).expect("the end of the drain");
    assert!(end.contains("seconds=") && end.contains("finished=1") && end.contains("cut=1"), "{end}");
    gate.signal(Signal::TERM);
    assert_eq!(gate.process().wait().code(), Some(0));
    assert!(gate.stderr().contains("finished=0 cut=0"), "{}", gate.stderr());
}

const MANY: &str = r#"
listeners:
  - name: public
    bind: ["127.0.0.1:{port}", {unix: "{dir}/gate.sock", mode: "0600"}]
    upstream: main
    allow: [127.0.0.1, unix]
    limits: {per_source: {auth_failures: 2/1m, block_for: 10m}}
    auth: users
    users: [alice]
  - {name: secure, bind: "127.0.0.1:{secure}", upstream: main, allow: [127.0.0.1], auth: trust, tls: {cert: server.pem, key: server.key}}
  - {name: balanced, bind: "127.0.0.1:{balanced}", upstream: main, allow: [192.0.2.7], auth: trust,
     proxy_protocol: {from: [127.0.0.1], only: true}}
upstreams: {main: {address: {redis}}}
users: {alice: {password: {file: password-of-alice}}}
admin: {bind: "127.0.0.1:{admin}"}
limits: {timeouts: {drain: 2s}}
reload: signal
"#;

/// All kinds of sockets go over: those of listeners, also with TLS and the PROXY protocol, socket files, and the admin
/// endpoint. A blocked source stays blocked.
#[test]
fn every_socket_goes_over() {
    let redis = Redis::plain();
    let authority = Authority::new("a test");
    let pair = authority.server();
    let (secure, balanced) = (ports::free(), ports::free());
    let yaml = MANY.replace("{secure}", &secure.to_string()).replace("{balanced}", &balanced.to_string());
    let mut gate = Gate::before(&redis)
        .config(&yaml.replace("127.0.0.1, unix]", "127.0.0.1]"))
        .file("server.pem", &pair.cert)
        .file("server.key", &pair.key)
        .file("password-of-alice", "the password of alice")
        .start();
    let file = gate.directory().join("gate.sock");
    let mut failing = gate.connect();
    failing.send("AUTH alice one");
    failing.recv();
    failing.send("AUTH alice two");
    let _ = failing.read_to_end();
    for name in ["second", "third"] {
        let mut old = take_over(&mut gate, name);
        assert_eq!(gate.get("/live").0, 200);
        assert_eq!(old.wait().code(), Some(0));
        assert!(Client::try_unix(&file).is_some(), "the file of the socket is gone");
        let mut proxied = Client::tcp(([127, 0, 0, 1], balanced).into());
        proxied.hold(b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 6379\r\n");
        proxied.assert_reply("PING", "+PONG");
        let mut encrypted = Client::tls(([127, 0, 0, 1], secure).into(), &authority.client(), "localhost");
        encrypted.assert_reply("PING", "+PONG");
        let (_, page) = gate.get("/api/sources");
        assert!(page.contains("\"source\":\"127.0.0.1\""), "the block is gone: {page}");
        let check = e2e::gate::portcullis(gate.directory(), ["check", "--config", "portcullis.yaml"]);
        assert!(check.status.success(), "check: {}", String::from_utf8_lossy(&check.stderr));
    }
    gate.signal(Signal::TERM);
    assert_eq!(gate.process().wait().code(), Some(0));
    assert!(!file.exists(), "the last process removes its socket file");
}

/// The new process has another configuration: what it does not name is closed, and what is new is bound.
#[test]
fn the_new_configuration_counts() {
    let redis = Redis::plain();
    let (kept, gone, added) = (ports::free(), ports::free(), ports::free());
    let yaml = |ports: [u16; 2]| {
        format!(
            "listeners: [{{name: public, bind: [\"127.0.0.1:{}\", \"127.0.0.1:{}\"], upstream: main, allow: [127.0.0.1]}}]\n\
             upstreams: {{main: {{address: \"{}\"}}}}\nadmin: {{bind: \"127.0.0.1:{{admin}}\"}}\nreload: signal\n\
             limits: {{timeouts: {{drain: 1s}}}}\n",
            ports[0],
            ports[1],
            redis.address()
        )
    };
    let mut gate = Gate::before(&redis).config(&yaml([kept, gone])).start();
    let next = gate.fill(&yaml([kept, added]));
    std::fs::write(gate.directory().join("portcullis.yaml"), next).expect("writable");
    let mut old = take_over(&mut gate, "second");
    assert_eq!(old.wait().code(), Some(0));
    for port in [kept, added] {
        Client::tcp(([127, 0, 0, 1], port).into()).assert_reply("PING", "+PONG");
    }
    assert!(Client::try_tcp(([127, 0, 0, 1], gone).into()).is_err(), "the old address is still open");
    gate.assert_log("closed: the configuration does not have this address");
}

/// A new address may overlap with an old one, which is closed just before. If the new process fails, the old address comes
/// back.
#[test]
fn an_address_may_overlap_with_an_old_one() {
    let redis = Redis::plain();
    let mut gate = builder(&redis).top("reload: signal").start();
    gate.connect().assert_reply("PING", "+PONG");
    let file = gate.directory().join("portcullis.yaml");
    let before = std::fs::read_to_string(&file).expect("readable");
    let own = format!("bind: [\"127.0.0.1:{}\"]", gate.port());
    assert!(before.contains(&own), "{before}");
    let everywhere = format!("\"0.0.0.0:{}\"", gate.port());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = format!("bind: [{everywhere}, \"{}\"]", taken.local_addr().expect("bound"));
    std::fs::write(&file, before.replace(&own, &busy)).expect("writable");
    let mut failed = gate.beside("failed", &["--takeover"]);
    assert_eq!(failed.wait().code(), Some(1));
    eventually("the old address is there again", || Client::try_tcp(gate.address()).ok())
        .assert_reply("PING", "+PONG");
    std::fs::write(&file, before.replace(&own, &format!("bind: [{everywhere}]"))).expect("writable");
    let mut old = take_over(&mut gate, "second");
    gate.connect_from("127.0.0.1", "127.0.0.2").assert_reply("PING", "+PONG");
    assert_eq!(old.wait().code(), Some(0));
}

/// There is nothing to take over: the process starts as without the option. The file of a killed process is no obstacle.
#[test]
fn without_a_running_process_it_starts_as_always() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    gate.process().kill();
    let stale = offer(&gate);
    assert!(UnixStream::connect(&stale).is_err());
    let next = gate.beside("second", &["--takeover"]);
    gate.succeed(next);
    gate.assert_log("is left of a process that has ended");
    gate.assert_log("no process of this configuration runs");
    gate.connect().assert_reply("PING", "+PONG");
    eventually("the socket is there again", || UnixStream::connect(&stale).ok());
    gate.signal(Signal::TERM);
    assert_eq!(gate.process().wait().code(), Some(0));
    assert!(!stale.exists(), "a process that ends removes its socket");
    let next = gate.beside("third", &["--takeover"]);
    gate.succeed(next);
    gate.assert_log("no process of this configuration runs");
    gate.connect().assert_reply("PING", "+PONG");
}

/// `takeover` names another socket, or none.
#[test]
fn the_key_names_the_socket() {
    let redis = Redis::plain();
    let mut gate = builder(&redis).top("takeover: own/gate.takeover").start();
    let socket = gate.directory().join("own/gate.takeover");
    eventually("the socket is there", || socket.exists().then_some(()));
    let mut old = take_over(&mut gate, "second");
    assert_eq!(old.wait().code(), Some(0));
    drop(gate);

    let gate = builder(&redis).top("takeover: off").start();
    assert!(
        !std::fs::read_dir(gate.directory())
            .expect("there")
            .any(|file| { file.expect("readable").file_name().to_string_lossy().ends_with(".takeover") })
    );
    let mut second = gate.beside("second", &["--takeover"]);
    assert_eq!(second.wait().code(), Some(1));
    assert!(second.stderr().contains("takeover is off in the configuration"), "{}", second.stderr());
    assert!(second.stderr().contains("address in use by the running process"), "{}", second.stderr());
}

/// A socket that is passed to the process is used in place of a new one (socket activation).
#[test]
fn a_socket_of_the_service_manager_is_used() {
    let redis = Redis::plain();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let directory = tempfile::tempdir().expect("a scratch directory");
    let admin = ports::free();
    let yaml = |bind: &str| {
        format!(
            "listeners: [{{name: public, bind: \"{bind}:{}\", upstream: main, allow: [127.0.0.1]}}]\n\
             upstreams: {{main: {{address: \"{}\"}}}}\nadmin: {{bind: \"127.0.0.1:{admin}\"}}\n",
            address.port(),
            redis.address()
        )
    };
    let run = || {
        std::process::Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c"])
            .arg("exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=public exec \"$0\" run")
            .arg(binary())
            .current_dir(directory.path())
            .env("RUNTIME_DIRECTORY", directory.path())
            .stdin(std::os::fd::OwnedFd::from(listener.try_clone().expect("a descriptor")))
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("sh starts")
    };
    let file = directory.path().join("portcullis.yaml");
    std::fs::write(&file, yaml("0.0.0.0")).expect("writable");
    let output = run().wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("the socket 'public' of the service manager is in the way"), "{told}");
    std::fs::write(&file, yaml("127.0.0.1")).expect("writable");
    let mut gate = run();
    // It answers only if the process accepts on the socket that it got.
    Client::tcp(address).assert_reply("PING", "+PONG");
    assert_eq!(http::get(([127, 0, 0, 1], admin).into(), "/live").expect("it answers").0, 200);
    gate.kill().expect("it runs");
    gate.wait().expect("it was killed");
}

/// With `--in-child` the process that the service manager knows ends at once, and its child goes on until the next one
/// has taken over.
#[test]
fn a_parent_ends_while_its_child_drains() {
    let redis = Redis::plain();
    let mut gate = builder(&redis).start();
    gate.process().kill();
    let first = gate.beside("first", &["--in-child", "--takeover"]);
    gate.succeed(first);
    gate.assert_log(" INFO ready");
    let mut subscriber = gate.connect();
    subscriber.send("SUBSCRIBE news");
    subscriber.recv();
    gate.signal(Signal::USR2);
    assert_eq!(gate.process().wait().code(), Some(0), "the parent ends without its child");
    gate.connect().assert_reply("PING", "+PONG");
    let second = gate.beside("second", &["--in-child", "--takeover"]);
    let first = gate.succeed(second);
    gate.assert_log(" INFO ready");
    gate.connect().assert_reply("PING", "+PONG");
    gate.assert_metric("connections_accepted_total", &[], 1.0);
    redis.control().assert_reply("PUBLISH news hello", ":1");
    subscriber.recv();
    subscriber.assert_closed();
    eventually("the first child has drained", || first.stderr().contains(" drained ").then_some(()));
    // SIGHUP and SIGTERM go to the child, and its exit code is that of the parent.
    gate.signal(Signal::HUP);
    gate.assert_log("trigger=signal");
    gate.signal(Signal::TERM);
    assert_eq!(gate.process().wait().code(), Some(0));
    assert!(gate.stderr().contains(" drained "), "{}", gate.stderr());
}

/// A parent that is killed does not leave its child behind, and neither does one that ends with a bad file.
#[test]
fn a_child_does_not_outlive_a_killed_parent() {
    let redis = Redis::plain();
    let mut gate = builder(&redis).start();
    gate.process().kill();
    let parent = gate.beside("parent", &["--in-child", "--takeover"]);
    gate.succeed(parent);
    gate.assert_log(" INFO ready");
    gate.process().kill();
    eventually("the child has ended", || Client::try_tcp(gate.address()).is_err().then_some(()));
    std::fs::write(gate.directory().join("portcullis.yaml"), "listeners: 1\n").expect("writable");
    let mut bad = gate.beside("bad", &["--in-child", "--takeover"]);
    assert_eq!(bad.wait().code(), Some(78));
}

/// The time limit of a thing that takes milliseconds.
const SOON: Duration = Duration::from_secs(10);
