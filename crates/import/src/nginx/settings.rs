//! Directives that are valid in `stream` and in `server` blocks. A server inherits the directives that it does not set.

use std::collections::HashMap;

use portcullis_config::message::message;

use super::access::Rules;
use super::classes;
use super::directive::Directive;
use super::tls::{ServerSide, UpstreamSide};
use crate::at::At;
use crate::draft::Limits;
use crate::notes::Notes;
use crate::review::Class;

/// The connections that a zone of `limit_conn_zone` counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The connections of each source.
    Source,
    /// The connections of each server block.
    Server,
    /// Something else, which the import does not know.
    Other,
}

/// The key of each zone, by the name of the zone.
pub(super) type Zones = HashMap<String, Key>;

/// The reason why a `proxy_bind` that depends on the client is not carried over.
const TRANSPARENT: &str = "with it Redis and its firewall see the address of each client and can judge it, and the gate connects from \
    its own address";

/// The settings of one block. A block inherits a setting that is `None` or empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) rules: Rules,
    /// The addresses of `set_real_ip_from`.
    pub(super) trusted: Vec<(At, String)>,
    pub(super) tls: ServerSide,
    pub(super) upstream: UpstreamSide,
    limits: Vec<(At, String, u64)>,
    limits_are_off: Option<bool>,
    sends_header: Option<bool>,
}

impl Settings {
    /// Reads a directive that is valid in both kinds of blocks.
    pub(super) fn directive(&mut self, directive: &Directive, notes: &mut Notes) -> Class {
        if directive.block.is_some() {
            return match directive.name() {
                name @ ("map" | "geo" | "split_clients") => classes::of(name),
                _ => Class::unknown(),
            };
        }
        let on = match directive.words.get(1).map(String::as_str) {
            Some("on") => Some(true),
            Some("off") => Some(false),
            _ => None,
        };
        match (directive.name(), on) {
            ("allow" | "deny", _) => return self.rules.push(directive, notes),
            ("set_real_ip_from", _) => {
                let [_, from] = directive.words.as_slice() else { return Class::unknown() };
                self.trusted.push((directive.at.clone(), from.clone()));
            }
            ("limit_conn", _) => match directive.words.as_slice() {
                [_, zone, count] if count.parse::<u64>().is_ok_and(|count| count > 0) => {
                    let count = count.parse().unwrap_or(1);
                    self.limits.push((directive.at.clone(), zone.clone(), count));
                }
                _ => return Class::unknown(),
            },
            ("limit_conn_dry_run", Some(on)) => self.limits_are_off = Some(on),
            ("proxy_protocol", Some(on)) => self.sends_header = Some(on),
            ("ssl_preread", Some(false)) => {}
            ("ssl_preread", _) => {
                return Class::doubtful(
                    "with it clients speak TLS to the server itself, and the gate forwards no TLS that it does not end",
                );
            }
            // A fixed address says nothing about the client.
            ("proxy_bind", _) if is_transparent(&directive.words) => return Class::doubtful(TRANSPARENT),
            ("include", _) => return Class::doubtful("the file may decide which clients get in"),
            (name, _) if name.starts_with("proxy_ssl") => return self.upstream.directive(directive, on),
            (name, _) if name.starts_with("ssl_") => return self.tls.directive(directive, on),
            (name, _) => return classes::of(name),
        }
        Class::Understood
    }

    /// Returns these settings, with those of the enclosing block for everything that these do not set. A list replaces
    /// the inherited list as a whole.
    pub(super) fn over(self, around: &Self) -> Self {
        let list = |own: Vec<(At, String)>, around: &Vec<(At, String)>| match own.is_empty() {
            true => around.clone(),
            false => own,
        };
        Self {
            rules: if self.rules.is_empty() { around.rules.clone() } else { self.rules },
            trusted: list(self.trusted, &around.trusted),
            tls: self.tls.over(&around.tls),
            upstream: self.upstream.over(&around.upstream),
            limits: if self.limits.is_empty() { around.limits.clone() } else { self.limits },
            limits_are_off: self.limits_are_off.or(around.limits_are_off),
            sends_header: self.sends_header.or(around.sends_header),
        }
    }

    /// Returns whether nginx sends a PROXY header to the server behind it.
    pub(super) fn sends_header(&self) -> bool {
        self.sends_header == Some(true)
    }

    /// Returns the limits, and the place of a limit whose zone counts something unknown, if there is one.
    pub(super) fn limits(&self, zones: &Zones, notes: &mut Notes) -> (Limits, Option<At>) {
        let (mut limits, mut doubt) = (Limits::default(), None);
        for (at, zone, count) in &self.limits {
            if self.limits_are_off == Some(true) {
                notes.left_out(at, message!("limit_conn {}", *count), "limit_conn_dry_run only counts");
                continue;
            }
            let limit = match zones.get(zone).unwrap_or(&Key::Other) {
                Key::Source => &mut limits.source_clients,
                Key::Server => &mut limits.clients,
                Key::Other => {
                    let why = "what its zone counts is not known here, so it may decide which clients get in";
                    notes.left_out(at, message!("limit_conn {}", *count), why);
                    doubt.get_or_insert_with(|| at.clone());
                    continue;
                }
            };
            *limit = Some(limit.map_or(*count, |other| other.min(*count)));
        }
        (limits, doubt)
    }
}

/// Returns whether the words of `proxy_bind` can give each client its own address.
fn is_transparent(words: &[String]) -> bool {
    words.iter().any(|word| word.contains('$')) || words.len() != 2
}

/// Reads `limit_conn_zone KEY zone=NAME:SIZE`. Returns `None` if the directive has another form.
pub(super) fn zone(directive: &Directive) -> Option<(String, Key)> {
    let [_, key, zone] = directive.words.as_slice() else { return None };
    let name = zone.strip_prefix("zone=")?.split(':').next()?.to_owned();
    let key = match key.as_str() {
        "$binary_remote_addr" | "$remote_addr" => Key::Source,
        "$server_port" | "$server_addr" => Key::Server,
        _ => Key::Other,
    };
    Some((name, key))
}
