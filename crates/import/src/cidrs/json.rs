//! JSON: finds every string that is an address or a list of addresses. Objects that are firewall rules are read as
//! rules.

use portcullis_config::message::message;
use serde_json::{Map, Value};

use super::{Found, has_redis_port, is_like_an_address};
use crate::network::REDIS_PORT;

/// The line in all notes: the parser of JSON does not report line numbers.
const LINE: usize = 1;
/// Parts of the keys whose values contain a description and not a list.
const PROSE: [&str; 8] = ["desc", "comment", "note", "name", "remark", "owner", "title", "gateway"];
/// The words in the action of a rule that refuses.
const REFUSALS: [&str; 5] = ["drop", "deny", "reject", "refuse", "block"];
/// The values of a rule's protocol that include TCP.
const PROTOCOLS: [&str; 7] = ["tcp", "6", "-1", "all", "any", "*", ""];

/// Finds the addresses in a JSON value.
pub(super) fn find(value: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    walk(value, "", false, &mut found);
    found
}

fn walk(value: &Value, key: &str, deny: bool, found: &mut Vec<Found>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, key, deny, found)),
        Value::Object(object) => {
            let rule = Rule::of(object);
            if let Some(why) = rule.skipped() {
                if object.values().any(holds_addresses) {
                    found.push(Found::skipped(LINE, "a rule", why));
                }
                return;
            }
            for (key, value) in object {
                let low = key.to_ascii_lowercase();
                let elsewhere = low.contains("egress") || low.contains("outbound") || low.starts_with("dest");
                if elsewhere && holds_addresses(value) {
                    found.push(Found::skipped(LINE, "addresses", "they are about connections to elsewhere"));
                } else if !elsewhere {
                    walk(value, &low, deny || rule.refuses, found);
                }
            }
        }
        Value::String(text) => string(text, key, deny, found),
        _ => {}
    }
}

fn string(text: &str, key: &str, deny: bool, found: &mut Vec<Found>) {
    let words = || text.split([',', ';']).map(str::trim).filter(|word| !word.is_empty());
    let prose = PROSE.iter().any(|prose| key.contains(prose)) || words().any(|word| word.contains(' '));
    match prose {
        true if text.split_whitespace().any(is_like_an_address) => {
            found.push(Found::skipped(LINE, "an address", "it stands in a text that describes something"));
        }
        true => {}
        false => found.extend(words().filter_map(|word| Found::of(LINE, word, deny))),
    }
}

fn holds_addresses(value: &Value) -> bool {
    match value {
        Value::String(text) => text.split([',', ';', ' ']).any(|word| is_like_an_address(word.trim())),
        Value::Array(items) => items.iter().any(holds_addresses),
        Value::Object(object) => object.values().any(holds_addresses),
        _ => false,
    }
}

/// The fields of an object that make it a firewall rule.
struct Rule {
    refuses: bool,
    outbound: bool,
    protocol: Option<String>,
    /// Whether the ports of the rule include the port of Redis. `None` if the rule names no ports.
    ports: Option<bool>,
}

impl Rule {
    fn of(object: &Map<String, Value>) -> Self {
        let field = |names: &[&str]| {
            object
                .iter()
                .find(|(key, _)| names.contains(&key.to_ascii_lowercase().as_str()))
                .map(|(_, value)| value)
        };
        let text = |names: &[&str]| field(names).and_then(Value::as_str).map(str::to_ascii_lowercase);
        let number = |names: &[&str]| field(names).and_then(Value::as_i64);
        let action = text(&["action", "policy", "ruleaction", "access"]).unwrap_or_default();
        let direction = text(&["direction"]).unwrap_or_default();
        let from = number(&["fromport", "from_port"]);
        let to = number(&["toport", "to_port"]);
        let written = text(&["port", "ports", "portrange", "destinationportrange"]);
        let ports = match (from, to, written) {
            (Some(from), to, _) => Some(has_redis_port(from, to.unwrap_or(from))),
            (None, _, Some(text)) => Some(has_ports(&text)),
            (None, _, None) => None,
        };
        Self {
            refuses: REFUSALS.iter().any(|word| action.contains(word)),
            outbound: direction.contains("egress") || direction.contains("out"),
            protocol: text(&["ipprotocol", "ip_protocol", "protocol"]),
            ports,
        }
    }

    /// Returns the reason why the rule does not concern clients of Redis. `None` if the rule concerns them.
    fn skipped(&self) -> Option<portcullis_config::message::Message> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        if self.outbound {
            Some("it is about connections to elsewhere".into())
        } else if !PROTOCOLS.contains(&protocol) {
            Some("its protocol is not TCP".into())
        } else if self.ports == Some(false) {
            Some(message!("its ports do not include {}", REDIS_PORT))
        } else {
            None
        }
    }
}

/// Returns whether a list of ports includes the port of Redis. Reads `6379`, `ALL`, `6379,6380`, `6000-7000` and
/// `6379/6379`.
fn has_ports(text: &str) -> bool {
    text.split(',').any(|part| {
        let part = part.trim();
        // A minus sign at the beginning, as in `-1`, does not separate two ports.
        let range = part.split_once('/').or_else(|| part.trim_start_matches('-').split_once('-'));
        let (from, to) = range.unwrap_or((part, part));
        match (from.trim().parse(), to.trim().parse()) {
            (Ok(from), Ok(to)) => has_redis_port(from, to),
            _ => ["all", "any", "*", ""].contains(&part),
        }
    })
}
