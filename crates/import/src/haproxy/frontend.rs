//! Turns frontends and listen sections, with their backend, into listeners.

use portcullis_config::message::{Message, message};

use super::bind::{Bound, Form};
use super::global::Global;
use super::limits;
use super::proxy::{Proxy, Route};
use super::rules::{Passage, Stage, admitted, written};
use super::section::{Kind, Section};
use crate::draft::{Admission, Door, Draft, Limits, Name, Senders, Target};
use crate::express::{Entry, Lists, express, named};
use crate::notes::Notes;
use crate::review::Review;
use crate::sources::{Net, Sources};

/// A proxy that clients connect to, and the backend that it sends them to.
pub(super) struct Frontend<'s> {
    front: Proxy<'s>,
    /// `None` if the servers are in the proxy itself.
    back: Option<Proxy<'s>>,
    review: Review,
}

/// The lists of a listener, and its senders of PROXY headers. The flag says whether other peers are refused.
struct Judged {
    lists: Lists,
    senders: Option<(Vec<Entry>, bool)>,
}

impl<'s> Frontend<'s> {
    /// Adds a listener for each form of connections in the section.
    ///
    /// # Errors
    /// The reason why nothing of the section can be carried over.
    pub(super) fn import(
        section: &'s Section,
        sections: &'s [Section],
        global: &Global,
        draft: &mut Draft,
        notes: &mut Notes,
    ) -> Result<(), Message> {
        let mode = section.mode(sections);
        if mode != "tcp" {
            return Err(message!("mode {} is not for Redis", notes.quote(&mode)));
        }
        let mut front = Proxy::read(section, sections, global, notes);
        if front.disabled {
            return Err("it is disabled".into());
        }
        let back = backend(&mut front, sections, global, notes)?;
        let review = front.review.clone();
        let review = back.iter().fold(review, |review, back| review.and(back.review.clone()));
        let binds = std::mem::take(&mut front.binds);
        let mut frontend = Self { front, back, review };
        frontend.report_routes(notes);
        frontend.doors(binds, draft, notes)
    }

    fn doors(&mut self, mut binds: Vec<Bound>, draft: &mut Draft, notes: &mut Notes) -> Result<(), Message> {
        if binds.is_empty() {
            return Err("nothing is left that it could listen on".into());
        }
        let behind = self.back.as_ref().unwrap_or(&self.front);
        let (addresses, tls) = behind.servers.target(notes);
        if addresses.is_empty() {
            return Err("no server is left that it could lead to".into());
        }
        if addresses.len() > 1 {
            notes.remark(
                self.front.section.line,
                "HAProxy spreads clients over its servers, the gate takes the first that answers",
            );
        }
        let name = behind.section.name.clone();
        let upstream = Target { name: Some(name), addresses, tls };
        while let Some(first) = binds.first() {
            let form = first.form.clone();
            let (same, others): (Vec<Bound>, Vec<Bound>) =
                binds.into_iter().partition(|bound| bound.form == form);
            binds = others;
            self.door(&form, same, upstream.clone(), draft, notes);
        }
        Ok(())
    }

    fn door(&self, form: &Form, same: Vec<Bound>, upstream: Target, draft: &mut Draft, notes: &mut Notes) {
        let binds = || same.iter().map(|bound| &bound.bind);
        let reach = binds().fold(Sources::default(), |reach, bind| reach.or(&bind.reach()));
        let in_gate = binds().fold(Sources::default(), |reach, bind| reach.or(&bind.reach_in_gate()));
        let Judged { lists, senders } = self.judge(form.proxy, (&reach, &in_gate), notes);
        let mut limits = Limits { clients: form.clients.or(self.front.clients), ..Limits::default() };
        let stages = self.later().chain((senders.is_none()).then_some(&self.front.rules.connection));
        for limit in stages.flat_map(|stage| &stage.limits) {
            limits::add(&mut limits, limit, self.front.section.line, notes);
        }
        let section = self.front.section;
        let senders =
            senders.map(|(from, only)| Senders { from: self.review.grant(self.senders(from, notes)), only });
        let door = Door {
            at: section.line.into(),
            name: Name::Theirs(section.name.clone()),
            binds: same.into_iter().map(|bound| bound.bind).collect(),
            upstream,
            admission: Admission::of(lists, &self.review),
            senders,
            tls: form.tls.clone(),
            limits,
            refusal: None,
        };
        draft.add(door, notes);
    }

    /// Returns the trusted senders. Returns none if their connections are limited, because the gate limits the
    /// connections of clients only.
    fn senders(&self, from: Vec<Entry>, notes: &mut Notes) -> Vec<Entry> {
        let line = self.front.section.line;
        if !self.front.rules.connection.limits.is_empty() {
            let why =
                "it limits the connections of load balancers, and the gate limits those of clients only";
            notes.left_out(line, "a limit in tcp-request connection", why);
            return Vec::new();
        }
        if from.is_empty() {
            let text = "no trusted sender of the PROXY protocol is named: fill the group in proxy_protocol.from with the \
                        addresses of your load balancers";
            notes.remark(line, text);
        }
        from
    }

    /// Returns the stages that see the address in a PROXY header, including those of the backend.
    fn later(&self) -> impl Iterator<Item = &Stage> + Clone {
        self.front.rules.later().chain(self.back.iter().flat_map(|back| back.rules.later()))
    }

    fn judge(
        &self,
        accepts_proxy: bool,
        (reach, in_gate): (&Sources, &Sources),
        notes: &mut Notes,
    ) -> Judged {
        let what = message!("the clients of '{}'", notes.quote(&self.front.section.title));
        let line = self.front.section.line;
        let connection = &self.front.rules.connection;
        let proxied = accepts_proxy || connection.expects_headers();
        if let Some(at) = self.review.doubt() {
            let why = message!("{} may decide which clients get in, so no address is allowed", at.clone());
            notes.left_out(line, what, why);
            return Judged { lists: Lists::default(), senders: proxied.then(|| (Vec::new(), true)) };
        }
        let open = self.later().all(Stage::is_open) && (accepts_proxy || connection.is_open());
        let Judged { mut lists, senders } = match proxied {
            false => Judged { lists: self.plain(reach, notes), senders: None },
            true if accepts_proxy => self.behind_balancers(reach, notes),
            true => self.beside_balancers(reach, in_gate, notes),
        };
        if open {
            lists = Lists::default();
            let why = match proxied {
                false => {
                    "nothing accepts or rejects, so HAProxy admits every client that reaches it; name who may connect, \
                          or write allow: [0.0.0.0/0, \"::/0\"] if every client is meant"
                }
                true => {
                    "no rule judges the address in the PROXY header, so HAProxy admits every client behind its load \
                         balancers; list the clients that may connect in allow"
                }
            };
            notes.left_out(line, what, why);
        } else if lists.allow.is_empty() {
            notes.left_out(line, what, "no address is definitely allowed");
        }
        Judged { lists, senders }
    }

    fn plain(&self, reach: &Sources, notes: &mut Notes) -> Lists {
        let stages = || [&self.front.rules.connection].into_iter().chain(self.later());
        self.report_unreached(reach, notes);
        express(written(stages()), &admitted(stages()), reach, &embedded())
    }

    /// Returns the lists and the senders with `accept-proxy`. The connection rules judge the load balancers, and the
    /// later rules judge the clients.
    fn behind_balancers(&self, reach: &Sources, notes: &mut Notes) -> Judged {
        let connection = &self.front.rules.connection;
        let (from, more) =
            named(connection.named(), &connection.passage().passed.less(&embedded()).and(reach));
        if more && !from.is_empty() {
            let text = "HAProxy takes PROXY headers of others too; only senders that it names are trusted";
            notes.remark(self.front.section.line, text);
        }
        let lists = express(written(self.later()), &admitted(self.later()), &Sources::inet(), &embedded());
        Judged { lists, senders: Some((from, true)) }
    }

    /// Returns the lists and the senders with `expect-proxy layer4`. Some peers are load balancers; the other peers are
    /// clients and are judged by their own address.
    fn beside_balancers(&self, reach: &Sources, in_gate: &Sources, notes: &mut Notes) -> Judged {
        let connection = &self.front.rules.connection;
        let Passage { passed, expected, maybe_expected } = connection.passage();
        let (from, _) = named(connection.named_senders(), &expected.and(&passed).and(reach));
        let direct = passed.less(&maybe_expected).and(reach);
        let clients = admitted(self.later());
        if direct.and(&clients).is_empty() {
            let lists = express(written(self.later()), &clients, &Sources::inet(), &embedded());
            return Judged { lists, senders: Some((from, true)) };
        }
        // One list judges both kinds of clients, so it may only admit an address that both kinds of rules admit.
        let both = clients.and(&direct.or(&in_gate.not()));
        if !clients.is_within(&both) {
            let text = "the gate judges clients behind load balancers and others by the same lists, so only addresses \
                        are allowed that HAProxy admits in both ways";
            notes.remark(self.front.section.line, text);
        }
        let stages = [connection].into_iter().chain(self.later());
        let lists = express(written(stages), &both, &Sources::inet(), &embedded());
        Judged { lists, senders: Some((from, false)) }
    }

    fn report_routes(&mut self, notes: &mut Notes) {
        let to = self.back.as_ref().map_or("", |back| back.section.name.as_str());
        for route in &self.front.routes {
            if route.backend.as_deref() != Some(to) && route.condition.is_some() {
                let why = "every client of a listener goes to its one upstream, so clients that it matches are refused";
                notes.left_out(route.line.number, &route.line, why);
            }
        }
    }

    fn report_unreached(&self, reach: &Sources, notes: &mut Notes) {
        /// More entries than this are reported in one note.
        const MOST: usize = 20;
        let why = "no client of that address family connects where this listens";
        let line = self.front.section.line;
        let entries: Vec<_> =
            self.front.acls.entries().filter(|entry| !Sources::from(entry.net).meets(reach)).collect();
        if entries.len() > MOST {
            let what = message!("{} entries of '{}'", entries.len(), notes.quote(&self.front.section.title));
            notes.left_out(line, what, why);
            return;
        }
        for entry in entries {
            notes.left_out(line, message!("{} ({})", entry.net, entry.origin), why);
        }
    }
}

/// Returns the backend for the clients, and refuses clients that a rule sends to another backend. `None` means the
/// servers of the proxy itself.
fn backend<'s>(
    front: &mut Proxy<'s>,
    sections: &'s [Section],
    global: &Global,
    notes: &mut Notes,
) -> Result<Option<Proxy<'s>>, Message> {
    let always = front.routes.iter().position(|route| route.condition.is_none());
    // HAProxy reads no rule after a rule that always applies.
    front.routes.truncate(always.map_or(usize::MAX, |at| at + 1));
    let own_servers = front.section.kind == Kind::Listen;
    let target: Option<String> = match (front.routes.last(), &front.default_backend) {
        (Some(Route { backend: None, condition: None, .. }), _) => {
            return Err("its backend is chosen for each connection".into());
        }
        (Some(Route { backend, condition: None, .. }), _) => backend.clone(),
        (_, Some(name)) => Some(name.clone()),
        (_, None) if own_servers => None,
        // HAProxy refuses clients that no rule sends to a backend.
        (_, None) => front.routes.iter().find_map(|route| route.backend.clone()),
    };
    let nowhere = always.is_none() && front.default_backend.is_none() && !own_servers;
    let to = target.clone().unwrap_or_else(|| front.section.name.clone());
    for route in &front.routes {
        match route.backend.as_deref() == Some(to.as_str()) {
            true => front.rules.lead_here(route.condition.clone()),
            false => front.rules.lead_elsewhere(route.condition.clone()),
        }
    }
    if nowhere {
        front.rules.lead_elsewhere(None);
    }
    let Some(name) = target else { return Ok(None) };
    let is_it =
        |section: &&Section| matches!(section.kind, Kind::Backend | Kind::Listen) && section.name == name;
    let Some(section) = sections.iter().find(is_it) else {
        return Err(message!("there is no backend {} in this file", notes.quote(&name)));
    };
    if section.line == front.section.line {
        return Ok(None);
    }
    if section.mode(sections) != "tcp" {
        return Err(message!("its backend {} is not in mode tcp", notes.quote(&name)));
    }
    let mut back = Proxy::read(section, sections, global, notes);
    if back.disabled {
        return Err(message!("its backend {} is disabled", notes.quote(&name)));
    }
    for route in std::mem::take(&mut back.routes) {
        // In a listen section `use_backend` applies only to the clients of that section. In a backend, `use-server`
        // chooses a server.
        if route.line.word(0) == "use-server" {
            back.rules.lead_elsewhere(route.condition);
        }
    }
    Ok(Some(back))
}

/// Returns the 6to4 and IPv4-compatible addresses, without loopback. HAProxy compares the IPv4 address in them with
/// IPv4 entries. People who write such entries do not mean these addresses, so the result need not admit them.
fn embedded() -> Sources {
    let nets = [("2002::", 16), ("::", 96)];
    let nets = nets.into_iter().filter_map(|(ip, len)| Net::new(ip.parse().ok()?, len));
    nets.collect::<Sources>().less(&Sources::from(Net::host(std::net::Ipv6Addr::LOCALHOST.into())))
}
