//! The answer of ApsaraDB's DescribeSecurityIps: named groups of addresses, whose union is let in.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_config::message::{Masked, Message, message};
use serde_json::Value;

use super::draft::{Door, Draft};
use super::express::{Entry, Lists};
use super::notes::Notes;
use super::place::Bind;
use super::sources::Net;

/// Redis's own port; the answer names neither where clients connect nor where Redis is.
const REDIS_PORT: u16 = 6379;
/// Never a host (RFC 2606): nothing is reached before the operator has named the real one.
const NOWHERE: &str = "redis.invalid:6379";

/// Reads the JSON object.
///
/// # Errors
/// It is not that object; why.
pub(super) fn import(text: &str, draft: &mut Draft, notes: &mut Notes) -> Result<(), Message> {
    let answer: Value = serde_json::from_str(text).map_err(|error| message!("not JSON: {}", error))?;
    let groups = groups(&answer).ok_or("there is no SecurityIpGroups.SecurityIpGroup in it")?;
    let mut allow = Vec::new();
    let mut empty = Vec::new();
    for group in groups {
        let Some(name) =
            group.get("SecurityIpGroupName").and_then(Value::as_str).filter(|name| !name.is_empty())
        else {
            notes.left_out(1, "a group", "it has no SecurityIpGroupName");
            continue;
        };
        let line = line_of(text, name);
        let hidden = group.get("SecurityIpGroupAttribute").and_then(Value::as_str).unwrap_or_default();
        if !hidden.is_empty() {
            let note = message!(
                "group '{}' has the attribute '{}': the console does not show it, its addresses count as any",
                Masked::name(name),
                Masked::near(hidden, &["hidden"])
            );
            notes.remark(line, note);
        }
        let entries = entries(group, name, line, notes);
        if entries.is_empty() {
            empty.push(name.to_owned());
        }
        allow.extend(entries);
    }
    if allow.is_empty() && empty.is_empty() {
        return Ok(());
    }
    let door = Door {
        line: 1,
        name: "public".to_owned(),
        binds: vec![Bind::any_v4(REDIS_PORT)],
        upstream: (None, vec![NOWHERE.to_owned()]),
        lists: Lists { allow, deny: Vec::new() },
        // What their users and runbooks know.
        refusal: Some("illegal_address"),
    };
    draft.add(door, notes);
    for name in &empty {
        draft.allow_empty_group(name);
    }
    notes.left_out(1, "where Redis is", message!("the answer does not say it: replace {}", NOWHERE));
    Ok(())
}

/// The list may stand at the top or inside the answer of a command line tool; a single group may stand without a list.
fn groups(answer: &Value) -> Option<Vec<&Value>> {
    let found = answer.get("SecurityIpGroups").or_else(|| answer.get("body")?.get("SecurityIpGroups"))?;
    match found.get("SecurityIpGroup").unwrap_or(found) {
        Value::Array(groups) => Some(groups.iter().collect()),
        group @ Value::Object(_) => Some(vec![group]),
        _ => None,
    }
}

fn entries(group: &Value, name: &str, line: usize, notes: &mut Notes) -> Vec<Entry> {
    let list = group.get("SecurityIpList").and_then(Value::as_str).unwrap_or_default();
    let written: Vec<&str> = list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if written.as_slice() == ["127.0.0.1"] {
        let why = "alone in its group it means nobody there; here it would admit this machine";
        notes.left_out(line, message!("127.0.0.1 of group '{}'", Masked::name(name)), why);
        return Vec::new();
    }
    let mut entries: Vec<Entry> = Vec::new();
    for text in written {
        let what = message!("{} of group '{}'", Masked::of(text), Masked::name(name));
        match network(text) {
            Ok(_) if text == "127.0.0.1" => {
                notes.left_out(line, what, "beside other entries it is ignored there");
            }
            Ok(net) if entries.iter().any(|entry| entry.net == net) => {
                notes.left_out(line, what, "it stands there twice");
            }
            Ok(net) => entries.push(Entry { net, origin: "".into(), group: Some(name.to_owned()) }),
            Err(why) => notes.left_out(line, what, why),
        }
    }
    entries
}

/// The console takes addresses and prefixes of 1 to 32 bits, and `0.0.0.0/0` for everybody.
fn network(text: &str) -> Result<Net, &'static str> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return match ip.to_canonical() == ip {
            true => Ok(Net::host(ip)),
            false => Err("write the IPv4 address"),
        };
    }
    let (ip, len) = text.split_once('/').ok_or("not an address")?;
    let plain = len.len() <= 3 && len.bytes().all(|byte| byte.is_ascii_digit());
    let (ip, len) = (ip.parse::<IpAddr>(), len.parse::<u8>());
    let (Ok(ip), Ok(len), true) = (ip, len, plain) else { return Err("not an address or a prefix") };
    let net = IpNet::new(ip, len).map_err(|_| "a longer prefix than an address has")?;
    if net.network() != ip {
        return Err("it has bits behind the prefix, so it may mean one address or a network");
    }
    Ok(Net::Inet(net))
}

/// Where the group's name stands; the JSON of one line has one answer.
fn line_of(text: &str, name: &str) -> usize {
    let quoted = format!("\"{name}\"");
    let at = text.lines().position(|line| line.contains("SecurityIpGroupName") && line.contains(&quoted));
    at.map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests;
