//! A TCP forwarder before a proxy. Clients that are not a [`Client`](crate::Client) connect to it, so that what they read
//! is searched for the addresses behind the proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::inner::Search;

/// Forwards until the end of the process.
pub struct Tap {
    listener: TcpListener,
    found: Found,
}

/// The texts around the addresses that clients read.
type Found = Arc<Mutex<Vec<String>>>;

impl Tap {
    /// Listens on a free port. Connections wait until [`Self::open`]: the proxy may have to announce this address.
    pub fn reserve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        Self { listener, found: Found::default() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }

    /// Forwards all connections to this proxy.
    pub fn open(&self, proxy: SocketAddr) {
        let listener = self.listener.try_clone().expect("a file descriptor");
        let found = Arc::clone(&self.found);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(proxy) else { continue };
                let Some(search) = Search::of(proxy) else { panic!("the proxy at {proxy} hides no address") };
                let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
                let (from, to) = (client.try_clone(), server.try_clone());
                let (from, to) = (from.expect("a file descriptor"), to.expect("a file descriptor"));
                thread::spawn(move || forward(from, to, |_| ()));
                let (found, mut search) = (Arc::clone(&found), search);
                thread::spawn(move || {
                    forward(server, client, |bytes| {
                        found.lock().unwrap_or_else(PoisonError::into_inner).extend(search.find(bytes));
                    });
                });
            }
        });
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        look(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

impl Drop for Tap {
    fn drop(&mut self) {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(thread::panicking() || found.is_empty(), "a client read an inner address: {found:#?}");
    }
}
