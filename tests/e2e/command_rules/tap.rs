//! A server between the proxy and Redis that records the bytes from the proxy on each connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use e2e::Redis;

/// Forwards all bytes, and records the bytes from the proxy.
pub(super) struct Tap {
    address: SocketAddr,
    heard: Heard,
}

type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

impl Tap {
    pub(super) fn before(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let heard = Heard::default();
        let (to, ours) = (redis.address(), Arc::clone(&heard));
        thread::spawn(move || {
            for gate in listener.incoming().flatten() {
                let Ok(redis) = TcpStream::connect(to) else { break };
                let index = {
                    let mut heard = ours.lock().unwrap_or_else(PoisonError::into_inner);
                    heard.push(Vec::new());
                    heard.len() - 1
                };
                let ours = Arc::clone(&ours);
                let (from, back) =
                    (gate.try_clone().expect("a socket"), redis.try_clone().expect("a socket"));
                thread::spawn(move || {
                    pass(from, redis, |bytes| {
                        ours.lock().unwrap_or_else(PoisonError::into_inner)[index].extend_from_slice(bytes);
                    });
                });
                thread::spawn(move || pass(back, gate, |_| ()));
            }
        });
        Self { address, heard }
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the bytes of the connection that carried `marker`.
    #[track_caller]
    pub(super) fn with(&self, marker: &str) -> String {
        let all = self.all();
        let mut with = all.into_iter().filter(|sent| sent.contains(marker));
        let only = with.next().unwrap_or_else(|| panic!("the proxy never sent {marker}"));
        assert!(with.next().is_none(), "the proxy sent {marker} twice");
        only
    }

    /// Returns the recorded bytes, by connection.
    pub(super) fn all(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut keep: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        keep(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Fails if the connection is closed already.
    let _ = to.shutdown(Shutdown::Write);
}
