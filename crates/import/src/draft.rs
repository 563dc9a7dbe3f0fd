//! The configuration while an import builds it, until it is printed.

mod name;
mod rate;
mod yaml;

use portcullis_config::message::{Masked, message};

use super::at::At;
use super::express::{Entry, Lists};
use super::notes::{Foreign, Notes};
use super::place::Bind;
use super::review::{Granted, Review};
use super::sources::{Sources, UNSPECIFIED};
use name::{sanitised, unique};
pub(super) use rate::{Period, Rate, Unit};

/// The most entries that a printed file may hold. The loader accepts far more from one YAML file.
const MOST_ENTRIES: usize = 50_000;
/// Ports of other services that forwards often lead to. The gate does not support these services.
const OTHER_SERVICES: [(&str, &str); 2] = [(":22", "SSH"), (":3389", "Remote Desktop")];

/// Listeners in the order of the file, and settings of the whole process.
#[derive(Debug)]
pub(super) struct Draft {
    title: String,
    doors: Vec<Door>,
    /// The limit on the clients of the whole process. `None` if the file sets no limit.
    clients: Option<u64>,
    /// The names of groups without entries that the last listener allows.
    empty_groups: Vec<String>,
}

/// One future listener, as the imported file describes it.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) at: At,
    pub(super) name: Name,
    pub(super) binds: Vec<Bind>,
    pub(super) upstream: Target,
    pub(super) admission: Admission,
    /// Load balancers that send the PROXY protocol.
    pub(super) senders: Option<Senders>,
    pub(super) tls: Option<ServerTls>,
    pub(super) limits: Limits,
    pub(super) refusal: Option<&'static str>,
}

/// The name of a listener.
#[derive(Clone, Debug)]
pub(super) enum Name {
    /// A name from the imported file.
    Theirs(String),
    /// A name that the import chooses.
    Ours(String),
}

/// An upstream: its name in the file, if it has one, and its addresses in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    pub(super) name: Option<String>,
    pub(super) addresses: Vec<String>,
    pub(super) tls: Option<ClientTls>,
}

/// The `allow` and `deny` list of a listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission {
    allow: Granted,
    deny: Vec<Entry>,
}

/// The trusted senders of the PROXY protocol.
#[derive(Clone, Debug)]
pub(super) struct Senders {
    pub(super) from: Granted,
    /// Whether other peers are refused. If not, they connect without a header.
    pub(super) only: bool,
}

/// TLS of a listener. All values are paths of PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerTls {
    /// The paths of certificates and their keys. The first pair is the default.
    pub(super) pairs: Vec<(String, String)>,
    pub(super) clients: Option<ClientCertificates>,
}

/// The certificates that clients must present, or may present if they are not required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientCertificates {
    pub(super) ca: String,
    pub(super) crl: Option<String>,
    pub(super) required: bool,
}

/// TLS to an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientTls {
    pub(super) trust: ServerTrust,
    pub(super) server_name: Option<String>,
    /// The paths of the certificate and the key with which the gate identifies itself.
    pub(super) pair: Option<(String, String)>,
}

/// The CAs that may have signed the certificate of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum ServerTrust {
    /// The CAs of the operating system.
    System,
    /// The CAs in the file at this path.
    Ca(String),
    /// No CA: the imported file does not verify certificates. `check` refuses the result until the operator names a CA
    /// or a pin.
    #[default]
    Missing,
}

/// Limits of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) clients: Option<u64>,
    pub(super) source_clients: Option<u64>,
    pub(super) source_connects: Option<Rate>,
}

#[derive(Debug)]
struct Listener {
    name: String,
    door: Door,
    upstream: String,
    allow: Vec<String>,
    deny: Vec<String>,
    from: Vec<String>,
}

#[derive(Debug)]
struct Upstream {
    name: String,
    addresses: Vec<String>,
    tls: Option<ClientTls>,
}

#[derive(Debug)]
struct Group {
    name: String,
    entries: Vec<Entry>,
}

impl Admission {
    /// Returns the lists of a listener that admits no client.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// Returns the lists, with an empty `allow` if the review found a doubt.
    pub(super) fn of(lists: Lists, review: &Review) -> Self {
        Self { allow: review.grant(lists.allow), deny: lists.deny }
    }

    fn effective(&self) -> Sources {
        let set = |entries: &[Entry]| entries.iter().map(|entry| entry.net).collect::<Sources>();
        set(self.allow.entries()).less(&set(&self.deny))
    }

    fn narrow(&mut self, to: &Sources) {
        if !self.effective().is_within(to) {
            self.allow = self.allow.narrowed(to);
        }
    }
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Theirs(name) | Self::Ours(name) => name,
        }
    }
}

impl Draft {
    pub(super) fn new(title: String) -> Self {
        Self { title, doors: Vec::new(), clients: None, empty_groups: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.doors.is_empty()
    }

    /// Sets the limit on the clients of the whole process.
    pub(super) fn limit_clients(&mut self, clients: u64) {
        self.clients = Some(clients);
    }

    /// Adds a listener. If another listener already has an address of it, that listener keeps the address and applies
    /// the rules of both.
    pub(super) fn add(&mut self, mut door: Door, notes: &mut Notes) {
        notes.learn(door.name.text());
        let mut free = Vec::new();
        for bind in std::mem::take(&mut door.binds) {
            let taken = self.doors.iter_mut().find(|other| other.binds.iter().any(|b| b.collides(&bind)));
            match taken {
                Some(other) => other.share(&bind, &door, notes),
                None => free.push(bind),
            }
        }
        if free.is_empty() {
            notes.left_out(&door.at, Foreign(door.name.text()), "nothing is left that it could listen on");
            return;
        }
        door.binds = free;
        let held: usize = self.doors.iter().map(Door::entries).sum();
        if held + door.entries() > MOST_ENTRIES {
            let what = message!("the lists of {}", notes.quote(door.name.text()));
            let why = "more entries than belong into this file, so no client is admitted: put them into a file of \
                       their own, one a line, and name it in a group: {file: PATH}";
            notes.left_out(&door.at, what, why);
            door.admission = Admission::none();
            door.senders = door.senders.map(|senders| Senders { from: Granted::default(), ..senders });
        }
        self.doors.push(door);
    }

    /// Adds a group without entries to the `allow` of the last listener, so that its name is kept.
    pub(super) fn allow_empty_group(&mut self, name: &str) {
        self.empty_groups.push(name.to_owned());
    }

    /// Gives every part its final name, and returns the configuration as YAML.
    pub(super) fn finish(self, notes: &mut Notes) -> String {
        let mut parts = Parts::default();
        for door in self.doors {
            parts.listener(door, notes);
        }
        if let Some(last) = parts.listeners.len().checked_sub(1) {
            for name in &self.empty_groups {
                let name = parts.group(&sanitised(name), Vec::new());
                parts.listeners[last].allow.push(name);
            }
        }
        parts.yaml(&self.title, self.clients)
    }
}

impl Door {
    fn entries(&self) -> usize {
        let senders = self.senders.as_ref().map_or(0, |senders| senders.from.entries().len());
        self.admission.allow.entries().len() + self.admission.deny.len() + senders
    }

    /// Gives `bind` to this listener, which already listens there. In the other program, the kernel or the address of
    /// the connection chose one of the two listeners. So a client now has to pass the rules of both.
    fn share(&mut self, bind: &Bind, other: &Self, notes: &mut Notes) {
        let taken = self.binds.iter().find(|taken| taken.collides(bind)).unwrap_or(bind).clone();
        let same_form = self.tls == other.tls && self.senders.is_none() && other.senders.is_none();
        let passed = if same_form { other.admission.effective() } else { Sources::default() };
        let to = passed.or(&bind.reach().not());
        let why = if self.admission.effective().is_within(&to) {
            message!("{} is taken by a listener before it, whose rules hold there", taken)
        } else {
            message!(
                "{} is taken by a listener before it, which now admits only clients that both of them admit",
                taken
            )
        };
        self.admission.narrow(&to);
        notes.left_out(&other.at, message!("listening on {}", bind.clone()), why);
    }

    fn report_other_services(&self, notes: &mut Notes) {
        for (port, service) in OTHER_SERVICES {
            if self.upstream.addresses.iter().any(|address| address.ends_with(port)) {
                let text = message!(
                    "port {} is that of {}: the gate understands Redis only, so forward this port in another way",
                    &port[1..],
                    service
                );
                notes.remark(&self.at, text);
            }
        }
    }
}

/// The parts of the configuration, which have their final names.
#[derive(Debug, Default)]
struct Parts {
    listeners: Vec<Listener>,
    upstreams: Vec<Upstream>,
    groups: Vec<Group>,
}

impl Parts {
    fn listener(&mut self, door: Door, notes: &mut Notes) {
        let taken: Vec<&str> = self.listeners.iter().map(|listener| listener.name.as_str()).collect();
        let name = unique(&sanitised(door.name.text()), &taken);
        if matches!(&door.name, Name::Theirs(theirs) if *theirs != name) {
            let text = message!(
                "section '{}' is listener '{}' here",
                Masked::known(door.name.text()),
                Masked::name(&name)
            );
            notes.remark(&door.at, text);
        }
        door.report_other_services(notes);
        let allow = self.groups(&name, "allow", door.admission.allow.entries(), &door.at, notes);
        let deny = self.groups(&name, "deny", &door.admission.deny, &door.at, notes);
        let from = match &door.senders {
            None => Vec::new(),
            Some(senders) if senders.from.entries().is_empty() => {
                vec![self.group(&sanitised(&format!("{name}-balancers")), Vec::new())]
            }
            Some(senders) => self.groups(&name, "balancers", senders.from.entries(), &door.at, notes),
        };
        if allow.is_empty() {
            let text = message!("listener '{}' admits no client: its allow is empty", Masked::name(&name));
            notes.remark(&door.at, text);
        }
        let upstream = self.upstream(&door.upstream);
        self.listeners.push(Listener { name, door, upstream, allow, deny, from });
    }

    /// Adds one group for each name that the entries have, and returns the names of the groups. A group with the same
    /// name and the same entries is used again.
    fn groups(
        &mut self,
        listener: &str,
        kind: &str,
        entries: &[Entry],
        at: &At,
        notes: &mut Notes,
    ) -> Vec<String> {
        let mut lists: Vec<(Option<&str>, Vec<Entry>)> = Vec::new();
        for entry in entries {
            if entry.net.is_unspecified() {
                let what = match entry.origin.clone().into_string().is_empty() {
                    true => message!("{}", entry.net),
                    false => message!("{} of {}", entry.net, entry.origin.clone()),
                };
                notes.left_out(at, what, UNSPECIFIED);
                continue;
            }
            let theirs = entry.group.as_deref();
            match lists.iter_mut().find(|(other, _)| *other == theirs) {
                Some((_, list)) => list.push(entry.clone()),
                None => lists.push((theirs, vec![entry.clone()])),
            }
        }
        let mut names = Vec::new();
        for (theirs, entries) in lists {
            let wanted = theirs.map_or_else(|| format!("{listener}-{kind}"), str::to_owned);
            let name = self.group(&sanitised(&wanted), entries);
            if let Some(theirs) = theirs.filter(|theirs| *theirs != name) {
                let text =
                    message!("group '{}' is named '{}' here", Masked::known(theirs), Masked::name(&name));
                notes.remark(at, text);
            }
            names.push(name);
        }
        names
    }

    fn group(&mut self, name: &str, entries: Vec<Entry>) -> String {
        if let Some(same) = self.groups.iter().find(|group| group.name == name && group.entries == entries) {
            return same.name.clone();
        }
        let taken: Vec<&str> = self.groups.iter().map(|group| group.name.as_str()).chain(["unix"]).collect();
        let name = unique(name, &taken);
        self.groups.push(Group { name: name.clone(), entries });
        name
    }

    fn upstream(&mut self, target: &Target) -> String {
        let Target { name, addresses, tls } = target.clone();
        let same = |upstream: &&Upstream| upstream.addresses == addresses && upstream.tls == tls;
        if let Some(same) = self.upstreams.iter().find(same) {
            return same.name.clone();
        }
        let taken: Vec<&str> = self.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        let name = unique(&sanitised(name.as_deref().unwrap_or("main")), &taken);
        self.upstreams.push(Upstream { name: name.clone(), addresses, tls });
        name
    }
}

#[cfg(test)]
mod tests;
