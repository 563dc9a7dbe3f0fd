//! Lists of servers that know where the others are, and the translation of the addresses that they announce.

use std::collections::HashSet;

use crate::address::Address;
use crate::fields::named;
use crate::message::{Masked, message};
use crate::model::Translations;
use crate::problem::Position;
use crate::raw::{Node, Value};
use crate::scope::Scope;
use crate::value;
use crate::value::socket;

/// The servers that are named, in the words of messages.
pub(super) struct Kind {
    /// The highest number of them.
    pub(super) most: usize,
    /// The hint for a list without any.
    pub(super) example: &'static str,
    /// The hint for a list with too many.
    pub(super) fewer: &'static str,
    /// The hint for an address without a port.
    pub(super) port: &'static str,
    /// The hint for an announced address without a port.
    pub(super) announced: &'static str,
    /// The hint for a socket file: these servers announce hosts and ports.
    pub(super) file: &'static str,
}

impl Kind {
    /// Reads `nodes`.
    pub(super) fn nodes(&self, node: &Node, scope: &mut Scope) -> Option<Vec<Address>> {
        let mut nodes = Vec::new();
        let mut seen = HashSet::new();
        for item in value::list(node) {
            match self.address(item, "nodes", self.port, scope) {
                Some(address) if !seen.insert(address.clone()) => {
                    let message = message!("{} is listed twice", address);
                    scope.problems.error(&item.place, message, "remove one of them");
                }
                Some(address) => nodes.push(address),
                None => {}
            }
        }
        if value::list(node).is_empty() {
            scope.problems.error(&node.place, "nodes has no address", self.example);
        }
        if nodes.len() > self.most {
            let message = message!("nodes has {} addresses, and {} are allowed", nodes.len(), self.most);
            scope.problems.error(&node.place, message, self.fewer);
        }
        Some(nodes).filter(|nodes| !nodes.is_empty())
    }

    /// Reads `translate`.
    pub(super) fn translations(&self, node: &Node, scope: &mut Scope) -> Option<Translations> {
        let Value::Map(_) = &node.value else {
            let message = message!("translate must be a mapping, not {}", node.kind());
            let hint = "write translate: {\"172.17.0.2:6379\": \"redis-1.example:7001\"}";
            scope.problems.error(&node.place, message, hint);
            return None;
        };
        let mut pairs = Some(Vec::new());
        for (key, node) in named(node, "translate", &mut scope.problems) {
            let (from, to) = (
                self.tcp(&key.text, &key.place, self.announced, scope),
                self.address(node, "translate", self.announced, scope),
            );
            match (from, to, &mut pairs) {
                (Some(from), Some(to), Some(pairs)) => pairs.push((from, to)),
                _ => pairs = None,
            }
        }
        pairs.map(Translations)
    }

    fn address(
        &self,
        node: &Node,
        what: &'static str,
        no_port: &'static str,
        scope: &mut Scope,
    ) -> Option<Address> {
        let text = value::text(node, what, &mut scope.problems)?;
        let address = self.tcp(text, &node.place, no_port, scope)?;
        scope.targets.push((address.clone(), node.place.clone()));
        Some(address)
    }

    /// `no_port`: the hint where the port is missing.
    fn tcp(&self, text: &str, place: &Position, no_port: &'static str, scope: &mut Scope) -> Option<Address> {
        if socket::is_host(text) {
            let message = message!("'{}' has no port", Masked::of(text));
            scope.problems.error(place, message, no_port);
            return None;
        }
        match socket::remote(text, &scope.base) {
            Ok(Address::Unix(_)) => {
                scope.problems.error(place, "a socket file cannot be used here", self.file);
                None
            }
            Ok(address) => Some(address),
            Err((message, hint)) => {
                scope.problems.error(place, message, hint);
                None
            }
        }
    }
}
