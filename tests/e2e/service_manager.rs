//! Messages to the service manager (sd_notify), and exit codes by which it decides whether to start the proxy again.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use e2e::gate::{binary, portcullis};
use e2e::{Gate, PATIENCE, Process, Redis, eventually, namespace, ports};
use rustix::process::Signal;
use tempfile::TempDir;

/// The socket in place of the service manager's.
struct Manager {
    socket: UnixDatagram,
    name: String,
    _directory: TempDir,
}

impl Manager {
    fn with_path() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let path = directory.path().join("notify");
        let name = path.to_str().expect("UTF-8").to_owned();
        Self::new(UnixDatagram::bind(&path).expect("a socket"), name, directory)
    }

    fn with_abstract_name() -> Self {
        let name = format!("portcullis-e2e-{}-{}", std::process::id(), ports::free());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        Self::new(socket, format!("@{name}"), tempfile::tempdir().expect("a scratch directory"))
    }

    fn new(socket: UnixDatagram, name: String, directory: TempDir) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Self { socket, name, _directory: directory }
    }

    #[track_caller]
    fn recv(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message in time");
        String::from_utf8(bytes[..length].to_vec()).expect("UTF-8")
    }

    /// Receives messages until one begins with `start`. Returns it, and those before it that are neither a status nor
    /// for the watchdog.
    #[track_caller]
    fn recv_until(&self, start: &str) -> (String, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let message = self.recv();
            if message.starts_with(start) {
                return (message, before);
            }
            if !message.starts_with("STATUS=") && message != "WATCHDOG=1" {
                before.push(message);
            }
        }
    }

    /// Receives messages up to one that begins with `start`, which must be the next one, apart from statuses.
    #[track_caller]
    fn assert_next(&self, start: &str) -> String {
        let (message, before) = self.recv_until(start);
        assert!(before.is_empty(), "before {start}: {before:?}");
        message
    }
}

/// The order of messages: ready, reloading, ready, stopping.
fn assert_order(manager: &Manager) {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).environment("NOTIFY_SOCKET", &manager.name).start();
    manager.assert_next("READY=1");
    gate.connect().assert_reply("PING", "+PONG");
    assert_eq!(manager.recv_until("STATUS=ready").0, "STATUS=ready");
    gate.signal(Signal::HUP);
    let reloading = manager.assert_next("RELOADING=1\nMONOTONIC_USEC=");
    let micros = reloading.rsplit_once('=').expect("a value").1.parse::<u64>().expect("a number");
    assert!(micros > 0);
    manager.assert_next("READY=1");
    gate.signal(Signal::TERM);
    let stopping = manager.assert_next("STOPPING=1\n");
    assert!(stopping.contains("\nEXTEND_TIMEOUT_USEC=40000000\nSTATUS=stopping: "), "{stopping}");
    assert_eq!(gate.process().wait().code(), Some(0));
}

#[test]
fn ready_reloading_and_stopping_in_their_order() {
    assert_order(&Manager::with_path());
}

#[test]
fn the_socket_may_have_an_abstract_name() {
    assert_order(&Manager::with_abstract_name());
}

/// The proxy is ready as soon as it serves: a Redis that starts later must not fail the start of the unit.
#[test]
fn the_status_says_what_is_missing() {
    let manager = Manager::with_path();
    let mut redis = Redis::plain();
    redis.kill();
    let gate = Gate::before(&redis).environment("NOTIFY_SOCKET", &manager.name).start();
    manager.assert_next("READY=1");
    manager.recv_until("STATUS=not ready: upstream 'main' is down (refused)");
    redis.start_again(&[], true);
    assert_eq!(manager.recv_until("STATUS=ready").0, "STATUS=ready");
    std::fs::write(gate.directory().join("portcullis.yaml"), "listeners: 1\n").expect("writable");
    gate.signal(Signal::HUP);
    manager.recv_until("RELOADING=1");
    manager.assert_next("READY=1");
    assert_eq!(manager.recv_until("STATUS=").0, "STATUS=ready; the last reload was rejected: see the log");
}

#[test]
fn the_watchdog_gets_messages_while_threads_respond() {
    let redis = Redis::plain();
    for workers in ["workers: 1", "workers: 2"] {
        let manager = Manager::with_path();
        let gate = Gate::before(&redis)
            .top(workers)
            .environment("NOTIFY_SOCKET", &manager.name)
            .environment("WATCHDOG_USEC", "600000")
            .start();
        for _ in 0..3 {
            manager.recv_until("WATCHDOG=1");
        }
        gate.connect().assert_reply("PING", "+PONG");
        gate.signal(Signal::TERM);
        manager.assert_next("STOPPING=1\n");
    }
}

#[test]
fn a_socket_that_is_not_there_does_not_stop_the_proxy() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).environment("NOTIFY_SOCKET", "/nowhere/notify").start();
    gate.assert_log("cannot send messages to the service manager");
    gate.connect().assert_reply("PING", "+PONG");
}

/// 1 is tried again by the unit, 78 is not: a restart does not repair a file.
#[test]
fn an_address_that_is_not_there_yet_is_no_error_of_the_file() {
    namespace::alone("addresses that come later are", || {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let yaml = "listeners: [{name: public, bind: \"192.0.2.7:6379\", upstream: main, allow: [192.0.2.0/24]}]\n\
                    upstreams: {main: {address: \"192.0.2.7:6380\"}}\nadmin: off\n";
        std::fs::write(directory.path().join("portcullis.yaml"), yaml).expect("writable");
        let exit = || portcullis(directory.path(), ["run"]).status.code();
        assert_eq!(exit(), Some(1));
        namespace::ip(&["addr", "add", "192.0.2.7/32", "dev", "lo"]);
        let mut gate = Process::start(directory.path(), "gate", binary().as_os_str(), ["run"], &[]);
        eventually("it listens", || gate.stderr().contains(" INFO started ").then_some(()));
        gate.kill();
        std::fs::write(directory.path().join("portcullis.yaml"), yaml.replace("bind", "binds"))
            .expect("writable");
        assert_eq!(exit(), Some(78));
    });
}
