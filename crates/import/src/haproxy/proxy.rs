//! Frontends, backends and listen sections: all lines of a section, and of its defaults.

use super::acl::Acls;
use super::bind::{self, Bound};
use super::condition::Condition;
use super::global::Global;
use super::keywords;
use super::limits::Tables;
use super::rules::Rules;
use super::section::{Line, Section};
use super::server::Servers;
use crate::at::At;
use crate::notes::{Foreign, Notes};
use crate::review::{Class, Review};

/// One proxy whose lines have all been classified.
pub(super) struct Proxy<'s> {
    pub(super) section: &'s Section,
    pub(super) binds: Vec<Bound>,
    pub(super) rules: Rules,
    pub(super) routes: Vec<Route>,
    pub(super) default_backend: Option<String>,
    pub(super) servers: Servers,
    pub(super) clients: Option<u64>,
    pub(super) disabled: bool,
    pub(super) acls: Acls,
    pub(super) review: Review,
}

/// A rule that sends clients to a backend, or to one server of their backend.
pub(super) struct Route {
    pub(super) line: Line,
    /// The name of the backend. `None` if the rule names a server, or if the backend is chosen for each connection.
    pub(super) backend: Option<String>,
    /// The condition of the rule. `None` if it always applies.
    pub(super) condition: Option<Condition>,
}

impl<'s> Proxy<'s> {
    pub(super) fn read(
        section: &'s Section,
        sections: &'s [Section],
        global: &Global,
        notes: &mut Notes,
    ) -> Self {
        let tables = Tables::read(section, sections);
        let defaults = section.defaults(sections);
        if let Some(line) = defaults.unknown {
            let why = "its from names no defaults section that stands before it and is the only one of that name, so which \
                       settings it has is in doubt";
            let title = sections.iter().find(|section| section.line == line);
            notes.left_out(line, Foreign(title.map_or("", |section| section.title.as_str())), why);
        }
        let mut proxy = Self {
            section,
            binds: Vec::new(),
            rules: Rules::default(),
            routes: Vec::new(),
            default_backend: None,
            servers: Servers::default(),
            clients: None,
            disabled: false,
            acls: Acls::read(section, &global.folder, tables, notes),
            review: global.review.clone(),
        };
        let lines = |section: &'s Section| section.lines.iter().map(|line| (At::from(line.number), line));
        for defaults in &defaults.sections {
            let review =
                Review::of(lines(defaults), notes, |line, notes| proxy.default_line(line, global, notes));
            proxy.review = proxy.review.and(review);
        }
        let review = Review::of(lines(section), notes, |line, notes| proxy.line(line, global, notes));
        let governing = || [section].into_iter().chain(defaults.sections.iter().copied());
        let uncertain = governing().find(|section| section.uncertain).map(|section| At::from(section.line));
        let unknown = defaults.unknown.map(At::from);
        proxy.review = proxy.review.and(review).or_doubt_at(uncertain).or_doubt_at(unknown);
        proxy
    }

    /// Reads a line of the defaults section. A proxy inherits settings from it, but no rules.
    fn default_line(&mut self, line: &Line, global: &Global, notes: &mut Notes) -> Class {
        match line.word(0) {
            "default_backend" | "default-server" | "mode" | "disabled" | "enabled" | "maxconn" => {
                self.line(line, global, notes)
            }
            "acl" | "tcp-request" => Class::doubtful("rules in a defaults section are not read"),
            _ => of_other(line),
        }
    }

    fn line(&mut self, line: &Line, global: &Global, notes: &mut Notes) -> Class {
        match line.word(0) {
            "acl" if line.uncertain => {
                return Class::doubtful(
                    "it depends on a condition or a variable, and may decide which clients get in",
                );
            }
            // The conditions have been read already, because rules name them.
            "acl" => {}
            "bind" => match bind::read(line, global, notes) {
                Ok(binds) => self.binds.extend(binds),
                Err(why) => notes.left_out(line.number, line, why),
            },
            "tcp-request" => return self.rules.line(line, &self.acls, notes),
            "tcp-response" => return of_response(line),
            "server" | "default-server" => return self.servers.line(line, global, notes),
            "server-template" => {
                notes.left_out(line.number, line, "write an address for each of its servers");
            }
            "use_backend" | "use-server" | "default_backend" | "mode" | "disabled" | "enabled"
                if line.uncertain =>
            {
                return Class::doubtful(
                    "it depends on a condition or a variable, and may decide which clients get in",
                );
            }
            "default_backend" => self.default_backend = Some(line.word(1).to_owned()),
            "use_backend" | "use-server" => self.route(line, notes),
            "mode" => {}
            "disabled" => self.disabled = true,
            "enabled" => self.disabled = false,
            "maxconn" if !line.uncertain => {
                self.clients = line.word(1).parse().ok().filter(|clients| *clients > 0);
            }
            _ => return of_other(line),
        }
        Class::Understood
    }

    fn route(&mut self, line: &Line, notes: &mut Notes) {
        let condition = Condition::behind(&line.words, line.number, &self.acls, notes);
        let backend = line.word(1).to_owned();
        let named = line.word(0) == "use_backend" && !backend.contains('%');
        let backend = named.then_some(backend);
        self.routes.push(Route { line: line.clone(), backend, condition });
    }
}

/// Returns the class of a line that the gate has no counterpart for.
fn of_other(line: &Line) -> Class {
    match line.word(0) {
        "source" if line.uncertain => Class::doubtful(keywords::SOURCE),
        "source" => keywords::of_source(line.words.get(1..).unwrap_or_default()),
        _ => keywords::of_proxy(line),
    }
}

/// Returns the class of a rule about the data that the server sends. Such a rule can also disconnect a client because
/// of its address.
fn of_response(line: &Line) -> Class {
    match (line.word(1), line.word(2)) {
        ("inspect-delay", _) | ("content", "accept") => Class::Harmless("it has no counterpart"),
        _ => Class::unknown(),
    }
}
