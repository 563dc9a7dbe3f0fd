//! Keys of other mappings in a group or in an entry, and addresses in place of keys.
//!
//! A hint about them never shows a list to copy: what the operator meant to refuse must not become an entry.

use portcullis_acl::{Cidr, CidrError};

use crate::fields::Fields;
use crate::message::message;
use crate::scope::Scope;

/// The lists of a listener.
const LISTS: [&str; 2] = ["allow", "deny"];
/// The keys of a group that no entry has.
const GROUP_KEYS: [&str; 3] = ["entries", "file", "select"];

/// Reports such keys in a group. Returns whether there is one.
pub(super) fn in_group(fields: &mut Fields<'_>, scope: &mut Scope) -> bool {
    addresses(fields, scope) | lists(fields, scope)
}

/// Reports such keys in an entry of a group, or of a list of a listener. Returns whether there is one.
pub(super) fn in_entry(fields: &mut Fields<'_>, is_in_group: bool, scope: &mut Scope) -> bool {
    let others = addresses(fields, scope) | lists(fields, scope);
    let Some(key) = fields.find_all(|key| GROUP_KEYS.contains(&key)) else { return others };
    let name = GROUP_KEYS.into_iter().find(|name| *name == key.text).unwrap_or_default();
    let message = message!("'{}' is a key of a group, and this is an entry", name);
    let hint = match is_in_group {
        true => "write it into a group of its own, and include that one with {group: NAME}",
        false => "write it into a group of its own under groups, and name the group here",
    };
    scope.problems.error(&key.place, message, hint);
    true
}

fn addresses(fields: &mut Fields<'_>, scope: &mut Scope) -> bool {
    let Some(key) = fields.find_all(is_address) else { return false };
    let hint = "write a list with '- ADDRESS' on each line; a note goes into {cidr: ADDRESS, note: TEXT}, and addresses \
                to refuse go into a list under deny";
    scope.problems.error(&key.place, "an address stands in place of a key", hint);
    true
}

fn lists(fields: &mut Fields<'_>, scope: &mut Scope) -> bool {
    let Some(key) = fields.find_all(|key| LISTS.contains(&key)) else { return false };
    let name = LISTS.into_iter().find(|name| *name == key.text).unwrap_or_default();
    let message = message!("'{}' is a key of a listener, and a group is one list", name);
    let hint = "write the addresses to refuse into a group of their own; name it under deny of the listener, and the \
                others under allow";
    scope.problems.error(&key.place, message, hint);
    true
}

/// Whether a key was meant as an address, or as several.
fn is_address(key: &str) -> bool {
    match key.parse::<Cidr>() {
        Ok(_) => true,
        Err(error) => !matches!(
            error,
            CidrError::NotAnAddress
                | CidrError::Space
                | CidrError::Zone
                | CidrError::ShortForm
                | CidrError::BadLength
                | CidrError::Everybody
                | CidrError::Localhost
                | CidrError::HostName
        ),
    }
}
