//! `allow` and `deny`: the first rule that matches decides, and nginx admits a client that matches no rule.

use std::net::{IpAddr, Ipv6Addr};

use portcullis_config::message::{Masked, Message, message};

use super::directive::Directive;
use crate::at::At;
use crate::express::{Entry, Lists, express, named};
use crate::notes::Notes;
use crate::review::Class;
use crate::sources::{Net, Sources};

/// The rules of one block, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    list: Vec<Rule>,
    /// The place of a `deny` that could not be read, which may refuse any client.
    doubt: Option<At>,
}

#[derive(Clone, Debug)]
struct Rule {
    at: At,
    allow: bool,
    /// The network of the rule. `None` means `all`.
    net: Option<Net>,
    written: Message,
}

impl Rules {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.doubt.is_none()
    }

    /// Returns the place of the first `deny` that could not be read. `None` if all could be read.
    pub(super) fn doubt(&self) -> Option<&At> {
        self.doubt.as_ref()
    }

    pub(super) fn push(&mut self, directive: &Directive, notes: &mut Notes) -> Class {
        let at = directive.at.clone();
        let written = message!("{}", notes.quote(&directive.to_string()));
        let allow = directive.name() == "allow";
        let net = match directive.words.as_slice() {
            [_, word] if word == "all" => Ok(None),
            [_, word] if word == "unix:" => Ok(Some(Net::Unix)),
            [_, word] => network(word).map(|(net, exact)| {
                if !exact {
                    let text = message!("nginx takes {} for {}, and so does this", Masked::of(word), net);
                    notes.remark(&at, text);
                }
                Some(net)
            }),
            _ => Err("a rule has one address"),
        };
        match net {
            Ok(net) => self.list.push(Rule { at, allow, net, written }),
            Err(why) => {
                notes.left_out(&at, written, why);
                if !allow {
                    self.doubt.get_or_insert(at);
                }
            }
        }
        Class::Understood
    }

    /// Returns the entries that name trusted senders of the PROXY protocol, which the rules admit. Also returns whether
    /// the rules admit other senders too.
    pub(super) fn senders(&self, reach: &Sources) -> (Vec<Entry>, bool) {
        let mut exact = Sources::default();
        for net in Net::all() {
            let family = Sources::from(net);
            exact = exact.or(&first_match(&self.about(&family), &family));
        }
        let mut lists = Lists::default();
        for net in Net::all() {
            written(&self.about(&Sources::from(net)), net, &mut lists);
        }
        named(lists.allow, &exact.and(reach))
    }

    /// Returns the rules that nginx reads for peers of this family.
    fn about(&self, family: &Sources) -> Vec<&Rule> {
        let about = |rule: &&Rule| rule.net.is_none_or(|net| Sources::from(net).is_within(family));
        self.list.iter().filter(about).collect()
    }

    /// Returns the lists of a listener. nginx judges each family by the rules that name the family, and admits every
    /// client if there is no such rule. Here such clients are not admitted, and a note says so.
    pub(super) fn lists(&self, reach: &Sources, at: &At, notes: &mut Notes) -> Lists {
        let mut exact = Sources::default();
        let mut lists = Lists::default();
        for (net, name) in Net::all().into_iter().zip(["IPv4", "IPv6", "unix sockets"]) {
            let family = Sources::from(net);
            if !family.meets(reach) {
                self.report_unreachable(&family, name, notes);
                continue;
            }
            let rules = self.about(&family);
            if rules.is_empty() {
                let what = message!("its clients over {}", name);
                let why = message!(
                    "no allow or deny is about them, so nginx admits them all; write {} into allow if that is meant",
                    net
                );
                notes.left_out(at, what, why);
                continue;
            }
            exact = exact.or(&first_match(&rules, &family));
            written(&rules, net, &mut lists);
        }
        express(lists, &exact, reach, &Sources::default())
    }

    fn report_unreachable(&self, family: &Sources, name: &'static str, notes: &mut Notes) {
        for rule in &self.list {
            if rule.allow && rule.net.is_some_and(|net| Sources::from(net).is_within(family)) {
                let why = message!("no client connects over {} where this server listens", name);
                notes.left_out(&rule.at, rule.written.clone(), why);
            }
        }
    }
}

fn first_match(rules: &[&Rule], family: &Sources) -> Sources {
    let (mut open, mut admitted) = (family.clone(), Sources::default());
    for rule in rules {
        let matched = open.and(&rule.net.map_or_else(Sources::all, Sources::from));
        if rule.allow {
            admitted = admitted.or(&matched);
        }
        open = open.less(&matched);
    }
    admitted.or(&open)
}

/// Adds the rules to the two lists. Stops after the first `all`, which decides for all other sources.
fn written(rules: &[&Rule], all: Net, lists: &mut Lists) {
    for rule in rules {
        let origin = message!("{}: {}", rule.at, rule.written);
        let entry = |net| Entry { net, origin: origin.clone(), group: None };
        match rule.net.filter(|net| *net != all) {
            Some(net) if rule.allow => lists.allow.push(entry(net)),
            Some(net) => lists.deny.push(entry(net)),
            None => {
                if rule.allow {
                    lists.allow.push(entry(all));
                }
                return;
            }
        }
    }
    let origin = Message::from("no rule for the rest: nginx admits it");
    lists.allow.push(Entry { net: all, origin, group: None });
}

/// Reads an address or a prefix. Returns the network, and whether the text has no host bits.
pub(super) fn network(text: &str) -> Result<(Net, bool), &'static str> {
    const BAD: &str = "not an address, a prefix, unix: or all";
    let (ip, len) = match text.split_once('/') {
        Some((ip, len)) => (ip, Some(len)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| BAD)?;
    let len = match len {
        None if ip.is_ipv4() => 32,
        None => 128,
        Some(len) if len.bytes().all(|byte| byte.is_ascii_digit()) => len.parse().map_err(|_| BAD)?,
        Some(_) => return Err(BAD),
    };
    let net = Net::new(ip, len).ok_or(BAD)?;
    let mapped = Net::new(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0).into(), 96).map(Sources::from);
    if mapped.is_some_and(|mapped| Sources::from(net).is_within(&mapped)) {
        return Err("IPv4 peers are judged by their IPv4 address, never by this one");
    }
    Ok((net, matches!(net, Net::Inet(net) if net.addr() == ip)))
}
