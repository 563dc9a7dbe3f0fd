use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use portcullis_config::tls::{Identity, ServerTls, provider};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConnection, RootCertStore, StreamOwned};
use tokio::runtime::Builder;

use super::super::super::socket::Socket;
use super::*;
use crate::tls::accept;

/// A deterministic source of lengths and contents.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| u8::try_from(self.next(256)).unwrap()).collect()
    }
}

type Peer = StreamOwned<ClientConnection, UnixStream>;

/// Returns a server after the handshake, and the thread of a client of rustls that runs `peer`.
async fn connected<T: Send + 'static>(
    peer: impl FnOnce(Peer) -> T + Send + 'static,
) -> (Stream, JoinHandle<T>) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let identity = Identity::new(vec![cert.der().clone()], der).unwrap();
    let tls = ServerTls::new(vec![identity], None).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (ours, theirs) = UnixStream::pair().unwrap();
    for end in [&ours, &theirs] {
        // The send buffers are small, so that writes are cut short.
        socket2::SockRef::from(end).set_send_buffer_size(8 * 1024).unwrap();
    }
    ours.set_nonblocking(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let thread = std::thread::spawn(move || peer(StreamOwned::new(client, theirs)));
    let plain = Stream::register(Socket::Unix(ours)).unwrap();
    let stream = accept(plain, &tls, None, std::time::Duration::from_secs(20)).await.unwrap();
    (Stream::Tls(stream), thread)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

async fn write_all(stream: &mut Stream, mut bytes: &[u8], noise: &mut Noise) {
    while !bytes.is_empty() {
        // The bytes are in two slices, divided at any place.
        let (all, cut) = (bytes.len().min(1 + noise.next(60_000)), noise.next(20_000));
        let (first, second) = bytes[..all].split_at(cut.min(all));
        let slices = [IoSlice::new(first), IoSlice::new(second)];
        let n = poll_fn(|cx| stream.poll_write(cx, &slices)).await.unwrap();
        assert!(n > 0 && n <= all, "{n} of {all}");
        bytes = &bytes[n..];
    }
}

#[test]
fn what_is_written_arrives_whatever_the_pieces() {
    run(async {
        let mut noise = Noise(7);
        let sent = noise.bytes(700_000);
        let (mut stream, peer) = connected(|mut peer| {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).map(|_| got)
        })
        .await;
        write_all(&mut stream, &sent, &mut noise).await;
        assert_eq!(stream.held(), 0);
        // Dropping the stream sends `close_notify`. Without it, reading to the end would fail.
        drop(stream);
        let got = tokio::task::spawn_blocking(|| peer.join().unwrap()).await.unwrap().unwrap();
        assert!(got == sent);
    });
}

#[test]
fn what_is_sent_is_read_whatever_the_room() {
    run(async {
        let sent = Noise(8).bytes(500_000);
        let expected = sent.clone();
        let (mut stream, peer) = connected(move |mut peer| {
            let mut noise = Noise(9);
            let mut rest = sent.as_slice();
            while !rest.is_empty() {
                let n = rest.len().min(1 + noise.next(40_000));
                peer.write_all(&rest[..n]).unwrap();
                rest = &rest[n..];
            }
            peer.conn.send_close_notify();
            peer.flush().unwrap();
            peer
        })
        .await;
        let (mut got, mut noise) = (Vec::new(), Noise(10));
        loop {
            poll_fn(|cx| stream.poll_readable(cx)).await.unwrap();
            let mut room = vec![0; 1 + noise.next(20_000)];
            let n = poll_fn(|cx| stream.poll_read(cx, &mut room)).await.unwrap();
            if n == 0 {
                break;
            }
            got.extend_from_slice(&room[..n]);
            assert!(stream.held() < 64 * 1024, "{}", stream.held());
        }
        assert!(got == expected);
        assert_eq!(stream.held(), 0, "nothing is held at the end");
        drop(peer.join());
    });
}

/// A stream that ends in the middle of a record has ended, and no byte of that record is read.
#[test]
fn a_cut_record_is_no_data() {
    run(async {
        let (mut stream, peer) = connected(|mut peer| {
            peer.write_all(b"whole").unwrap();
            let mut record = Vec::new();
            peer.conn.writer().write_all(b"cut off").unwrap();
            peer.conn.write_tls(&mut record).unwrap();
            peer.sock.write_all(&record[..record.len() - 1]).unwrap();
            peer.sock.shutdown(std::net::Shutdown::Write).unwrap();
            peer
        })
        .await;
        let mut room = [0; 100];
        let n = poll_fn(|cx| stream.poll_read(cx, &mut room)).await.unwrap();
        assert_eq!(&room[..n], b"whole");
        assert_eq!(poll_fn(|cx| stream.poll_read(cx, &mut room)).await.unwrap(), 0);
        drop(peer.join());
    });
}

#[test]
fn a_forged_record_ends_it() {
    run(async {
        let (mut stream, peer) = connected(|mut peer| {
            // The record must not be in the same read as the end of the handshake.
            peer.read_exact(&mut [0]).unwrap();
            let mut record = Vec::new();
            peer.conn.writer().write_all(b"FLUSHALL").unwrap();
            peer.conn.write_tls(&mut record).unwrap();
            *record.last_mut().unwrap() ^= 1;
            peer.sock.write_all(&record).unwrap();
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest).unwrap_err().kind()
        })
        .await;
        assert_eq!(poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(b"x")])).await.unwrap(), 1);
        let mut room = [0; 100];
        let error = poll_fn(|cx| stream.poll_read(cx, &mut room)).await.unwrap_err();
        assert_eq!(error.to_string(), "it sent data that cannot be decrypted");
        assert!(TlsFault::behind(&error).is_some());
        assert!(poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(b"x")])).await.is_err());
        drop(stream);
        // The alert shows that the peer was told.
        assert_eq!(peer.join().unwrap(), io::ErrorKind::InvalidData);
    });
}
