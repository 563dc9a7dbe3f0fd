//! Listen addresses: one address, or `{unix: PATH, mode: "0660", group: NAME}`.

use std::fs::File;
use std::io::Read;

use crate::address::UnixSocket;
use crate::fields::Fields;
use crate::message::{Masked, message};
use crate::raw::{Node, Value};
use crate::scope::Scope;
use crate::value;
use crate::value::socket::{self, Local};

const GROUPS: &str = "/etc/group";
/// A machine has some hundred groups.
const MAX_GROUPS: u64 = 4 << 20;
/// The permission to connect for those who are neither owner nor of the group.
const OTHERS: u32 = 0o002;

/// The number that leaves the group of a file as it is (chown(2)).
const NO_GROUP: u32 = u32::MAX;

/// Stands for a group of another host.
const UNKNOWN_GROUP: u32 = NO_GROUP;

/// Reads a place to listen.
pub(super) fn read(node: &Node, scope: &mut Scope) -> Option<Local> {
    let bind = read_form(node, scope)?;
    scope.binds.push((bind.clone(), node.place.clone()));
    Some(bind)
}

fn read_form(node: &Node, scope: &mut Scope) -> Option<Local> {
    if let Value::Map(_) = &node.value {
        return unix(node, scope).map(Local::Unix);
    }
    let text = value::text(node, "bind", &mut scope.problems)?;
    match socket::local(text, &scope.base) {
        Ok(bind) => Some(bind),
        Err((message, hint)) => {
            scope.problems.error(&node.place, message, hint);
            None
        }
    }
}

fn unix(node: &Node, scope: &mut Scope) -> Option<UnixSocket> {
    let mut fields = Fields::of(node, "bind", &mut scope.problems)?;
    let example = "write bind: {unix: /run/portcullis/redis.sock, mode: \"0660\", group: redis}";
    let path = fields.need("unix", example, &mut scope.problems).and_then(|node| {
        let text = value::text(node, "unix", &mut scope.problems)?;
        socket::unix(text, &scope.base)
            .map_err(|(message, hint)| scope.problems.error(&node.place, message, hint))
            .ok()
    });
    let mode = fields.take("mode").map(|node| mode(node, scope));
    let group = fields.take("group").map(|node| group(node, scope));
    fields.finish(&mut scope.problems);
    let mut file = UnixSocket::at(path?);
    if let Some(mode) = mode {
        file = file.with_mode(mode?);
    }
    if let Some(group) = group {
        file = file.with_group(group?);
    }
    if file.mode() & OTHERS != 0 {
        let message = "every local user may connect to this socket";
        scope.problems.warning(
            &node.place,
            message,
            "write mode: \"0660\" and a group of the users who may connect",
        );
    }
    Some(file)
}

/// Three octal digits, with or without a 0 before them, as `chmod` takes them.
fn mode(node: &Node, scope: &mut Scope) -> Option<u32> {
    let text = value::text(node, "mode", &mut scope.problems)?;
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let octal = digits.len() == 3 && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if octal && let Ok(mode) = u32::from_str_radix(digits, 8) {
        return Some(mode);
    }
    let message = message!("mode must be three octal digits, not '{}'", Masked::of(text));
    scope.problems.error(&node.place, message, "write mode: \"0660\" for the owner and the group");
    None
}

/// A group of this machine, by name or number.
fn group(node: &Node, scope: &mut Scope) -> Option<u32> {
    let text = value::text(node, "group", &mut scope.problems)?;
    if let Ok(number) = text.parse() {
        if number == NO_GROUP {
            let message = message!("{} is not the number of a group", NO_GROUP);
            scope.problems.error(&node.place, message, "write the name of a group, or a smaller number");
            return None;
        }
        return Some(number);
    }
    if !scope.options.asks_host() {
        return Some(UNKNOWN_GROUP);
    }
    let mut known = String::new();
    let read = File::open(GROUPS).and_then(|file| file.take(MAX_GROUPS).read_to_string(&mut known));
    let lines = known.lines().filter_map(|line| {
        let mut parts = line.split(':');
        Some((parts.next()?, parts.nth(1)?.parse().ok()?))
    });
    let groups: Vec<(&str, u32)> = lines.collect();
    if let Some((_, number)) = groups.iter().find(|(name, _)| *name == text) {
        return Some(*number);
    }
    let names: Vec<&str> = groups.iter().map(|(name, _)| *name).collect();
    let message = match read {
        Ok(_) => message!("no group '{}' in {}", Masked::near(text, &names), GROUPS),
        Err(error) => message!("cannot read {} to look up the socket's group: {}", GROUPS, error),
    };
    scope.problems.host(&node.place, message, "create it with groupadd, or write the group's number");
    None
}
