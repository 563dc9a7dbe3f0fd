//! What goes wrong with a take-over: one line says it, and the running process goes on.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use e2e::gate::binary;
use e2e::namespace::not_checked;
use e2e::{Gate, PATIENCE, Process, Redis, eventually, ports};
use rustix::process::geteuid;

use super::{SOON, builder, offer, take_over};

const REQUEST: &str = "{\"takeover\":[1],\"release\":\"0.1.0\"}\n";

fn connect(path: &Path) -> UnixStream {
    let stream = eventually("the process offers its sockets", || UnixStream::connect(path).ok());
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream
}

/// Reads up to the end of the connection.
fn rest(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

/// The lines of the log about take-overs that failed.
fn faults(gate: &Gate) -> Vec<String> {
    let log = gate.stderr();
    log.lines().filter(|line| line.contains("a take-over by")).map(str::to_owned).collect()
}

/// Waits for one line with this text, and checks that the process goes on.
#[track_caller]
fn assert_fault(gate: &Gate, count: usize, text: &str) {
    eventually(text, || (faults(gate).len() >= count).then_some(()));
    let lines = faults(gate);
    assert_eq!(lines.len(), count, "{lines:#?}");
    let last = lines.last().expect("a line");
    assert!(last.contains(text) && last.ends_with("this process goes on"), "{last}");
    gate.connect().assert_reply("PING", "+PONG");
}

/// Each peer ends, or goes wrong, at another step.
#[test]
fn a_peer_that_goes_wrong_at_each_step() {
    let redis = Redis::plain();
    let mut gate = builder(&redis).start();
    gate.connect().assert_reply("PING", "+PONG");
    let path = offer(&gate);
    drop(connect(&path));
    assert_fault(&gate, 1, "it closed the connection before it sent a request");
    for (count, garbage) in [(2, "GET / HTTP/1.1\r\nHost: gate\r\n\r\n"), (3, "{}\n")] {
        let mut peer = connect(&path);
        peer.write_all(garbage.as_bytes()).expect("it reads");
        assert_fault(&gate, count, "it sent no valid request");
        assert!(rest(&mut peer).contains("{\"refused\":"));
    }
    let mut peer = connect(&path);
    peer.write_all(&vec![b'x'; 8 << 10]).expect("there is room");
    assert_fault(&gate, 4, "it sent no valid request");
    let mut peer = connect(&path);
    peer.write_all(b"{\"takeover\":[7],\"release\":\"9.0.0\"}\n").expect("it reads");
    assert_fault(&gate, 5, "it does not speak version [1] of the messages (it is release 9.0.0)");
    assert!(rest(&mut peer).contains("does not speak version"));
    let mut peer = connect(&path);
    peer.write_all(REQUEST.as_bytes()).expect("it reads");
    let mut granted = [0; 10];
    peer.read_exact(&mut granted).expect("it answers");
    assert_eq!(&granted, b"{\"granted\"");
    let mut other = connect(&path);
    other.write_all(REQUEST.as_bytes()).expect("it reads");
    assert_fault(&gate, 6, "another take-over is in progress");
    drop(peer);
    assert_fault(&gate, 7, "it got the sockets, and ended before it served");
    let mut old = take_over(&mut gate, "second");
    assert_eq!(old.wait().code(), Some(0));
}

/// A peer that says nothing, before or after it got the sockets, is given up after 10 s, and does not block others.
#[test]
fn a_silent_peer_is_given_up() {
    let redis = Redis::plain();
    let mut gate = builder(&redis).start();
    gate.connect().assert_reply("PING", "+PONG");
    let path = offer(&gate);
    let begin = Instant::now();
    let _silent = connect(&path);
    let mut late = connect(&path);
    late.write_all(REQUEST.as_bytes()).expect("it reads");
    eventually("both are given up", || (faults(&gate).len() == 2).then_some(()));
    assert!(begin.elapsed() >= SOON, "given up after {:?}", begin.elapsed());
    let lines = faults(&gate);
    assert!(lines.iter().any(|line| line.contains("it sent no request within 10s")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("and did not serve within 10s")), "{lines:#?}");
    // Too late: the running process does not listen to this peer any more.
    let _ = late.write_all(b"\"serving\"\n");
    gate.connect().assert_reply("PING", "+PONG");
    let _other = connect(&path);
    let mut old = take_over(&mut gate, "second");
    assert_eq!(old.wait().code(), Some(0));
}

/// The new process cannot start: its file is bad, or another program has a new address.
#[test]
fn a_new_process_that_cannot_start() {
    let redis = Redis::plain();
    let gate = builder(&redis).top("reload: signal").start();
    gate.connect().assert_reply("PING", "+PONG");
    let file = gate.directory().join("portcullis.yaml");
    let good = std::fs::read_to_string(&file).expect("readable");
    std::fs::write(&file, format!("{good}lisseners: 1\n")).expect("writable");
    let mut next = gate.beside("bad", &["--takeover"]);
    assert_eq!(next.wait().code(), Some(78));
    assert!(!gate.stderr().contains("take-over"), "{}", gate.stderr());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let more = format!("[\"{}\", ", taken.local_addr().expect("bound"));
    std::fs::write(&file, good.replacen("bind: [", &format!("bind: {more}"), 1)).expect("writable");
    let mut next = gate.beside("second", &["--takeover"]);
    assert_eq!(next.wait().code(), Some(1));
    assert!(next.stderr().to_lowercase().contains("in use"), "{}", next.stderr());
    assert_fault(&gate, 1, "it got the sockets, and ended before it served");
}

/// Two processes of one file: the second is told what to do.
#[test]
fn a_second_process_without_the_option() {
    let redis = Redis::plain();
    let gate = builder(&redis).start();
    let mut second = gate.beside("second", &[]);
    assert_eq!(second.wait().code(), Some(1));
    let log = second.stderr();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
    let [error] = errors[..] else { panic!("{log}") };
    assert!(
        error.contains("address in use by the running process of this configuration")
            && error.contains("run --takeover"),
        "{error}"
    );
    gate.connect().assert_reply("PING", "+PONG");
}

/// Without a directory for the socket the process serves, and says that it cannot be replaced.
#[test]
fn a_state_directory_that_cannot_be_written() {
    let redis = Redis::plain();
    let gate = builder(&redis).environment("RUNTIME_DIRECTORY", "/proc/self").start();
    gate.connect().assert_reply("PING", "+PONG");
    gate.assert_log("'run --takeover' cannot replace this process");
    let told = gate.stderr();
    assert_eq!(told.lines().filter(|line| line.contains("takeover")).count(), 1, "{told}");
}

/// A process at the path that is no Portcullis.
#[test]
fn a_socket_of_another_program() {
    let redis = Redis::plain();
    let gate = builder(&redis).start();
    gate.connect().assert_reply("PING", "+PONG");
    let path = offer(&gate);
    std::fs::remove_file(&path).expect("it is there");
    let other = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let mut next = gate.beside("second", &["--takeover"]);
    let (mut peer, _) = other.accept().expect("a connection");
    peer.write_all(b"HTTP/1.1 400 Bad Request\r\n").expect("it reads");
    assert_eq!(next.wait().code(), Some(1));
    assert!(next.stderr().contains("it is no Portcullis, or its messages are damaged"), "{}", next.stderr());
    gate.connect().assert_reply("PING", "+PONG");
}

/// The words that run a command as the user `nobody`, who may read the binary wherever it is.
const NOBODY: [&str; 10] = [
    "setpriv",
    "--reuid",
    "65534",
    "--regid",
    "65534",
    "--clear-groups",
    "--inh-caps",
    "+dac_read_search",
    "--ambient-caps",
    "+dac_read_search",
];

/// Neither side talks to a process of another user.
#[test]
fn another_user() {
    if !geteuid().is_root() {
        return not_checked("only root can run processes of two users; take-overs by another user are");
    }
    let redis = Redis::plain();
    let gate = builder(&redis).start();
    gate.connect().assert_reply("PING", "+PONG");
    let file = gate.directory().join("portcullis.yaml").display().to_string();
    let command =
        [binary().display().to_string(), "run".into(), "--takeover".into(), "--config".into(), file];
    let words = NOBODY[1..].iter().map(|word| (*word).to_owned()).chain(command);
    let state = ("RUNTIME_DIRECTORY".to_owned(), gate.directory().display().to_string());
    let mut next = Process::start(gate.directory(), "nobody", NOBODY[0].as_ref(), words, &[state]);
    assert_eq!(next.wait().code(), Some(1));
    assert!(
        next.stderr().contains("permission denied; run as the user of that process"),
        "{}",
        next.stderr()
    );
    gate.connect().assert_reply("PING", "+PONG");
    drop(gate);

    let state = tempfile::tempdir().expect("a scratch directory");
    std::os::unix::fs::chown(state.path(), Some(65534), Some(65534)).expect("we are root");
    std::fs::set_permissions(state.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    let directory = state.path().display().to_string();
    let gate = builder(&redis).under(NOBODY).environment("RUNTIME_DIRECTORY", &directory).start();
    gate.connect().assert_reply("PING", "+PONG");
    let mut next = gate.beside("root", &["--takeover"]);
    assert_eq!(next.wait().code(), Some(1));
    assert!(next.stderr().contains("it runs as user 65534, and this process as user 0"), "{}", next.stderr());
    assert_fault(&gate, 1, "it runs as user 0, and this process as user 65534");
    assert!(ports::free() > 0);
}
