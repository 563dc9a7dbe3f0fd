//! `acl NAME src ...`, and the same in braces: the sources that the test matches for certain, and the sources that it
//! may match.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::rc::Rc;

use ipnet::IpNet;
use portcullis_config::message::{Masked, Message, message};

use super::limits::{Limit, Tables};
use super::section::Section;
use crate::at::At;
use crate::express::Entry;
use crate::files::{Folder, read};
use crate::notes::{Foreign, Notes};
use crate::sources::{Net, Sources};

/// The sources that a condition matches. Sources that are in `may` and not in `must` are in doubt.
#[derive(Clone, Debug, Default)]
pub(super) struct Acl {
    pub(super) must: Sources,
    pub(super) may: Sources,
    pub(super) entries: Vec<Entry>,
    /// The limit that the condition stands for. `None` unless it matches exactly the sources with too many connections.
    pub(super) limit: Option<Limit>,
}

impl Acl {
    /// Returns a condition that may match any source.
    pub(super) fn unknown() -> Self {
        Self { may: Sources::all(), ..Self::default() }
    }

    fn limit(limit: Limit) -> Self {
        Self { limit: Some(limit), ..Self::unknown() }
    }

    fn or(&mut self, other: Self) {
        self.limit = None;
        self.must = self.must.or(&other.must);
        self.may = self.may.or(&other.may);
        self.entries.extend(other.entries);
    }
}

/// The named conditions of a section, and the folder for relative paths of lists.
#[derive(Clone, Debug)]
pub(super) struct Acls {
    named: HashMap<String, Acl>,
    folder: Folder,
    tables: Tables,
}

impl Acls {
    /// Reads the conditions of a section. Lines with the same name are alternatives, even if other lines stand between
    /// them.
    pub(super) fn read(section: &Section, folder: &Folder, tables: Tables, notes: &mut Notes) -> Self {
        let mut acls = Self { named: HashMap::new(), folder: folder.clone(), tables };
        for line in section.lines.iter().filter(|line| line.word(0) == "acl") {
            let name = line.word(1).to_owned();
            let test = line.words.get(2..).unwrap_or_default();
            let acl = acls.test(test, line.number, Some(&name), notes);
            match acls.named.entry(name) {
                Occupied(mut known) => known.get_mut().or(acl),
                Vacant(place) => {
                    place.insert(acl);
                }
            }
        }
        acls
    }

    /// Returns the condition with this name, from the section or predefined by HAProxy. `None` if there is none.
    pub(super) fn named(&self, name: &str) -> Option<Acl> {
        if let Some(acl) = self.named.get(name) {
            return Some(acl.clone());
        }
        let nets: Vec<Net> = match name {
            "TRUE" => Net::all().into(),
            "FALSE" => Vec::new(),
            "LOCALHOST" => {
                [Net::new(Ipv4Addr::LOCALHOST.into(), 8), Net::new(Ipv6Addr::LOCALHOST.into(), 128)]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            _ => return None,
        };
        let matched: Sources = nets.iter().copied().collect();
        let origin = message!("{}", Masked::known(name));
        let entry = |net| Entry { net, origin: origin.clone(), group: None };
        let entries = nets.into_iter().map(entry).collect();
        Some(Acl { must: matched.clone(), may: matched, entries, limit: None })
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.named.values().flat_map(|acl| &acl.entries)
    }

    /// Reads the test `src [-i] [-n] [-m ip] [-f FILE] [--] PATTERN...`, or a test that is a limit. Any other test may
    /// match any source.
    pub(super) fn test(&self, words: &[String], line: usize, name: Option<&str>, notes: &mut Notes) -> Acl {
        let what = match name {
            Some(name) => message!("acl {} {}", notes.quote(name), notes.quote(&words.join(" "))),
            None => message!("acl {}", notes.quote(&words.join(" "))),
        };
        let [fetch, arguments @ ..] = words else { return Acl::unknown() };
        match fetch.as_str() {
            "src" => {}
            "always_true" => return self.named("TRUE").unwrap_or_default(),
            "always_false" => return Acl::default(),
            _ => {
                if let Some(limit) = self.tables.limit(words) {
                    return Acl::limit(limit);
                }
                notes.left_out(line, what, "only src is known here, so which clients it matches is in doubt");
                return Acl::unknown();
            }
        }
        let mut list = List { line, group: name, acl: Acl::default() };
        let mut arguments = arguments.iter();
        let mut flags = true;
        while let Some(word) = arguments.next() {
            match word.as_str() {
                "-i" | "-n" if flags => {}
                "-f" if flags => {
                    let file = arguments.next().map_or("", String::as_str);
                    self.file(file, &mut list, notes);
                }
                "-m" if flags && arguments.next().is_some_and(|method| method == "ip") => {}
                "--" if flags => flags = false,
                word if flags && word.starts_with('-') => {
                    notes.left_out(line, what, FLAG);
                    return Acl::unknown();
                }
                word => {
                    flags = false;
                    if let Err(why) = list.pattern(word, message!("line {}", line)) {
                        let pattern = notes.quote(word);
                        notes.left_out(line, message!("{} of {}", pattern, what), why);
                    }
                }
            }
        }
        list.acl
    }

    /// Reads a list from a file: one pattern in each line. A `#` at the beginning of a line makes it a comment.
    fn file(&self, name: &str, list: &mut List<'_>, notes: &mut Notes) {
        let path = self.folder.path(name);
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) => {
                let why = message!("cannot be read ({}), so which clients it matches is in doubt", error);
                notes.left_out(list.line, message!("the list {}", Masked::path(Path::new(name))), why);
                list.acl.or(Acl::unknown());
                return;
            }
        };
        let shown: Rc<str> = path.display().to_string().into();
        for (number, written) in (1..).zip(text.lines()) {
            let written = written.trim_start_matches([' ', '\t']);
            if written.is_empty() || written.starts_with('#') {
                continue;
            }
            if let Err(why) = list.pattern(written, message!("{}:{}", Masked::path(Path::new(name)), number))
            {
                notes.left_out(At::of(Some(&shown), number), Foreign(written), why);
            }
        }
    }
}

const FLAG: &str = "that flag is not known here, so which clients it matches is in doubt";

/// A list of patterns while it is being read.
struct List<'a> {
    line: usize,
    group: Option<&'a str>,
    acl: Acl,
}

impl List<'_> {
    fn pattern(&mut self, text: &str, origin: Message) -> Result<(), &'static str> {
        let net = network(text);
        let Some(net) = net else {
            self.acl.or(Acl::unknown());
            return Err("not an address or a prefix, so which clients it matches is in doubt");
        };
        let matched = matched(net);
        let group = self.group.map(str::to_owned);
        let entries = match mapped(net) {
            Some(v4) => v4.nets(),
            None => vec![net],
        };
        let entries =
            entries.into_iter().map(|net| Entry { net, origin: origin.clone(), group: group.clone() });
        self.acl.or(Acl { must: matched.clone(), may: matched, entries: entries.collect(), limit: None });
        Ok(())
    }
}

/// Returns all sources that HAProxy matches with `net`. HAProxy compares an IPv4 entry also with the IPv4 address
/// inside 6to4 and IPv4-compatible addresses. It compares an entry of mapped addresses also with IPv4 peers.
fn matched(net: Net) -> Sources {
    match net {
        Net::Inet(IpNet::V4(v4)) => {
            let bits = u128::from(v4.network().to_bits());
            let compatible = Net::new(Ipv6Addr::from_bits(bits).into(), 96 + v4.prefix_len());
            let six_to_four =
                Net::new(Ipv6Addr::from_bits(0x2002 << 112 | bits << 80).into(), 16 + v4.prefix_len());
            [Some(net), compatible, six_to_four].into_iter().flatten().collect()
        }
        net => Sources::from(net).or(&Sources::from(net).mapped_v4()),
    }
}

/// Returns the IPv4 form of a network of mapped addresses. `None` if the network has other addresses too.
fn mapped(net: Net) -> Option<Sources> {
    let v4 = Sources::from(net).mapped_v4();
    Sources::from(net).folded().is_empty().then_some(v4)
}

/// Reads `10.0.0.0/8`, `10.0.0.0/255.0.0.0` or an address. Host bits are ignored, as in HAProxy.
fn network(text: &str) -> Option<Net> {
    let (ip, len) = match text.split_once('/') {
        Some((ip, len)) => (ip, Some(len)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().ok()?;
    let len = match (len, ip) {
        (None, IpAddr::V4(_)) => 32,
        (None, IpAddr::V6(_)) => 128,
        (Some(len), IpAddr::V4(_)) if len.contains('.') => {
            let mask = len.parse::<Ipv4Addr>().ok()?.to_bits();
            let len = mask.leading_ones();
            (len + mask.trailing_zeros() >= 32).then(|| u8::try_from(len).ok())??
        }
        (Some(len), _) if len.bytes().all(|byte| byte.is_ascii_digit()) => len.parse().ok()?,
        _ => return None,
    };
    Net::new(ip, len)
}
