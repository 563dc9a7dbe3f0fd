//! The IP whitelist groups of ApsaraDB, as an API response or as text of the console. A client in any group is
//! admitted.

use portcullis_config::message::{Masked, Message, message};
use serde_json::Value;

use super::at::At;
use super::draft::Draft;
use super::express::Entry;
use super::network::{NOWHERE, door, network};
use super::notes::{Notes, What};
use super::review::{Class, Review};

/// The name of the group if the text names no group.
const DEFAULT_GROUP: &str = "default";

/// A group, as the file has it.
#[derive(Clone, Debug)]
struct Group {
    name: String,
    line: usize,
    /// The lists of addresses, each with its line.
    lists: Vec<(usize, String)>,
    /// The attribute of the group. If it is not empty, the console does not show the group.
    attribute: String,
}

impl What for &Group {
    fn message(self, _: &Notes) -> Message {
        message!("group '{}'", Masked::name(&self.name))
    }
}

/// Imports a JSON response or the text of the console.
///
/// # Errors
/// The reason why the text is neither.
pub(super) fn import(text: &str, draft: &mut Draft, notes: &mut Notes) -> Result<(), Message> {
    let groups = match text.contains(['{', '[', '"']) {
        true => of_answer(text, notes)?,
        false => of_console(text)?,
    };
    let (mut allow, mut empty) = (Vec::new(), Vec::new());
    let places = groups.iter().map(|group| (At::from(group.line), group));
    let review = Review::of(places, notes, |group, notes| {
        if !group.attribute.is_empty() {
            let note = message!(
                "group '{}' has the attribute '{}': the console does not show it, its addresses count as any",
                Masked::name(&group.name),
                Masked::near(&group.attribute, &["hidden"])
            );
            notes.remark(group.line, note);
        }
        let entries = entries(group, notes);
        if entries.is_empty() {
            empty.push(group.name.clone());
        }
        allow.extend(entries);
        Class::Understood
    });
    if allow.is_empty() && empty.is_empty() {
        return Ok(());
    }
    // Users and runbooks know this error of ApsaraDB, so the listener keeps it.
    draft.add(door(allow, Vec::new(), &review, Some("illegal_address")), notes);
    for name in &empty {
        draft.allow_empty_group(name);
    }
    notes.left_out(1, "where Redis is", message!("the list does not say it: replace {}", NOWHERE));
    Ok(())
}

/// Reads the response to DescribeSecurityIps or to DescribeDBInstanceIPArrayList.
fn of_answer(text: &str, notes: &mut Notes) -> Result<Vec<Group>, Message> {
    let answer: Value = serde_json::from_str(text).map_err(|error| message!("not JSON: {}", error))?;
    let body = answer.get("body").unwrap_or(&answer);
    let lists = ["SecurityIpGroups", "Items", "SecurityIpGroup", "DBInstanceIPArray"];
    if lists.iter().filter(|key| body.get(**key).is_some()).count() > 1 {
        notes.left_out(1, "a list of groups", "there are several in the file: import each from its own file");
    }
    let found = groups(&answer);
    let found =
        found.ok_or("there is no SecurityIpGroups.SecurityIpGroup and no Items.DBInstanceIPArray in it")?;
    let mut groups = Vec::new();
    for group in found {
        let field = |names: [&str; 2]| names.iter().find_map(|name| group.get(name)?.as_str());
        let name = field(["SecurityIpGroupName", "DBInstanceIPArrayName"]).filter(|name| !name.is_empty());
        let Some(name) = name else {
            notes.left_out(1, "a group", "it has no SecurityIpGroupName and no DBInstanceIPArrayName");
            continue;
        };
        let attribute = field(["SecurityIpGroupAttribute", "DBInstanceIPArrayAttribute"]);
        let line = line_of(text, name);
        let list = ["SecurityIpList", "SecurityIPList"].iter().find_map(|name| group.get(name));
        groups.push(Group {
            name: name.to_owned(),
            line,
            lists: vec![(line, list.map(list_of).unwrap_or_default())],
            attribute: attribute.unwrap_or_default().to_owned(),
        });
    }
    Ok(groups)
}

/// Returns a list of addresses as text with commas. The list is a text or an array of texts.
fn list_of(value: &Value) -> String {
    match value {
        Value::String(list) => list.clone(),
        Value::Array(items) => items.iter().map(list_of).collect::<Vec<_>>().join(","),
        Value::Null => String::new(),
        // No address: a note follows.
        other => other.to_string(),
    }
}

/// Finds the list of groups in the response, at the top or inside the output of a command line tool. A single group may
/// stand there without a list. Returns `None` if there is no group.
fn groups(answer: &Value) -> Option<Vec<&Value>> {
    if let Value::Array(groups) = answer {
        return Some(groups.iter().collect());
    }
    let answer = answer.get("body").unwrap_or(answer);
    let found = match (answer.get("SecurityIpGroups"), answer.get("Items")) {
        (Some(found), _) => found.get("SecurityIpGroup").unwrap_or(found),
        (None, Some(found)) => found.get("DBInstanceIPArray").unwrap_or(found),
        (None, None) => answer.get("SecurityIpGroup").or_else(|| answer.get("DBInstanceIPArray"))?,
    };
    match found {
        Value::Array(groups) => Some(groups.iter().collect()),
        group @ Value::Object(_) => Some(vec![group]),
        _ => None,
    }
}

/// Reads `10.0.0.0/8,192.0.2.1`, or several groups with one line each: `NAME: 10.0.0.0/8,192.0.2.1`.
fn of_console(text: &str) -> Result<Vec<Group>, Message> {
    let mut groups: Vec<Group> = Vec::new();
    for (line, written) in (1..).zip(text.lines()) {
        // Input methods for Chinese write these characters.
        let written = written.replace('，', ",").replace('；', ";").replace('：', ": ");
        let written = written.trim();
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        let (name, list) = match written.split_once(": ") {
            Some((name, list)) if is_name(name) => (name, list),
            _ => (DEFAULT_GROUP, written),
        };
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.lists.push((line, list.to_owned())),
            None => {
                let (name, lists) = (name.to_owned(), vec![(line, list.to_owned())]);
                groups.push(Group { name, line, lists, attribute: String::new() });
            }
        }
    }
    let listed = |group: &Group| group.parts().any(|(_, part)| network(part).is_ok());
    match groups.iter().any(listed) {
        true => Ok(groups),
        false => Err("not JSON, and no list of addresses".into()),
    }
}

/// Returns whether the console accepts the text as the name of a group: lower-case letters, digits and `_`.
fn is_name(text: &str) -> bool {
    let body = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(body)
}

impl Group {
    /// Returns the entries of the group, each with its line.
    fn parts(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lists.iter().flat_map(|(line, list)| {
            let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| (*line, part))
        })
    }
}

fn entries(group: &Group, notes: &mut Notes) -> Vec<Entry> {
    let Group { name, .. } = group;
    let written: Vec<(usize, &str)> = group.parts().collect();
    if let [(line, "127.0.0.1")] = written.as_slice() {
        let why =
            "alone in its group it means that no client gets in there; here it would admit this machine";
        notes.left_out(*line, message!("127.0.0.1 of group '{}'", Masked::name(name)), why);
        return Vec::new();
    }
    let mut entries: Vec<Entry> = Vec::new();
    for (line, text) in written {
        let what = message!("{} of group '{}'", notes.quote(text), Masked::name(name));
        match network(text) {
            Ok(_) if text == "127.0.0.1" => {
                notes.left_out(line, what, "beside other entries it is ignored there");
            }
            Ok(net) if entries.iter().any(|entry| entry.net == net) => {
                notes.left_out(line, what, "it stands there twice");
            }
            Ok(net) => entries.push(Entry { net, origin: "".into(), group: Some(name.clone()) }),
            // A comment or a mask may follow, so the parts are not taken for addresses.
            Err(_) if text.contains([';', ' ', '\t']) => {
                notes.left_out(line, what, "it is not one address: write a comma between addresses");
            }
            Err(why) => notes.left_out(line, what, why),
        }
    }
    entries
}

/// Returns the line with the group's name. JSON that is written in one line has only line 1.
fn line_of(text: &str, name: &str) -> usize {
    let quoted = format!("\"{name}\"");
    let names = ["SecurityIpGroupName", "DBInstanceIPArrayName"];
    let is_it = |line: &str| names.iter().any(|key| line.contains(key)) && line.contains(&quoted);
    text.lines().position(is_it).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests;
