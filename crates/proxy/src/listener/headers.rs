//! Counts the connections that wait for their PROXY header, for each sender.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use portcullis_acl::ClientAddr;
use portcullis_acl::rate::Source;

/// The number of connections of one listening socket that may wait for their PROXY header at the same time. Senders
/// write the header at once, so a larger number means that a sender is faulty. Each waiting connection holds a
/// descriptor that no limit of clients covers yet.
const MAX_HEADERS: usize = 1024;

/// The connections of one listening socket that wait.
///
/// A sender may have at most as many waiting connections as there are free places. A single sender thus gets half of
/// the places, and however many senders are faulty, the next one finds room.
#[derive(Debug, Default)]
pub(super) struct Headers {
    all: usize,
    /// The number of waiting connections of each sender. All peers on a unix socket (`None`) count as one sender.
    by_sender: HashMap<Option<Source>, usize>,
}

impl Headers {
    fn enter(&mut self, sender: Option<Source>) -> bool {
        let own = self.by_sender.get(&sender).copied().unwrap_or(0);
        if own >= MAX_HEADERS.saturating_sub(self.all) {
            return false;
        }
        self.by_sender.insert(sender, own + 1);
        self.all += 1;
        true
    }

    fn leave(&mut self, sender: Option<Source>) {
        let Some(own) = self.by_sender.get_mut(&sender) else { return };
        *own -= 1;
        if *own == 0 {
            self.by_sender.remove(&sender);
        }
        self.all -= 1;
    }
}

/// A waiting connection in the count. Dropping the value removes the connection from the count.
#[derive(Debug)]
pub(super) struct Awaited {
    headers: Rc<RefCell<Headers>>,
    sender: Option<Source>,
}

impl Awaited {
    /// Counts a waiting connection. `None` if the sender has as many as it may have.
    pub(super) fn enter(headers: &Rc<RefCell<Headers>>, sender: ClientAddr) -> Option<Self> {
        let sender = Source::of(sender);
        headers.borrow_mut().enter(sender).then(|| Self { headers: Rc::clone(headers), sender })
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.headers.borrow_mut().leave(self.sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(ip: &str) -> ClientAddr {
        ClientAddr::from_socket(std::net::SocketAddr::new(ip.parse().unwrap(), 1))
    }

    fn fill(headers: &Rc<RefCell<Headers>>, sender: &str) -> Vec<Awaited> {
        std::iter::from_fn(|| Awaited::enter(headers, addr(sender))).take(2 * MAX_HEADERS).collect()
    }

    #[test]
    fn a_sender_leaves_room_for_the_next() {
        let headers = Rc::default();
        let first = fill(&headers, "192.0.2.1");
        assert_eq!(first.len(), MAX_HEADERS / 2);
        let second = fill(&headers, "2001:db8::1");
        assert_eq!(second.len(), MAX_HEADERS / 4);
        assert!(fill(&headers, "2001:db8::2").is_empty(), "the same /64");
        for other in 0..100 {
            let waits = fill(&headers, &format!("198.51.100.{other}"));
            assert!(!waits.is_empty(), "{other}");
        }
    }

    #[test]
    fn what_has_come_counts_no_longer() {
        let headers = Rc::default();
        let mut waits = fill(&headers, "192.0.2.1");
        waits.truncate(1);
        assert_eq!(headers.borrow().all, 1);
        drop(waits);
        assert!(headers.borrow().all == 0 && headers.borrow().by_sender.is_empty());
        let unix: Vec<_> = std::iter::from_fn(|| Awaited::enter(&headers, ClientAddr::unix())).collect();
        assert_eq!(unix.len(), MAX_HEADERS / 2);
    }
}
