use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use portcullis_acl::ClientAddr;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::*;
use crate::net::socket::Socket;
use crate::testing::generation;

/// Returns a client that has already written `bytes`, and its connection.
fn client(bytes: &[u8]) -> (TcpStream, Refused) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    client.write_all(bytes).expect("room");
    let (socket, peer) = listener.accept().expect("it is there");
    socket.set_nonblocking(true).expect("a socket");
    let refused = Refused {
        socket: Socket::Tcp(socket),
        from: ClientAddr::from_socket(peer),
        listener: Arc::clone(&generation().listeners()[0]),
        reason: RefusedReason::NotAllowed,
        rule: None,
    };
    (client, refused)
}

/// Refuses a connection in that style. Returns what the client reads until the end, and the error of its last
/// read.
fn refused(style: Refusal, reason: RefusedReason, lingering: &Lingering) -> (Vec<u8>, Option<ErrorKind>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (mut client, mut connection) = client(&[b'x'; 100_000]);
        connection.reason = reason;
        refuse(connection, style, lingering);
        let reading = tokio::task::spawn_blocking(move || {
            let mut got = Vec::new();
            let end = client.read_to_end(&mut got).err().map(|error| error.kind());
            (got, end)
        });
        reading.await.expect("it reads")
    })
}

#[test]
fn lines_arrive_though_the_client_has_written() {
    let lingering = Lingering::default();
    let expect = |style, reason, line: &[u8]| {
        assert_eq!(refused(style, reason, &lingering), (line.to_vec(), None), "{style:?} {reason:?}");
    };
    expect(Refusal::Denied, RefusedReason::NotAllowed, reply::DENIED);
    expect(Refusal::IllegalAddress, RefusedReason::Denied, reply::ILLEGAL_ADDRESS);
    expect(Refusal::Denied, RefusedReason::Limit, reply::MAX_CLIENTS);
    expect(Refusal::IllegalAddress, RefusedReason::Limit, reply::MAX_CLIENTS);
    assert!(lingering.is_empty(), "whoever lingered is gone");
}

#[test]
fn close_and_reset_say_nothing() {
    let lingering = Lingering::default();
    for style in [Refusal::Close, Refusal::Reset] {
        let (got, end) = refused(style, RefusedReason::NotAllowed, &lingering);
        assert_eq!(got, b"", "{style:?}");
        // The proxy did not read the client's bytes, so both styles end with a reset.
        assert_eq!(end, Some(ErrorKind::ConnectionReset), "{style:?}");
    }
}

/// If the limit is reached, the connection is closed at once and does not linger.
#[test]
fn the_set_is_bounded() {
    let lingering = Lingering::default();
    let slots: Vec<Slot> = (0..MAX_LINGERING).map(|_| Slot::take(&lingering.0)).collect();
    refused(Refusal::Denied, RefusedReason::NotAllowed, &lingering);
    assert_eq!(lingering.0.get(), MAX_LINGERING);
    drop(slots);
    assert!(lingering.is_empty());
}
