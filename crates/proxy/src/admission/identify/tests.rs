use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use super::*;
use crate::testing::generation;

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 1234 6379\r\n";

fn pair() -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    sender.set_nodelay(true).unwrap();
    let (receiver, _) = listener.accept().unwrap();
    receiver.set_nonblocking(true).unwrap();
    (sender, Socket::Tcp(receiver))
}

fn soon() -> Duration {
    Duration::from_secs(20)
}

fn is_the_client(source: HeaderSource) -> bool {
    let client: SocketAddr = "192.0.2.7:1234".parse().unwrap();
    matches!(source, HeaderSource::Tcp { source, .. } if source == client)
}

fn rest(socket: Socket) -> Vec<u8> {
    let Socket::Tcp(mut stream) = socket else { panic!("not TCP") };
    stream.set_nonblocking(false).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

#[tokio::test]
async fn what_follows_the_header_is_left_alone_wherever_it_is_cut() {
    for cut in 1..LINE.len() {
        let (mut sender, receiver) = pair();
        let written = std::thread::spawn(move || {
            let (first, then) = LINE.split_at(cut);
            sender.write_all(first).unwrap();
            std::thread::sleep(Duration::from_millis(3));
            sender.write_all(&[then, b"PING\r\n"].concat()).unwrap();
        });
        let (fd, source) = read_header(receiver, soon()).await.unwrap();
        assert!(is_the_client(source));
        written.join().unwrap();
        assert_eq!(rest(fd), b"PING\r\n", "{cut}");
    }
}

#[tokio::test]
async fn a_byte_at_a_time() {
    let (mut sender, receiver) = pair();
    let written = std::thread::spawn(move || {
        for byte in LINE {
            sender.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let (fd, source) = read_header(receiver, soon()).await.unwrap();
    assert!(is_the_client(source));
    written.join().unwrap();
    assert_eq!(rest(fd), b"");
}

#[tokio::test]
async fn on_a_unix_socket_too() {
    let (mut sender, receiver) = UnixStream::pair().unwrap();
    receiver.set_nonblocking(true).unwrap();
    sender.write_all(LINE).unwrap();
    let (_, source) = read_header(Socket::Unix(receiver), soon()).await.unwrap();
    assert!(is_the_client(source));
}

#[tokio::test]
async fn no_header_in_time_or_at_all() {
    let (sender, receiver) = pair();
    let error = read_header(receiver, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, HeaderFault::Timeout(_)), "{error}");
    drop(sender);

    let (mut sender, receiver) = pair();
    sender.write_all(&LINE[..9]).unwrap();
    drop(sender);
    let error = read_header(receiver, soon()).await.unwrap_err();
    assert!(matches!(error, HeaderFault::Closed), "{error}");

    let (mut sender, receiver) = pair();
    sender.write_all(b"PING\r\n").unwrap();
    let error = read_header(receiver, soon()).await.unwrap_err();
    assert!(matches!(error, HeaderFault::Header(_)), "{error}");
}

#[test]
fn local_is_the_sender_and_unknown_is_nobody() {
    let sender = ClientAddr::from_socket("10.0.0.1:9".parse().unwrap());
    let by_header = |source| {
        let listener = Arc::clone(&generation().listeners()[0]);
        Identified::by_header(pair().1, sender, source, listener)
    };
    let local = by_header(HeaderSource::Local).unwrap();
    assert_eq!(local.from.ip(), sender.ip());
    assert!(by_header(HeaderSource::Unknown).is_err());
}
