//! rinetd.conf: forwards, and patterns that admit and refuse, for all of them or for the one before.

mod pattern;

use std::net::IpAddr;

use portcullis_config::message::{Message, message};

use super::draft::{Door, Draft};
use super::express::{Entry, Lists, express};
use super::notes::{Foreign, Notes};
use super::place::{self, Bind};
use super::sources::{Net, Sources};
use pattern::{Matches, Pattern};

/// Reads a whole file.
pub(super) fn import(text: &str, draft: &mut Draft, notes: &mut Notes) {
    let mut file = File::default();
    for (line, whole) in (1..).zip(text.lines()) {
        let written = whole.split_once('#').map_or(whole, |(rule, _)| rule).trim();
        if !written.is_empty() {
            file.line(line, written, notes);
        }
    }
    file.report_skipped(notes);
    for forward in &file.forwards {
        file.door(forward, draft, notes);
    }
}

#[derive(Default)]
struct File {
    global: Vec<Rule>,
    forwards: Vec<Forward>,
    /// The last forward was left out, and the rules behind it with it.
    orphaned: bool,
}

struct Forward {
    line: usize,
    written: String,
    bind: Bind,
    to: String,
    rules: Vec<Rule>,
}

struct Rule {
    line: usize,
    allow: bool,
    pattern: Pattern,
}

impl File {
    fn line(&mut self, line: usize, written: &str, notes: &mut Notes) {
        let words: Vec<&str> = written.split_ascii_whitespace().collect();
        match words.as_slice() {
            [word @ ("allow" | "deny"), pattern] => self.rule(line, *word == "allow", pattern, notes),
            ["allow" | "deny", ..] => notes.left_out(line, Foreign(written), "a rule has one pattern"),
            ["logfile" | "pidlogfile", _] | ["logcommon"] => {
                notes.left_out(
                    line,
                    Foreign(written),
                    "logs go to standard error, the audit trail to audit: {path: ...}",
                );
            }
            [bind, bind_port, connect, connect_port, options @ ..] => {
                let options = options.concat();
                match forward(bind, bind_port, connect, connect_port) {
                    Ok((bind, to)) => {
                        if !options.is_empty() {
                            notes.left_out(line, Foreign(&options), "the gate has no such option");
                        }
                        self.orphaned = false;
                        let written = written.to_owned();
                        self.forwards.push(Forward { line, written, bind, to, rules: Vec::new() });
                    }
                    Err(why) => {
                        self.orphaned = true;
                        notes.left_out(line, Foreign(written), why);
                    }
                }
            }
            _ => notes.left_out(line, Foreign(written), "not a line that rinetd knows"),
        }
    }

    fn rule(&mut self, line: usize, allow: bool, pattern: &str, notes: &mut Notes) {
        if self.orphaned {
            let what = message!("{} {}", if allow { "allow" } else { "deny" }, notes.quote(pattern));
            notes.left_out(line, what, "it belongs to a forward that is not carried over");
            return;
        }
        let rules = self.forwards.last_mut().map_or(&mut self.global, |forward| &mut forward.rules);
        rules.push(Rule { line, allow, pattern: Pattern::new(pattern) });
    }

    /// rinetd 0.73 loses count there: it takes the place 0 for "no rule yet".
    fn report_skipped(&self, notes: &mut Notes) {
        if let ([], [Forward { rules, .. }, ..]) = (self.global.as_slice(), self.forwards.as_slice())
            && let [skipped, _, ..] = rules.as_slice()
        {
            let text = "rinetd up to 0.73 skips this line, the first of several behind the first forward where no rule \
                        stands before it, and takes the first rule of the next forward instead; here it holds as its \
                        manual says";
            notes.remark(skipped.line, text);
        }
    }

    fn door(&self, forward: &Forward, draft: &mut Draft, notes: &mut Notes) {
        let lists = self.lists(forward, notes);
        let port = forward.bind.port().unwrap_or(0);
        let door = Door {
            line: forward.line,
            name: format!("public-{port}"),
            binds: vec![forward.bind.clone()],
            upstream: (None, vec![forward.to.clone()]),
            lists,
            refusal: None,
        };
        draft.add(door, notes);
    }

    /// Who must match one of the global `allow`, if there are any, and one of the forward's own, if there are any;
    /// and none of either's `deny`.
    fn lists(&self, forward: &Forward, notes: &mut Notes) -> Lists {
        if self.global.is_empty() && forward.rules.is_empty() {
            let what = message!("the clients of '{}'", notes.quote(&forward.written));
            notes.left_out(forward.line, what, NO_RULES);
            return Lists::default();
        }
        let dual = matches!(forward.bind, Bind::Tcp { dual: true, .. });
        let mut read = Reading {
            dual,
            reach: forward.bind.reach(),
            deny: Vec::new(),
            denied: Sources::default(),
            notes,
        };
        let global = read.rules(&self.global);
        let own = read.rules(&forward.rules);
        let Reading { deny, denied, reach, .. } = read;
        let allowed = |part: &Option<Allowed>| part.as_ref().map_or_else(Sources::all, |part| part.1.clone());
        let exact = allowed(&global).and(&allowed(&own)).less(&denied);
        let allow = match (global, own) {
            (Some((_, global)), Some((entries, own))) if own.is_within(&global) => entries,
            (Some((entries, _)), _) | (None, Some((entries, _))) => entries,
            (None, None) => {
                let origin = Message::from("no allow line: everybody else");
                Net::all().map(|net| Entry { net, origin: origin.clone(), group: None }).into()
            }
        };
        express(Lists { allow, deny }, &exact, &reach, &Sources::default())
    }
}

const NO_RULES: &str = "there is no allow and no deny, so rinetd admits everybody who reaches it; name who may connect, or \
    write allow: [0.0.0.0/0, \"::/0\"] if everybody is meant";

/// Entries, and whom they stand for.
type Allowed = (Vec<Entry>, Sources);

struct Reading<'n> {
    dual: bool,
    reach: Sources,
    deny: Vec<Entry>,
    denied: Sources,
    notes: &'n mut Notes,
}

impl Reading<'_> {
    /// Collects who is denied; returns who is allowed, where there is any `allow`. In doubt more are denied and fewer
    /// allowed.
    fn rules(&mut self, rules: &[Rule]) -> Option<Allowed> {
        let mut allowed = None;
        for rule in rules {
            let Matches { must, may, why } = rule.pattern.matches(self.dual);
            let word = if rule.allow { "allow" } else { "deny" };
            let what = message!("{} {}", word, self.notes.quote(rule.pattern.text()));
            if let Some(why) = why.filter(|_| may.less(&must).meets(&self.reach)) {
                let how =
                    if rule.allow { "in doubt it admits nobody" } else { "in doubt it refuses all of them" };
                self.notes.left_out(rule.line, what.clone(), message!("{}; {}", why, how));
            } else if may.is_empty() {
                self.notes.left_out(rule.line, what.clone(), "it matches no address");
            }
            let origin = message!("line {}: {}", rule.line, what);
            let sources = if rule.allow { must } else { may };
            let entries =
                sources.nets().into_iter().map(|net| Entry { net, origin: origin.clone(), group: None });
            if rule.allow {
                let (list, set) = allowed.get_or_insert_with(Allowed::default);
                list.extend(entries);
                *set = set.or(&sources);
            } else {
                self.deny.extend(entries);
                self.denied = self.denied.or(&sources);
            }
        }
        allowed
    }
}

fn forward(
    bind: &str,
    bind_port: &str,
    connect: &str,
    to_port: &str,
) -> Result<(Bind, String), &'static str> {
    let (bind_port, to_port) = (tcp_port(bind_port)?, tcp_port(to_port)?);
    let ip = match bind {
        "0" => IpAddr::from([0, 0, 0, 0]),
        text => text.parse().map_err(|_| "a listener needs an address of this machine, not a name")?,
    };
    let bind = match ip {
        IpAddr::V6(v6) if v6.is_unspecified() => Bind::dual(bind_port),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => return Err("write the IPv4 address to listen on"),
        ip => Bind::tcp(ip, bind_port),
    };
    let to = place::address(connect, to_port).ok_or("not an address to connect to")?;
    Ok((bind, to))
}

fn tcp_port(text: &str) -> Result<u16, &'static str> {
    match text.split_once('/') {
        Some((_, "udp")) => Err("Redis speaks TCP, the gate forwards no UDP"),
        Some((number, "tcp")) => tcp_port(number),
        Some(_) => Err("not a port"),
        None => place::port(text).ok_or("not a port in digits"),
    }
}

#[cfg(test)]
mod tests;
