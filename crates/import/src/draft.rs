//! The configuration that is being made, until it is printed.

use std::fmt::Write;

use portcullis_config::message::message;

use super::express::{Entry, Lists};
use super::notes::{Foreign, Notes, shown};
use super::place::Bind;
use super::sources::Net;

/// The most entries a printed file may hold: far below what the loader takes from one YAML file.
const MOST_ENTRIES: usize = 50_000;
/// As the loader has it.
const LONGEST_NAME: usize = 63;
/// Where the gate's own admin endpoint listens unless told otherwise.
const ADMIN_PORT: u16 = 9377;

/// Listeners, upstreams and groups, each with a name of its own.
#[derive(Debug)]
pub(super) struct Draft {
    title: String,
    listeners: Vec<Listener>,
    upstreams: Vec<Upstream>,
    groups: Vec<Group>,
    binds: Vec<Bind>,
    entries: usize,
}

/// What a source says of one place to listen on.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) binds: Vec<Bind>,
    /// The name its upstream had there, and the addresses in the order they are tried.
    pub(super) upstream: (Option<String>, Vec<String>),
    pub(super) lists: Lists,
    pub(super) refusal: Option<&'static str>,
}

#[derive(Debug)]
struct Listener {
    name: String,
    binds: Vec<Bind>,
    upstream: String,
    allow: Vec<String>,
    deny: Vec<String>,
    refusal: Option<&'static str>,
}

#[derive(Debug)]
struct Upstream {
    name: String,
    addresses: Vec<String>,
}

#[derive(Debug)]
struct Group {
    name: String,
    entries: Vec<Entry>,
}

impl Draft {
    pub(super) fn new(title: String) -> Self {
        Self {
            title,
            listeners: Vec::new(),
            upstreams: Vec::new(),
            groups: Vec::new(),
            binds: Vec::new(),
            entries: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Adds a listener with what belongs to it. Addresses that another one has are left out.
    pub(super) fn add(&mut self, door: Door, notes: &mut Notes) {
        let Door { line, name, binds, upstream, mut lists, refusal } = door;
        notes.learn(&name);
        let mut free = Vec::new();
        for bind in binds {
            match self.binds.iter().find(|taken| taken.collides(&bind)) {
                Some(taken) => {
                    let why = message!(
                        "{} is taken by a listener before it, whose rules hold there",
                        taken.clone()
                    );
                    notes.left_out(line, message!("listening on {}", bind), why);
                }
                None => {
                    self.binds.push(bind.clone());
                    free.push(bind);
                }
            }
        }
        if free.is_empty() {
            notes.left_out(line, Foreign(&name), "nothing is left that it could listen on");
            return;
        }
        self.entries += lists.allow.len() + lists.deny.len();
        if self.entries > MOST_ENTRIES {
            let why = "more entries than belong into this file, so nobody is admitted: put them into a file of \
                       their own, one a line, and name it in a group: {file: PATH}";
            let what = message!("the lists of {}", notes.quote(&name));
            notes.left_out(line, what, why);
            self.entries -= lists.allow.len() + lists.deny.len();
            lists = Lists::default();
        }
        let taken: Vec<&str> = self.listeners.iter().map(|listener| listener.name.as_str()).collect();
        let name = unique(&sanitised(&name), &taken);
        let (allow, deny) =
            (self.groups(&name, "allow", lists.allow), self.groups(&name, "deny", lists.deny));
        let upstream = self.upstream(upstream);
        self.listeners.push(Listener { name, binds: free, upstream, allow, deny, refusal });
    }

    /// Adds a group without entries to the last listener's `allow`, so that its name is not lost.
    pub(super) fn allow_empty_group(&mut self, name: &str) {
        if let Some(at) = self.listeners.len().checked_sub(1) {
            let name = self.group(&sanitised(name), Vec::new());
            self.listeners[at].allow.push(name);
        }
    }

    pub(super) fn yaml(&self) -> String {
        let mut out = format!(
            "# {}\n# Before it runs: portcullis check --strict --config FILE\nlisteners:\n",
            self.title
        );
        for listener in &self.listeners {
            let _ = write!(out, "{listener}");
        }
        out.push_str("upstreams:\n");
        for upstream in &self.upstreams {
            let _ = write!(out, "  {}:\n    address:", upstream.name);
            one_or_list(&mut out, "      ", &upstream.addresses);
        }
        if !self.groups.is_empty() {
            out.push_str("groups:\n");
        }
        for group in &self.groups {
            let nothing = if group.entries.is_empty() { " []" } else { "" };
            let _ = writeln!(out, "  {}:{nothing}", group.name);
            for entry in &group.entries {
                let item = match entry.net {
                    Net::Unix => "    - {group: unix}".to_owned(),
                    net @ Net::Inet(_) => format!("    - {}", scalar(&net.to_string())),
                };
                let _ = match entry.origin.clone().into_string().as_str() {
                    "" => writeln!(out, "{item}"),
                    origin => writeln!(out, "{item:<32} # {}", shown(origin)),
                };
            }
        }
        if self.binds.iter().any(|bind| bind.port() == Some(ADMIN_PORT)) {
            out.push_str("admin: off\n");
        }
        out
    }

    /// Entries of one name become one group; equal groups of one name are one.
    fn groups(&mut self, listener: &str, kind: &str, entries: Vec<Entry>) -> Vec<String> {
        let mut parts: Vec<(String, Vec<Entry>)> = Vec::new();
        for entry in entries {
            let name = match &entry.group {
                Some(name) => sanitised(name),
                None => sanitised(&format!("{listener}-{kind}")),
            };
            match parts.iter_mut().find(|(other, _)| *other == name) {
                Some((_, entries)) => entries.push(entry),
                None => parts.push((name, vec![entry])),
            }
        }
        parts.into_iter().map(|(name, entries)| self.group(&name, entries)).collect()
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

    fn upstream(&mut self, (name, addresses): (Option<String>, Vec<String>)) -> String {
        if let Some(same) = self.upstreams.iter().find(|upstream| upstream.addresses == addresses) {
            return same.name.clone();
        }
        let taken: Vec<&str> = self.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        let name = unique(&sanitised(name.as_deref().unwrap_or("main")), &taken);
        self.upstreams.push(Upstream { name: name.clone(), addresses });
        name
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let binds: Vec<String> = self.binds.iter().map(ToString::to_string).collect();
        let mut bound = String::new();
        one_or_list(&mut bound, "      ", &binds);
        write!(f, "  - name: {}\n    bind:{bound}    upstream: {}\n", self.name, self.upstream)?;
        writeln!(f, "    allow: [{}]", self.allow.join(", "))?;
        if !self.deny.is_empty() {
            writeln!(f, "    deny: [{}]", self.deny.join(", "))?;
        }
        match self.refusal {
            Some(refusal) => writeln!(f, "    refusal: {refusal}"),
            None => Ok(()),
        }
    }
}

fn one_or_list(out: &mut String, indent: &str, items: &[String]) {
    if let [only] = items {
        let _ = writeln!(out, " {}", scalar(only));
        return;
    }
    out.push('\n');
    for item in items {
        let _ = writeln!(out, "{indent}- {}", scalar(item));
    }
}

/// Plain where no YAML reader can take it for anything else, else in quotes.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "0"));
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let named = host.contains('.') || host == "unix";
    if starts && named && host.chars().all(plain) && port.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.to_owned();
    }
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{quoted}\"")
}

/// `[a-z][a-z0-9_-]*`, and no word that some YAML programs read as something else.
fn sanitised(name: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(clean).collect();
    let name = name.trim_matches('-');
    let word = matches!(name, "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null");
    let name = if word || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        format!("x-{name}")
    } else {
        name.to_owned()
    };
    name.chars().take(LONGEST_NAME).collect::<String>().trim_end_matches('-').to_owned()
}

/// The name, with a number where another one has it.
fn unique(name: &str, taken: &[&str]) -> String {
    let numbered = (2_u64..).map(|number| {
        let suffix = format!("-{number}");
        let stem: String = name.chars().take(LONGEST_NAME - suffix.len()).collect();
        stem + &suffix
    });
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(&name.as_str()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
