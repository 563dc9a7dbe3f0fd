//! Searches what clients read for the addresses behind a proxy that hides them. Every [`Client`](crate::Client) and
//! every [`Tap`](crate::Tap) of such a proxy does this, so a test need not ask for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// The beginnings of every address behind the proxy that differs from the proxy's own: those of
/// [`Masters`](crate::Masters) and of a [`Cluster`](crate::Cluster).
const INNER: [&str; 2] = ["127.0.1.", crate::cluster::INNER];

/// The number of bytes that are kept between two reads. No address with the text around it is longer.
const KEPT: usize = 128;

/// The proxies that hide addresses, by port.
static HIDING: LazyLock<Mutex<HashMap<u16, Arc<Inner>>>> = LazyLock::new(Mutex::default);

/// The addresses of servers and sentinels that clients must not read.
#[derive(Debug)]
struct Inner {
    ports: Vec<u16>,
}

/// The time in which a proxy hides addresses.
#[derive(Debug)]
pub struct Hiding {
    port: u16,
}

impl Hiding {
    /// Begins the search in what clients of the proxy at `port` read.
    pub(crate) fn begin(port: u16, addresses: &[SocketAddr]) -> Self {
        let ports = addresses.iter().map(SocketAddr::port).collect();
        hiding().insert(port, Arc::new(Inner { ports }));
        Self { port }
    }
}

impl Drop for Hiding {
    fn drop(&mut self) {
        hiding().remove(&self.port);
    }
}

fn hiding() -> MutexGuard<'static, HashMap<u16, Arc<Inner>>> {
    HIDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The search in the bytes of one connection.
#[derive(Debug)]
pub(crate) struct Search {
    inner: Arc<Inner>,
    window: Vec<u8>,
}

impl Search {
    /// Makes a search, if the peer is a proxy that hides addresses.
    pub(crate) fn of(peer: SocketAddr) -> Option<Self> {
        if INNER.iter().any(|inner| peer.to_string().starts_with(inner)) {
            return None;
        }
        let inner = Arc::clone(hiding().get(&peer.port())?);
        Some(Self { inner, window: Vec::new() })
    }

    /// Searches the next bytes. Returns the text around an address.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Option<String> {
        self.window.extend_from_slice(bytes);
        let found = self.inner.position(&self.window).map(|at| {
            let around = &self.window[at.saturating_sub(KEPT)..(at + KEPT).min(self.window.len())];
            around.escape_ascii().to_string()
        });
        let surplus = self.window.len().saturating_sub(KEPT);
        self.window.drain(..surplus);
        found
    }
}

impl Inner {
    fn position(&self, bytes: &[u8]) -> Option<usize> {
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let is_start = |at: &usize| digit(*at) && !at.checked_sub(1).is_some_and(digit);
        (0..bytes.len()).filter(is_start).find(|at| {
            let length = bytes[*at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            // A number at the end may go on in the next bytes.
            let is_whole = at + length < bytes.len();
            let number =
                std::str::from_utf8(&bytes[*at..at + length]).ok().and_then(|text| text.parse().ok());
            INNER.iter().any(|inner| bytes[*at..].starts_with(inner.as_bytes()))
                || is_whole
                    && number.is_some_and(|number| self.ports.contains(&number))
                    && is_port(&bytes[..*at], &bytes[at + length..])
        })
    }
}

/// Returns whether a number between these texts is a port. A counter may have the same value as a port by chance.
fn is_port(before: &[u8], after: &[u8]) -> bool {
    let is_line = after.starts_with(b"\r\n");
    let is_bulk = is_line && before.ends_with(b"$5\r\n");
    // In the reply to ROLE, the offset of the replication follows the word.
    let is_offset = before.ends_with(b"\r\nmaster\r\n:");
    let is_integer = is_line && !is_offset && before.strip_suffix(b"\r\n:").is_some_and(ends_with_bulk);
    let of_host = matches!(before, [.., b'0'..=b'9' | b']', b':' | b',' | b' ']);
    is_bulk || is_integer || of_host || before.ends_with(b"port=") || before.ends_with(b"port:")
}

/// Returns whether the bytes end with a bulk string, apart from its line end: the host of an address, not a counter.
fn ends_with_bulk(bytes: &[u8]) -> bool {
    let mut lines = bytes.rsplit(|byte| *byte == b'\n');
    let (Some(text), Some(header)) = (lines.next(), lines.next()) else { return false };
    header.strip_suffix(b"\r").is_some_and(|header| header.ends_with(format!("${}", text.len()).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(parts: &[&str]) -> bool {
        let mut search =
            Search { inner: Arc::new(Inner { ports: vec![12_345, 23_456] }), window: Vec::new() };
        parts.iter().filter(|part| search.find(part.as_bytes()).is_some()).count() > 0
    }

    #[test]
    fn every_form_of_an_address_is_found() {
        for text in [
            "$11\r\n127.0.1.4:1\r\n",
            "$11\r\n127.0.2.4:1\r\n",
            "-MOVED 1 127.0.0.1:12345\r\n",
            "-MOVED 1 [::1]:12345\r\n",
            "$60\r\nslave0:ip=redis,port=12345,state=online\r\n",
            "$60\r\nmaster_port:23456\r\n",
            "*2\r\n$5\r\nredis\r\n$5\r\n12345\r\n",
            "*2\r\n$5\r\nredis\r\n:12345\r\n",
            ">2\r\n$43\r\nmymaster 127.0.0.1 12345 127.0.0.1 23456\r\n",
            "127,0,mymaster,127.0.0.1,12345,0\r\n",
        ] {
            assert!(find(&[text]), "{text:?}");
            for cut in 1..text.len() - 2 {
                assert!(find(&[&text[..cut], &text[cut..]]), "{text:?} in two parts, {cut}");
            }
        }
    }

    #[test]
    fn other_numbers_are_none() {
        for text in [
            ":12345\r\n:12346\r\n",
            "-ERR x\r\n:12345\r\n",
            "*3\r\n$6\r\nmaster\r\n:12345\r\n*0\r\n",
            "$40\r\ntotal_commands_processed:12345\r\n",
            "port:123456\r\n",
            "port:112345\r\n",
            "127.0.0.1:1234\r\n",
            "$6\r\n123456\r\n",
        ] {
            for cut in 0..text.len() {
                assert!(!find(&[&text[..cut], &text[cut..]]), "{text:?} in two parts, {cut}");
            }
        }
        let long = format!("$2000\r\n{}\r\n", "9".repeat(2000));
        assert!(!find(&[&long]));
    }
}
