//! `present_as`, `announce` and `announce_master`: the kind of server that clients see, and its address.

use std::net::SocketAddr;

use super::{Listeners, Read};
use crate::address::Address;
use crate::fields::Fields;
use crate::message::{Masked, message};
use crate::presentation::{Announced, Kinds, Presentation};
use crate::problem::{Position, Problems};
use crate::raw::Node;
use crate::scope::Scope;
use crate::value;
use crate::value::socket::{self, Local};

/// The longest name of a master. Redis has no limit; names of people are much shorter.
const LONGEST_MASTER: usize = 255;

const ANNOUNCE_HINT: &str = "write announce: HOST:PORT, the address at which clients reach this listener";

/// The keys as written. `None`: not set.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// The kinds, and where the list stands.
    kinds: Option<(Kinds, Position)>,
    announce: Option<Announced>,
    /// The names, and where the list stands.
    masters: Option<(Vec<String>, Position)>,
}

impl Written {
    /// Reads the keys. Returns `false` in second place if one of them has a value that cannot be used.
    pub(super) fn read(fields: &mut Fields<'_>, problems: &mut Problems) -> (Self, bool) {
        let mut written = Self::default();
        let mut sound = true;
        if let Some(node) = fields.take("present_as") {
            let read = kinds(node, problems);
            sound &= read.is_some();
            written.kinds = read.map(|kinds| (kinds, node.place.clone()));
        }
        if let Some(node) = fields.take("announce") {
            written.announce = announce(node, problems);
            sound &= written.announce.is_some();
        }
        if let Some(node) = fields.take("announce_master") {
            let read = masters(node, problems);
            sound &= read.is_some();
            written.masters = read.map(|masters| (masters, node.place.clone()));
        }
        (written, sound)
    }

    /// These where set, else those of `below`.
    pub(super) fn over(self, below: &Self) -> Self {
        Self {
            kinds: self.kinds.or_else(|| below.kinds.clone()),
            announce: self.announce.or_else(|| below.announce.clone()),
            masters: self.masters.or_else(|| below.masters.clone()),
        }
    }

    fn kinds(&self) -> Kinds {
        self.kinds.as_ref().map_or(Kinds::STANDALONE, |(kinds, _)| *kinds)
    }

    /// Whether the listener answers every command itself, so that its clients have no rights at the upstream.
    pub(super) fn is_sentinel_only(&self) -> bool {
        self.kinds().is_sentinel_only()
    }

    pub(super) fn finish(self) -> Presentation {
        let kinds = self.kinds();
        let masters = self.masters.map_or_else(|| vec![Presentation::MASTER.to_owned()], |(names, _)| names);
        Presentation { kinds, announce: self.announce, masters }
    }
}

fn kinds(node: &Node, problems: &mut Problems) -> Option<Kinds> {
    let hint = "write present_as: [standalone], or a list of standalone, sentinel and cluster";
    if value::list(node).is_empty() {
        problems.error(&node.place, "present_as has no value", hint);
        return None;
    }
    let mut kinds = Kinds::default();
    let mut sound = true;
    for item in value::list(node) {
        let words = ["standalone", "sentinel", "cluster"].map(|word| (word, word));
        let Some(word) = value::word(item, "present_as", &words, problems) else {
            sound = false;
            continue;
        };
        let kind = match word {
            "standalone" => &mut kinds.standalone,
            "sentinel" => &mut kinds.sentinel,
            _ => &mut kinds.cluster,
        };
        if std::mem::replace(kind, true) {
            let message = message!("present_as lists '{}' twice", word);
            problems.error(&item.place, message, "remove one of them");
            sound = false;
        }
    }
    sound.then_some(kinds)
}

fn announce(node: &Node, problems: &mut Problems) -> Option<Announced> {
    let written = value::text(node, "announce", problems)?;
    match socket::remote(written, std::path::Path::new("")) {
        Ok(Address::Host { host, .. }) if is_wildcard(&host) => {
            let message = message!("announce: no client can connect to {}", Masked::of(written));
            problems.error(&node.place, message, ANNOUNCE_HINT);
            None
        }
        Ok(Address::Host { host, port }) => Some(Announced { host, port }),
        Ok(Address::Unix(_)) | Err(_) => {
            let message = message!("announce must be HOST:PORT, not '{}'", Masked::of(written));
            problems.error(&node.place, message, ANNOUNCE_HINT);
            None
        }
    }
}

fn is_wildcard(host: &str) -> bool {
    host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_unspecified())
}

fn masters(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let hint = "write announce_master: [mymaster], the names that clients ask for";
    if value::list(node).is_empty() {
        problems.error(&node.place, "announce_master has no value", hint);
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    let mut sound = true;
    for item in value::list(node) {
        let Some(name) = value::text(item, "announce_master", problems) else {
            sound = false;
            continue;
        };
        if names.iter().any(|known| known == name) {
            let message = message!("announce_master lists '{}' twice", Masked::name(name));
            problems.error(&item.place, message, "remove one of them");
            sound = false;
        } else if is_master_name(name) {
            names.push(name.to_owned());
        } else {
            let message = message!("'{}' is not a valid name of a master", Masked::of(name));
            let hint = "use letters, digits, '.', '-' and '_', as in a sentinel.conf";
            problems.error(&item.place, message, hint);
            sound = false;
        }
    }
    sound.then_some(names)
}

/// Whether Sentinel accepts the name.
fn is_master_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    name.len() <= LONGEST_MASTER && name.bytes().all(fits)
}

impl Listeners<'_> {
    /// Notes listeners whose replies would name no address, or the wrong one.
    pub(super) fn meet_presentations(&self, scope: &mut Scope) {
        let sound = || self.list.iter().flatten().filter(|read| !read.settings.broken);
        let names = |written: &Written| written.masters.as_ref().map(|(_, place)| place.clone());
        let is_sentinel = |read: &&Read<'_>| read.settings.presentation.kinds().sentinel;
        // A default may stand for listeners of both sorts.
        let in_use: Vec<Position> =
            sound().filter(is_sentinel).filter_map(|read| names(&read.settings.presentation)).collect();
        for read in sound() {
            let written = &read.settings.presentation;
            let kinds = written.kinds();
            if let Some(place) = names(written).filter(|place| !in_use.contains(place)) {
                let message = "announce_master has no effect: present_as does not list sentinel";
                let hint = "write present_as: [standalone, sentinel], or remove it";
                scope.problems.warning(&place, message, hint);
            }
            let Some((_, place)) = written.kinds.as_ref().filter(|_| written.announce.is_none()) else {
                continue;
            };
            if kinds.is_sentinel_only() {
                let message = message!(
                    "listener '{}' is only a sentinel and has no 'announce': clients would find no data",
                    Masked::name(read.name)
                );
                let hint = "write announce: HOST:PORT, the address of the listener that has the data";
                scope.problems.error(place, message, hint);
            } else if kinds.name_an_address() && !read.knows_its_address() {
                let message = message!(
                    "listener '{}' needs 'announce': its bind address is not one that clients can connect to",
                    Masked::name(read.name)
                );
                scope.problems.error(place, message, ANNOUNCE_HINT);
            }
        }
    }
}

impl Read<'_> {
    /// Whether the address of a connection is the address that its client dialled. On a wildcard address it may have
    /// been translated on its way, and only a load balancer can know the original.
    fn knows_its_address(&self) -> bool {
        let is_known = |bind: &Local| match bind {
            Local::Tcp(SocketAddr::V4(v4)) => !v4.ip().is_unspecified(),
            Local::Tcp(SocketAddr::V6(v6)) => !v6.ip().is_unspecified(),
            Local::Unix(_) => false,
        };
        self.settings.proxy_protocol.is_some() || self.binds.iter().all(|(bind, _)| is_known(bind))
    }
}
