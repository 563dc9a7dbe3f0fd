use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use portcullis_config::{Limits, UnixSocket};

use super::*;

fn tcp() -> Tcp {
    Limits::default().tcp().clone()
}

fn unix(path: &Path, binder: Binder) -> ReadySocket {
    let listener = UnixListener::bind(path).unwrap();
    ReadySocket::new(listener.into(), ReadyAddress::Unix(path.to_owned()), binder)
}

#[test]
fn a_socket_is_taken_for_its_address_only() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut ready = ReadySockets::default();
    let address = ReadyAddress::Tcp { addr, v6only: false };
    ready.add(ReadySocket::new(listener.into(), address, Binder::Manager("public".to_owned())));
    let bind = |addr| Bind::Tcp { addr, v6only: false };
    let other = SocketAddr::from(([0, 0, 0, 0], addr.port()));
    assert!(ready.take(&bind(other), &tcp()).unwrap().is_none());
    assert_eq!(ready.rest().len(), 1);
    let (socket, file) = ready.take(&bind(addr), &tcp()).unwrap().unwrap();
    assert!(file.is_none() && socket.nonblocking().unwrap() && ready.rest().is_empty());
    assert!(ready.take(&bind(addr), &tcp()).unwrap().is_none(), "it is taken once");
}

/// Until the process before has stopped, the end of this one leaves the file alone.
#[test]
fn the_file_goes_with_the_process_that_owns_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gate.sock");
    let bind = Bind::Unix(UnixSocket::at(path.clone()).with_mode(0o600));
    for (acquired, stays) in [(false, true), (true, false)] {
        let _ = std::fs::remove_file(&path);
        let owner = Ownership::of_another();
        let mut ready = ReadySockets::default();
        ready.add(unix(&path, Binder::Former(owner.clone())));
        let taken = ready.take(&bind, &tcp()).unwrap().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        if acquired {
            owner.acquire();
        }
        drop(taken);
        assert_eq!(path.exists(), stays, "acquired: {acquired}");
    }
}

/// No client finds a socket without its file.
#[test]
fn a_socket_without_its_file_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gate.sock");
    let mut ready = ReadySockets::default();
    ready.add(unix(&path, Binder::Manager("inside".to_owned())));
    std::fs::remove_file(&path).unwrap();
    assert!(ready.take(&Bind::Unix(UnixSocket::at(path)), &tcp()).unwrap().is_none());
}

#[test]
fn sockets_in_the_way_are_those_that_overlap() {
    let bind = |text: &str| Bind::Tcp { addr: text.parse().unwrap(), v6only: false };
    let mut ready = ReadySockets::default();
    for (address, binder) in [
        ("127.0.0.1:6380", Binder::Former(Ownership::of_another())),
        ("127.0.0.2:6380", Binder::Former(Ownership::of_another())),
        ("127.0.0.1:6381", Binder::Former(Ownership::of_another())),
        ("127.0.0.1:6382", Binder::Manager("public".to_owned())),
    ] {
        let address = ReadyAddress::Tcp { addr: address.parse().unwrap(), v6only: false };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        ready.add(ReadySocket::new(listener.into(), address, binder));
    }
    let wanted = [bind("0.0.0.0:6380"), bind("127.0.0.2:6380"), bind("127.0.0.3:6381"), bind("[::]:6382")];
    let removed = ready.remove_in_the_way(&wanted.iter().collect::<Vec<_>>());
    assert_eq!(removed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1:6380"]);
    assert_eq!(ready.rest().len(), 3);
}
