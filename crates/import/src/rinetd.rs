//! rinetd.conf: forwards, and patterns that allow or deny clients. Patterns before the first forward apply to all
//! forwards, later ones to the forward before them.

mod pattern;

use std::net::IpAddr;

use portcullis_config::message::{Message, message};

use super::at::At;
use super::draft::{Admission, Door, Draft, Limits, Name, Target};
use super::express::{Entry, Lists, express};
use super::notes::{Foreign, Notes};
use super::place::{self, Bind, NO_UDP};
use super::review::{Class, Review};
use super::sources::{Net, Sources};
use pattern::{Matches, Pattern};

/// Imports a whole file.
pub(super) fn import(text: &str, draft: &mut Draft, notes: &mut Notes) {
    let mut file = File { global: Part::default(), forwards: Vec::new() };
    for (line, whole) in (1..).zip(text.lines()) {
        let written = whole.split_once('#').map_or(whole, |(rule, _)| rule).trim();
        if !written.is_empty() {
            file.line(Line { number: line, written });
        }
    }
    // In rinetd the first rule of the file has the index 0, even if its forward is not carried over.
    let quirk = file.quirk();
    let global = file.global.review(notes);
    for (at, section) in file.forwards.iter().enumerate() {
        let review = section.part.review(notes).and(global.clone());
        let Some(forward) = section.forward(notes) else { continue };
        let review = review.or_doubt_at(forward.doubt());
        let other = quirk.as_ref().filter(|quirk| quirk.forward == at).map(|quirk| quirk.rules.as_slice());
        forward.door(&file.global.rules, &section.part.rules, other, &review, draft, notes);
    }
}

/// A line without its comment.
#[derive(Clone, Copy)]
struct Line<'t> {
    number: usize,
    written: &'t str,
}

/// The lines that apply together: those before the first forward, or those after one forward.
#[derive(Default)]
struct Part<'t> {
    rules: Vec<Rule>,
    others: Vec<Line<'t>>,
}

/// A forward and the lines that follow it.
struct Section<'t> {
    line: Line<'t>,
    part: Part<'t>,
}

struct File<'t> {
    global: Part<'t>,
    forwards: Vec<Section<'t>>,
}

#[derive(Clone)]
struct Rule {
    line: usize,
    allow: bool,
    pattern: Pattern,
}

/// The rules that rinetd up to 0.73 applies to one forward in place of its own.
struct Quirk {
    forward: usize,
    rules: Vec<Rule>,
}

impl<'t> File<'t> {
    fn line(&mut self, line: Line<'t>) {
        let words: Vec<&str> = line.written.split_ascii_whitespace().collect();
        if let [_, _, _, _, ..] = words.as_slice()
            && !matches!(words[0], "allow" | "deny")
        {
            self.forwards.push(Section { line, part: Part::default() });
            return;
        }
        let part = self.forwards.last_mut().map_or(&mut self.global, |section| &mut section.part);
        match words.as_slice() {
            [word @ ("allow" | "deny"), pattern] => {
                let pattern = Pattern::new(pattern);
                part.rules.push(Rule { line: line.number, allow: *word == "allow", pattern });
            }
            _ => part.others.push(line),
        }
    }

    /// Returns the rules that rinetd up to 0.73 applies by mistake, because these versions read the index 0 as "no rule
    /// yet". The mistake happens if there is no global rule and the first forward with rules has several. That forward
    /// loses its first rule and gets the first rule of the next forward. Returns `None` if there is no such forward.
    fn quirk(&self) -> Option<Quirk> {
        if !self.global.rules.is_empty() {
            return None;
        }
        let forward = self.forwards.iter().position(|section| !section.part.rules.is_empty())?;
        let rules: Vec<Rule> =
            self.forwards.iter().flat_map(|section| &section.part.rules).cloned().collect();
        let own = self.forwards[forward].part.rules.len();
        (own > 1).then(|| Quirk { forward, rules: rules.into_iter().skip(1).take(own).collect() })
    }
}

impl Part<'_> {
    /// Classifies the lines that are neither rules nor forwards.
    fn review(&self, notes: &mut Notes) -> Review {
        let lines = self.others.iter().map(|line| (At::from(line.number), Foreign(line.written)));
        Review::of(lines, notes, |Foreign(written), _| {
            match written.split_ascii_whitespace().collect::<Vec<_>>().as_slice() {
                ["logfile", _] | ["logcommon"] => {
                    Class::Harmless("logs go to standard error, the audit trail to audit: {path: ...}")
                }
                ["pidlogfile", _] => Class::Harmless(
                    "no file with the process id is written: systemd and containers know the process",
                ),
                ["allow" | "deny", ..] => Class::doubtful("a rule has one pattern"),
                _ => Class::doubtful("not a line that rinetd knows"),
            }
        })
    }
}

impl<'t> Section<'t> {
    /// Reads the forward. Returns `None` if it cannot be carried over. Its rules are then left out too, and notes say
    /// so.
    fn forward(&self, notes: &mut Notes) -> Option<Forward<'t>> {
        let words: Vec<&str> = self.line.written.split_ascii_whitespace().collect();
        let [bind, bind_port, connect, connect_port, options @ ..] = words.as_slice() else { return None };
        let options = options.concat();
        match forward(bind, bind_port, connect, connect_port) {
            Ok((bind, to)) => {
                if !options.is_empty() {
                    notes.left_out(self.line.number, Foreign(&options), "the gate has no such option");
                }
                Some(Forward { line: self.line, bind, to, options })
            }
            Err(why) => {
                notes.left_out(self.line.number, Foreign(self.line.written), why);
                for rule in &self.part.rules {
                    let word = if rule.allow { "allow" } else { "deny" };
                    let what = message!("{} {}", word, notes.quote(rule.pattern.text()));
                    notes.left_out(rule.line, what, "it belongs to a forward that is not carried over");
                }
                None
            }
        }
    }
}

/// Returns whether the options only say how to connect to the target, as `[timeout=1200,src=10.0.0.1,keepalive=off]`
/// does. Such options do not affect which clients get in.
fn options_are_harmless(options: &str) -> bool {
    let Some(inside) = options.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return options.is_empty();
    };
    let key = |option: &str| option.split_once('=').map_or("", |(key, _)| key).trim().to_owned();
    inside.split(',').all(|option| ["timeout", "src", "keepalive"].contains(&key(option).as_str()))
}

/// A forward that is carried over.
struct Forward<'t> {
    line: Line<'t>,
    bind: Bind,
    to: String,
    options: String,
}

impl Forward<'_> {
    /// Returns the place of the forward if it has an option that rinetd does not know. Otherwise returns `None`.
    fn doubt(&self) -> Option<At> {
        (!options_are_harmless(&self.options)).then(|| self.line.number.into())
    }

    fn door(
        self,
        global: &[Rule],
        own: &[Rule],
        quirk: Option<&[Rule]>,
        review: &Review,
        draft: &mut Draft,
        notes: &mut Notes,
    ) {
        let mut lists = self.lists(global, own, review, notes);
        if let (Some(quirk), [skipped, ..]) = (quirk, own) {
            lists = self.passing_both(lists, quirk, skipped, notes);
        }
        let port = self.bind.port().unwrap_or(0);
        let door = Door {
            at: self.line.number.into(),
            name: Name::Ours(format!("public-{port}")),
            binds: vec![self.bind],
            upstream: Target { name: None, addresses: vec![self.to], tls: None },
            admission: Admission::of(lists, review),
            senders: None,
            tls: None,
            limits: Limits::default(),
            refusal: None,
        };
        draft.add(door, notes);
    }

    /// Returns lists that admit a client as rinetd does. The client must match a global `allow`, if there is one, and
    /// an `allow` of the forward, if there is one. It must match no `deny` of either.
    fn lists(&self, global: &[Rule], own: &[Rule], review: &Review, notes: &mut Notes) -> Lists {
        let what = message!("the clients of '{}'", notes.quote(self.line.written));
        if let Some(at) = review.doubt() {
            let why = message!("{} may decide which clients get in, so no address is allowed", at.clone());
            notes.left_out(self.line.number, what, why);
            return Lists::default();
        }
        if global.is_empty() && own.is_empty() {
            notes.left_out(self.line.number, what, NO_RULES);
            return Lists::default();
        }
        let mut read = self.reading(notes);
        let global = read.rules(global);
        let own = read.rules(own);
        let Reading { deny, denied, reach, .. } = read;
        let allowed_by_both = allowed(global.as_ref()).and(&allowed(own.as_ref()));
        let exact = allowed_by_both.less(&denied);
        if !exact.meets(&reach)
            && let Some(why) = why_none(global.as_ref(), own.as_ref(), &allowed_by_both, &exact)
        {
            notes.remark(self.line.number, why);
        }
        let allow = match (global, own) {
            (Some((_, global)), Some((entries, own))) if own.is_within(&global) => entries,
            (Some((entries, _)), _) | (None, Some((entries, _))) => entries,
            (None, None) => {
                let origin = Message::from("no allow line: every other client");
                Net::all().map(|net| Entry { net, origin: origin.clone(), group: None }).into()
            }
        };
        express(Lists { allow, deny }, &exact, &reach, &Sources::default())
    }

    /// Returns lists of the clients that get in both by the rules in the manual and by the rules that rinetd up to 0.73
    /// applies.
    fn passing_both(&self, lists: Lists, quirk: &[Rule], skipped: &Rule, notes: &mut Notes) -> Lists {
        // The same rules have been noted before, so these notes are dropped.
        let mut unheard = Notes::of("");
        let mut read = self.reading(&mut unheard);
        let own = read.rules(quirk);
        let other = allowed(own.as_ref()).less(&read.denied);
        let reach = read.reach;
        let manual: Sources = lists.allow.iter().map(|entry| entry.net).collect();
        let manual = manual.less(&lists.deny.iter().map(|entry| entry.net).collect());
        let both = manual.and(&other).and(&reach);
        let text = "rinetd up to 0.73 skips this line, since no global rule stands before it, and takes the first rule of \
                    the next forward instead; here only clients get in that pass in both ways";
        notes.remark(skipped.line, text);
        if both.is_empty() && manual.meets(&reach) {
            let text = "no client passes in both ways, so allow is empty: list the clients that may connect";
            notes.remark(self.line.number, text);
        }
        express(lists, &both, &reach, &Sources::default())
    }

    fn reading<'n>(&self, notes: &'n mut Notes) -> Reading<'n> {
        Reading {
            line: self.line.number,
            dual: matches!(self.bind, Bind::Tcp { dual: true, .. }),
            reach: self.bind.reach(),
            deny: Vec::new(),
            denied: Sources::default(),
            notes,
        }
    }
}

const NO_RULES: &str = "there is no allow and no deny, so rinetd admits every client that reaches it; list the clients that may connect, or \
    write allow: [0.0.0.0/0, \"::/0\"] if every client is meant";

/// The entries of the `allow` rules, and the sources that they match.
type Allowed = (Vec<Entry>, Sources);

fn allowed(part: Option<&Allowed>) -> Sources {
    part.map_or_else(Sources::all, |(_, sources)| sources.clone())
}

/// Returns the reason why rules admit no client that can reach the forward. `None`: no `allow` matches any client, which
/// has notes of its own.
fn why_none(
    global: Option<&Allowed>,
    own: Option<&Allowed>,
    allowed_by_both: &Sources,
    exact: &Sources,
) -> Option<&'static str> {
    let matches = |part: Option<&Allowed>| part.is_none_or(|(_, sources)| !sources.is_empty());
    if !matches(global) || !matches(own) {
        return None;
    }
    Some(if allowed_by_both.is_empty() {
        "a client must match an allow before the first forward and an allow of this forward, and no address matches both"
    } else if exact.is_empty() {
        "every address that its allow lines match is denied by a deny line"
    } else {
        "no address that its allow lines match can reach the address that this forward listens on"
    })
}

/// A reading of rules for one forward.
struct Reading<'n> {
    /// The line of the forward.
    line: usize,
    dual: bool,
    reach: Sources,
    deny: Vec<Entry>,
    denied: Sources,
    notes: &'n mut Notes,
}

impl Reading<'_> {
    /// Collects the sources of all `deny` rules, and returns those of the `allow` rules. Returns `None` if there is no
    /// `allow`. A `deny` in doubt refuses all sources that it may match; an `allow` admits only those that it matches
    /// for certain.
    fn rules(&mut self, rules: &[Rule]) -> Option<Allowed> {
        let mut allowed = None;
        for rule in rules {
            let Matches { must, mut may, why } = rule.pattern.matches(self.dual);
            let word = if rule.allow { "allow" } else { "deny" };
            let what = message!("{} {}", word, self.notes.quote(rule.pattern.text()));
            let more = rule.pattern.may_refuse(self.dual).may.less(&may);
            if !rule.allow && more.meets(&self.reach) {
                let text = "rinetd may match shorter addresses than this says, since a '?' may match the end of an address, \
                            and versions differ about capital letters; here it refuses all that it may match";
                self.notes.remark(rule.line, text);
                may = may.or(&more);
            }
            if let Some(why) = why.filter(|_| may.less(&must).meets(&self.reach)) {
                let how = if rule.allow {
                    "in doubt it admits no address"
                } else {
                    "in doubt it refuses all of them"
                };
                self.notes.left_out(rule.line, what.clone(), message!("{}; {}", why, how));
            } else if may.is_empty() {
                let why = self.why_nothing(&rule.pattern);
                self.notes.left_out(rule.line, what.clone(), why);
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

    /// Returns the reason why a pattern matches no client of the forward. A global pattern can match clients of another
    /// forward.
    fn why_nothing(&self, pattern: &Pattern) -> Message {
        if pattern.matches(!self.dual).may.is_empty() {
            return "it matches no address".into();
        }
        let reason = match self.dual {
            true => "which listens on :: and sees IPv4 clients as ::ffff:a.b.c.d",
            false => "because only a forward on :: sees IPv4 clients as ::ffff:a.b.c.d",
        };
        message!("it matches no client of the forward in line {}, {}", self.line, reason)
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
        Some((_, "udp")) => Err(NO_UDP),
        Some((number, "tcp")) => tcp_port(number),
        Some(_) => Err("not a port"),
        None => place::port(text).ok_or("not a port in digits"),
    }
}

#[cfg(test)]
mod tests;
