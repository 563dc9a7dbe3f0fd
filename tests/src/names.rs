//! A name server, and a way to make a process use it. For a test in a network namespace of its own: the server listens
//! on 127.0.0.1:53.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The behaviour of the server for a name.
#[derive(Clone, Debug)]
pub enum Zone {
    /// These addresses, each in the answer of its type.
    Addresses(Vec<IpAddr>),
    /// SERVFAIL, as a server says whose own sources are gone.
    Fails,
    /// No answer at all.
    Silent,
}

/// A server that knows the names that a test sets, and answers NXDOMAIN for all others.
pub struct NameServer {
    zones: Arc<Mutex<HashMap<String, Zone>>>,
}

impl NameServer {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").expect("a namespace of our own, as root");
        let zones: Arc<Mutex<HashMap<String, Zone>>> = Arc::default();
        let known = Arc::clone(&zones);
        // It ends with the process of the tests: a socket of a namespace that is gone gets nothing more.
        thread::spawn(move || {
            let mut message = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut message) {
                if let Some(answer) = answer(&message[..len], &lock(&known)) {
                    // The resolver may have gone.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { zones }
    }

    pub fn set(&self, name: &str, zone: Zone) {
        lock(&self.zones).insert(name.to_owned(), zone);
    }

    pub fn set_addresses(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        self.set(name, Zone::Addresses(addresses));
    }
}

fn lock(zones: &Mutex<HashMap<String, Zone>>) -> MutexGuard<'_, HashMap<String, Zone>> {
    zones.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the prefix of a command (see [`crate::GateBuilder::under`]) that makes it resolve names by the server and
/// nothing else. `directory` is for files of this.
pub fn resolving(directory: &Path) -> Vec<String> {
    let (resolv, hosts) = (directory.join("resolv.conf"), directory.join("hosts"));
    fs::write(&resolv, "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n").expect("writable");
    fs::write(&hosts, "127.0.0.1 localhost\n").expect("writable");
    let script = format!(
        "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/hosts && exec \"$0\" \"$@\"",
        resolv.display(),
        hosts.display()
    );
    ["unshare", "--mount", "sh", "-c", &script].map(str::to_owned).to_vec()
}

/// The answer to a question (RFC 1035, 4.1), or `None`.
fn answer(question: &[u8], zones: &HashMap<String, Zone>) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const RECURSION: u16 = 0x8180;
    let mut labels = Vec::new();
    let mut at = HEADER;
    while let Some(len) = question.get(at).map(|len| usize::from(*len)).filter(|len| *len > 0) {
        labels.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + len)?).to_lowercase());
        at += 1 + len;
    }
    let kind = u16::from_be_bytes(question.get(at + 1..at + 3)?.try_into().ok()?);
    let asked = question.get(HEADER..at + 5)?;
    let (code, records) = match zones.get(&labels.join(".")) {
        None => (3, Vec::new()),
        Some(Zone::Silent) => return None,
        Some(Zone::Fails) => (2, Vec::new()),
        Some(Zone::Addresses(all)) => (0, all.iter().filter_map(|ip| record(*ip, kind)).collect()),
    };
    let count = u16::try_from(records.len()).ok()?;
    let mut answer = question.get(..2)?.to_vec();
    for word in [RECURSION | code, 1, count, 0, 0] {
        answer.extend(word.to_be_bytes());
    }
    answer.extend(asked);
    answer.extend(records.concat());
    Some(answer)
}

/// The record of an address, if it is of that type: the name is a pointer to that of the question.
fn record(ip: IpAddr, kind: u16) -> Option<Vec<u8>> {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    let (own, data) = match ip {
        IpAddr::V4(v4) => (A, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
    };
    let mut record = vec![0xc0, 12];
    for word in [own, 1, 0, 0, u16::try_from(data.len()).expect("short")] {
        record.extend(word.to_be_bytes());
    }
    record.extend(data);
    (own == kind).then_some(record)
}
