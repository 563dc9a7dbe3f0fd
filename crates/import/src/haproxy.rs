//! haproxy.cfg: frontends and listen sections in mode tcp, their `acl ... src`, and what they accept and reject.

mod acl;
mod backend;
mod rules;
mod section;

use std::path::Path;

use portcullis_config::message::{Message, message};

use super::draft::{Door, Draft};
use super::express::{Lists, express};
use super::notes::{Foreign, Notes};
use super::place::{self, Bind};
use super::sources::{Net, Sources};
use acl::Acls;
use rules::Rules;
use section::{Kind, Line, Section};

/// Reads a whole file; `directory` is where it lies, for lists that it names by relative paths.
pub(super) fn import(text: &str, directory: &Path, draft: &mut Draft, notes: &mut Notes) {
    let sections = section::read(text, notes);
    for section in &sections {
        match section.kind {
            Kind::Frontend | Kind::Listen => {
                Frontend::read(section, &sections, directory, notes).finish(draft, notes)
            }
            Kind::Backend | Kind::Defaults => {}
            Kind::Other => {
                notes.left_out(section.line, Foreign(&section.title), "such a section has no counterpart")
            }
        }
    }
}

/// One frontend or listen section, as far as it was read.
struct Frontend<'s> {
    section: &'s Section,
    binds: Vec<Bind>,
    acls: Acls,
    rules: Rules,
    servers: Vec<String>,
    upstream: String,
    /// Why nothing of it can be carried over.
    bar: Option<Message>,
}

impl<'s> Frontend<'s> {
    fn read(section: &'s Section, sections: &'s [Section], directory: &Path, notes: &mut Notes) -> Self {
        let mut frontend = Self {
            section,
            binds: Vec::new(),
            rules: Rules::default(),
            acls: Acls::default(),
            servers: Vec::new(),
            upstream: section.name.clone(),
            bar: None,
        };
        if section.mode(sections) != "tcp" {
            frontend.bar = Some(message!("mode {} is not for Redis", notes.quote(&section.mode(sections))));
            return frontend;
        }
        frontend.acls = Acls::read(section, directory, notes);
        frontend.rules = Rules::read(section, &frontend.acls, notes);
        let mut target = None;
        let defaults = section.defaults(sections);
        for line in defaults.into_iter().flat_map(|section| &section.lines) {
            frontend.default_line(line, &mut target, notes);
        }
        for line in &section.lines {
            frontend.line(line, &mut target, notes);
        }
        frontend.servers = backend::servers(section, notes);
        if let Some((line, name)) = target {
            frontend.follow(line, &name, sections, directory, notes);
        }
        frontend
    }

    fn default_line(&mut self, line: &Line, target: &mut Option<(usize, String)>, notes: &mut Notes) {
        match line.word(0) {
            "default_backend" => *target = Some((line.number, line.word(1).to_owned())),
            "acl" | "tcp-request" => {
                self.rules.doubt = true;
                notes.left_out(line.number, line, "rules in a defaults section are not read");
            }
            "mode" => {}
            _ => notes.left_out(line.number, line, "it has no counterpart"),
        }
    }

    fn line(&mut self, line: &Line, target: &mut Option<(usize, String)>, notes: &mut Notes) {
        match line.word(0) {
            "bind" => self.bind(line, notes),
            "default_backend" => *target = Some((line.number, line.word(1).to_owned())),
            "use_backend" if line.words.len() == 2 => {
                target.get_or_insert((line.number, line.word(1).to_owned()));
            }
            "use_backend" | "use-server" => {
                notes.left_out(line.number, line, "every client of a listener goes to its one upstream");
            }
            // Read by those who know them.
            "acl" | "tcp-request" | "server" | "mode" => {}
            name if name.starts_with("http-")
                || name == "redirect"
                || name == "block"
                || name == "reqdeny" =>
            {
                self.rules.doubt = true;
                notes.left_out(line.number, line, "it has no counterpart, and may decide who gets in");
            }
            name if name.starts_with('.') => {
                self.rules.doubt = true;
                notes.left_out(line.number, line, "what holds under a condition is not known here");
            }
            _ => notes.left_out(line.number, line, "it has no counterpart"),
        }
    }

    fn follow(&mut self, line: usize, name: &str, sections: &[Section], directory: &Path, notes: &mut Notes) {
        let is_it =
            |section: &&Section| matches!(section.kind, Kind::Backend | Kind::Listen) && section.name == name;
        let Some(section) = sections.iter().find(is_it) else {
            let what = message!("backend {}", notes.quote(name));
            notes.left_out(line, what, "there is no such backend in this file");
            return;
        };
        if section.line == self.section.line {
            return;
        }
        let acls = Acls::read(section, directory, notes);
        self.rules.also(Rules::read(section, &acls, notes));
        for line in &section.lines {
            if !matches!(line.word(0), "acl" | "tcp-request" | "server" | "mode" | "bind") {
                notes.left_out(line.number, line, "it has no counterpart");
            }
        }
        self.servers = backend::servers(section, notes);
        name.clone_into(&mut self.upstream);
    }

    fn bind(&mut self, line: &Line, notes: &mut Notes) {
        match binds(&line.words[1..]) {
            Ok((mut binds, ignored)) => {
                if !ignored.is_empty() {
                    let what = message!(
                        "'{}' of {}",
                        notes.quote(&ignored.join(" ")),
                        notes.quote(&line.to_string())
                    );
                    notes.left_out(line.number, what, "it has no counterpart");
                }
                self.binds.append(&mut binds);
            }
            Err(why) => notes.left_out(line.number, line, why),
        }
    }

    fn finish(self, draft: &mut Draft, notes: &mut Notes) {
        let (line, title) = (self.section.line, self.section.title.clone());
        let title = || Foreign(&title);
        if let Some(why) = self.bar {
            notes.left_out(line, title(), why);
            return;
        }
        if self.binds.is_empty() {
            notes.left_out(line, title(), "nothing is left that it could listen on");
            return;
        }
        if self.servers.is_empty() {
            notes.left_out(line, title(), "no server is left that it could lead to");
            return;
        }
        if self.servers.len() > 1 {
            notes.remark(
                line,
                "HAProxy spreads clients over its servers, the gate takes the first that answers",
            );
        }
        let lists = self.lists(notes);
        let name = self.section.name.clone();
        let upstream = (Some(self.upstream), self.servers);
        draft.add(Door { line, name, binds: self.binds, upstream, lists, refusal: None }, notes);
    }

    fn lists(&self, notes: &mut Notes) -> Lists {
        let what = message!("the clients of '{}'", notes.quote(&self.section.title));
        let line = self.section.line;
        if self.rules.doubt {
            notes.left_out(
                line,
                what.clone(),
                "a line that is not read may decide who gets in, so nobody may",
            );
            return Lists::default();
        }
        if self.rules.is_empty() {
            let why = "nothing accepts or rejects, so HAProxy admits everybody who reaches it; name who may connect, or \
                       write allow: [0.0.0.0/0, \"::/0\"] if everybody is meant";
            notes.left_out(line, what.clone(), why);
            return Lists::default();
        }
        let reach = self.binds.iter().fold(Sources::default(), |reach, bind| reach.or(&bind.reach()));
        let admitted = self.rules.admitted();
        self.report_unreached(&reach, notes);
        let lists = express(self.rules.written(), &admitted, &reach, &embedded());
        if lists.allow.is_empty() {
            notes.left_out(line, what.clone(), "nobody is left who is let in for certain");
        }
        lists
    }
}

impl Frontend<'_> {
    fn report_unreached(&self, reach: &Sources, notes: &mut Notes) {
        /// A long list is named as a whole.
        const MOST: usize = 20;
        let why = "nobody of that address family connects where this listens";
        let entries: Vec<_> =
            self.acls.entries().filter(|entry| !Sources::from(entry.net).meets(reach)).collect();
        if entries.len() > MOST {
            let what = message!("{} entries of '{}'", entries.len(), notes.quote(&self.section.title));
            notes.left_out(self.section.line, what, why);
            return;
        }
        for entry in entries {
            notes.left_out(self.section.line, message!("{} ({})", entry.net, entry.origin), why);
        }
    }
}

/// IPv6 addresses that HAProxy compares with IPv4 entries by the IPv4 address in them: 6to4 and IPv4-compatible ones.
/// No list means them, so they need not be let in; loopback is no such address.
fn embedded() -> Sources {
    let nets = [("2002::", 16), ("::", 96)];
    let nets = nets.into_iter().filter_map(|(ip, len)| Net::new(ip.parse().ok()?, len));
    nets.collect::<Sources>().less(&Sources::from(Net::host(std::net::Ipv6Addr::LOCALHOST.into())))
}

/// The addresses of a `bind`, and the parameters that change nothing about who connects.
fn binds(words: &[String]) -> Result<(Vec<Bind>, Vec<&str>), &'static str> {
    let [addresses, parameters @ ..] = words else { return Err("it has no address") };
    let (mut v6only, mut ignored) = (false, Vec::new());
    for word in parameters {
        match word.as_str() {
            "ssl" => return Err("TLS is not supported yet"),
            "accept-proxy" | "accept-netscaler-cip" => return Err("the PROXY protocol is not supported yet"),
            "interface" | "namespace" => {
                return Err("a listener cannot be bound to an interface or a namespace");
            }
            "v6only" => v6only = true,
            "v4v6" => v6only = false,
            word => ignored.push(word),
        }
    }
    let binds = addresses.split(',').map(|address| bind(address, v6only)).collect::<Result<_, _>>()?;
    Ok((binds, ignored))
}

fn bind(address: &str, v6only: bool) -> Result<Bind, &'static str> {
    const BAD: &str = "not an address and a port of this machine";
    if let Some(path) = address.strip_prefix("unix@").or_else(|| address.starts_with('/').then_some(address))
    {
        return place::socket_path(path).map(Bind::Unix).ok_or("not the path of a socket");
    }
    let (v6, address) = match address.split_once('@') {
        Some(("ipv4", address)) => (false, address),
        Some(("ipv6", address)) => (true, address),
        Some(_) => return Err("only ipv4@, ipv6@ and unix@ have a counterpart"),
        None => (false, address),
    };
    let (host, port) = address.rsplit_once(':').ok_or(BAD)?;
    if port.contains('-') {
        return Err("a range of ports: write one listener for each");
    }
    let port = place::port(port).ok_or(BAD)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare {
        "" | "*" if !v6 => Ok(Bind::any_v4(port)),
        "" | "*" | "::" if v6only => Ok(Bind::any_v6(port)),
        "" | "*" | "::" => Ok(Bind::dual(port)),
        bare => {
            let ip = bare.parse::<std::net::IpAddr>().ok().filter(|ip| ip.to_canonical() == *ip);
            Ok(Bind::tcp(ip.ok_or("a listener needs an address of this machine, not a name")?, port))
        }
    }
}

#[cfg(test)]
mod tests;
