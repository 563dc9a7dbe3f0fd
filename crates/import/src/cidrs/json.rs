//! JSON: finds every string that is an address or a list of addresses. Objects that are firewall rules are read as
//! rules.

use portcullis_config::message::{Message, message};
use serde_json::{Map, Value};

use super::meaning::{Meaning, has_ports, has_tcp};
use super::{Found, has_redis_port, is_like_an_address};
use crate::network::REDIS_PORT;

/// The line in all notes: the parser of JSON does not report line numbers.
const LINE: usize = 1;
/// The keys of a rule that say whether it admits, in lower case.
const ACTIONS: [&str; 9] =
    ["action", "policy", "ruleaction", "access", "direction", "type", "effect", "mode", "status"];

/// Finds the addresses in a JSON value.
pub(super) fn find(value: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    walk(value, Meaning::Admits, &mut found);
    found
}

fn walk(value: &Value, meaning: Meaning, found: &mut Vec<Found>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, meaning, found)),
        Value::Object(object) => {
            let rule = Rule::of(object);
            if let Some(why) = rule.skipped() {
                if object.values().any(holds_addresses) {
                    found.push(Found::skipped(LINE, "a rule", why));
                }
                return;
            }
            for (key, value) in object {
                let meaning = meaning.max(rule.meaning).max(Meaning::of(key));
                match meaning {
                    Meaning::Elsewhere if holds_addresses(value) => {
                        found.push(Found::skipped(
                            LINE,
                            "addresses",
                            "they are about connections to elsewhere",
                        ));
                    }
                    Meaning::Elsewhere => {}
                    _ => walk(value, meaning, found),
                }
            }
        }
        Value::String(text) => string(text, meaning, found),
        _ => {}
    }
}

fn string(text: &str, meaning: Meaning, found: &mut Vec<Found>) {
    let words = || text.split([',', ';']).map(str::trim).filter(|word| !word.is_empty());
    if words().any(|word| word.contains(' ')) {
        if holds_address(text) {
            let meaning = meaning.max(Meaning::Prose);
            found.push(Found::skipped(LINE, "an address", meaning.reason()));
        }
        return;
    }
    found.extend(words().filter_map(|word| Found::of(LINE, word, meaning)));
}

fn holds_address(text: &str) -> bool {
    text.split([',', ';', ' ', '\n', '\t']).any(|word| is_like_an_address(word.trim()))
}

fn holds_addresses(value: &Value) -> bool {
    match value {
        Value::String(text) => holds_address(text),
        Value::Array(items) => items.iter().any(holds_addresses),
        Value::Object(object) => object.values().any(holds_addresses),
        _ => false,
    }
}

/// The fields of an object that make it a firewall rule.
struct Rule {
    meaning: Meaning,
    /// Whether the protocols of the rule include TCP. `None` if the rule names no protocol.
    tcp: Option<bool>,
    /// Whether the ports of the rule include the port of Redis. `None` if the rule names no ports.
    ports: Option<bool>,
}

impl Rule {
    fn of(object: &Map<String, Value>) -> Self {
        let mut rule = Self { meaning: Meaning::Admits, tcp: None, ports: None };
        let field = |name: &str| {
            let named = |key: &str| key.to_ascii_lowercase().replace('_', "") == name;
            object.iter().find(|(key, _)| named(key)).map(|(_, value)| value)
        };
        if let Some(from) = field("fromport").and_then(Value::as_i64) {
            let to = field("toport").and_then(Value::as_i64).unwrap_or(from);
            rule.port(has_redis_port(from, to));
        }
        for (key, value) in object {
            rule.field(&key.to_ascii_lowercase().replace('_', ""), key, value);
        }
        rule
    }

    fn field(&mut self, low: &str, key: &str, value: &Value) {
        let meaning = match value {
            Value::Bool(on) => flag(low, key, *on),
            Value::String(text) if ACTIONS.contains(&low) => Meaning::of(text),
            Value::String(text) if low.ends_with("protocol") => {
                self.tcp = Some(self.tcp.unwrap_or(false) || has_tcp(text));
                Meaning::Admits
            }
            // A word such as `blacklist` under an unknown key.
            Value::String(text)
                if Meaning::of(key) != Meaning::Prose
                    && !low.starts_with("dest")
                    && !holds_address(text)
                    && matches!(Meaning::of(text), Meaning::Refuses | Meaning::Elsewhere) =>
            {
                Meaning::Unknown
            }
            // Google Cloud names the ports of a rule in these lists.
            Value::Array(items) if low == "allowed" || low == "denied" => {
                let rules: Vec<Self> = items.iter().filter_map(Value::as_object).map(Self::of).collect();
                if !rules.is_empty() {
                    self.port(rules.iter().any(|rule| rule.skipped().is_none()));
                }
                if low == "denied" && !rules.is_empty() { Meaning::Refuses } else { Meaning::Admits }
            }
            _ if low == "fromport" || low == "toport" || low.starts_with("source") => Meaning::Admits,
            _ if low.ends_with("port")
                || low.ends_with("ports")
                || low.ends_with("portrange")
                || low.ends_with("portranges") =>
            {
                if let Some(has) = includes(value) {
                    self.port(has);
                }
                Meaning::Admits
            }
            _ => Meaning::Admits,
        };
        self.meaning = self.meaning.max(meaning);
    }

    fn port(&mut self, includes: bool) {
        self.ports = Some(self.ports.unwrap_or(false) || includes);
    }

    /// Returns the reason why the rule does not concern clients of Redis. `None` if the rule concerns them.
    fn skipped(&self) -> Option<Message> {
        if self.meaning == Meaning::Elsewhere {
            Some(self.meaning.reason().into())
        } else if self.tcp == Some(false) {
            Some("its protocol is not TCP".into())
        } else if self.ports == Some(false) {
            Some(message!("its ports do not include {}", REDIS_PORT))
        } else {
            None
        }
    }
}

/// Returns the meaning of a field that is true or false.
fn flag(low: &str, key: &str, on: bool) -> Meaning {
    let meaning = Meaning::of(key);
    match low {
        "isdefault" | "verifiablepasswordauthentication" => Meaning::Admits,
        "enabled" | "active" | "allow" | "allowed" | "ingress" if on => Meaning::Admits,
        "disabled" if !on => Meaning::Admits,
        _ if matches!(meaning, Meaning::Elsewhere | Meaning::Refuses) => match on {
            true => meaning,
            false => Meaning::Admits,
        },
        _ => Meaning::Unknown,
    }
}

/// Returns whether ports include the port of Redis: a number, a text, a list, or an object such as `{"From": 22, "To":
/// 22}`. Returns `None` if there is no port.
fn includes(value: &Value) -> Option<bool> {
    match value {
        Value::Number(port) => Some(port.as_i64().is_some_and(|port| has_redis_port(port, port))),
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(has_ports(text)),
        Value::Array(items) => items.iter().filter_map(includes).reduce(|one, other| one || other),
        Value::Object(object) => {
            let ends =
                object.get("From").and_then(Value::as_i64).zip(object.get("To").and_then(Value::as_i64));
            match ends {
                Some((from, to)) => Some(has_redis_port(from, to)),
                None => Some(Rule::of(object).skipped().is_none()),
            }
        }
        _ => None,
    }
}
