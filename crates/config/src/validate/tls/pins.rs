//! `pin`: certificates by their SHA-256.

use std::collections::BTreeSet;
use std::fmt;

use crate::message::{Harmless, Message, message};
use crate::raw::Node;
use crate::scope::Scope;
use crate::tls::{FINGERPRINT, Pin, PinError, Trust};
use crate::value;

/// A pin or a list of them. `other`: a key that a pin leaves nothing to do for.
pub(super) fn pins(node: &Node, other: Option<(&'static str, &Node)>, scope: &mut Scope) -> Option<Trust> {
    let mut pins = Some(BTreeSet::new());
    if let Some((name, other)) = other {
        scope.problems.error(
            &other.place,
            message!(
                "'{}' cannot be used with 'pin': a pin trusts a certificate whatever CA issued it",
                name
            ),
            message!("remove {} or pin", name),
        );
        pins = None;
    }
    if value::list(node).is_empty() {
        scope.problems.error(&node.place, "pin has no value", hint());
        return None;
    }
    for item in value::list(node) {
        match one(item, scope) {
            Some(pin) => pins.iter_mut().for_each(|pins| {
                pins.insert(pin);
            }),
            None => pins = None,
        }
    }
    pins.map(Trust::Pins)
}

/// A text that is no pin is not repeated: it may be a secret.
fn one(node: &Node, scope: &mut Scope) -> Option<Pin> {
    match Pin::parse(value::text(node, "pin", &mut scope.problems)?) {
        Ok(pin) => Some(pin),
        Err(error @ (PinError::Prefix | PinError::Digits | PinError::Length(_))) => {
            scope.problems.error(&node.place, message!("invalid pin: {}", error), hint());
            None
        }
    }
}

fn hint() -> Message {
    message!("write \"sha256:\" and the digits that {} prints after '=', with or without colons", FINGERPRINT)
}

/// The error quotes nothing.
impl Harmless for PinError {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
