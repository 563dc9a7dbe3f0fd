use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use portcullis_config::UnixSocket;

use super::*;

fn path(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("gate.sock")
}

fn socket(path: &Path) -> UnixSocket {
    UnixSocket::at(path.to_owned())
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

#[test]
fn takes_over_a_dead_socket() {
    let directory = directory();
    let path = path(&directory);
    drop(listen_unix(&socket(&path)).expect("nobody is there"));
    assert!(path.exists());
    let _listener = listen_unix(&socket(&path)).expect("nobody answers there");
    std::os::unix::net::UnixStream::connect(&path).expect("it listens");
}

/// A socket on which a server listens is left alone, without waiting for a server whose backlog is full.
#[test]
fn leaves_a_living_socket() {
    let directory = directory();
    let path = path(&directory);
    let addr = socket2::SockAddr::unix(&path).expect("short enough");
    let living = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    living.bind(&addr).expect("nobody is there");
    living.listen(0).expect("bound");
    let mut crowd = Vec::new();
    for _ in 0..3 {
        let error = listen_unix(&socket(&path)).expect_err("somebody listens there");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let client = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        client.set_nonblocking(true).expect("a socket");
        let _ = client.connect(&addr);
        crowd.push(client);
    }
    assert!(path.exists());
}

/// A wrong path in the configuration must not destroy a file.
#[test]
fn leaves_a_file_of_another_kind() {
    let directory = directory();
    let path = path(&directory);
    std::fs::write(&path, "precious").expect("writable");
    let error = listen_unix(&socket(&path)).expect_err("that is no socket");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(std::fs::read(&path).expect("still there"), b"precious");
}

#[test]
fn removes_its_own_file_only() {
    let directory = directory();
    let path = path(&directory);
    let _first = listen_unix(&socket(&path)).expect("nobody is there");
    let file = SocketFile::at(&path).expect("bound");
    std::fs::remove_file(&path).expect("it is there");
    let _second = listen_unix(&socket(&path)).expect("nobody is there any more");
    let seconds = SocketFile::at(&path).expect("bound");
    drop(file);
    assert!(path.exists(), "the second's file is gone with the first");
    drop(seconds);
    assert!(!path.exists());
}

/// The file has the configured mode and group, whatever the umask of the process is.
#[test]
fn the_file_has_its_mode_and_group() {
    let directory = directory();
    let mode = |path: &Path| std::fs::metadata(path).expect("bound").mode() & 0o7777;
    let default = path(&directory);
    let _one = listen_unix(&socket(&default)).expect("nobody is there");
    assert_eq!(mode(&default), 0o660);
    for bits in [0o600, 0o666, 0o620] {
        let path = directory.path().join(format!("{bits:o}.sock"));
        let own = rustix::process::getgid().as_raw();
        let _socket = listen_unix(&socket(&path).with_mode(bits).with_group(own)).expect("nobody is there");
        assert_eq!((mode(&path), std::fs::metadata(&path).expect("bound").gid()), (bits, own));
    }
}
