//! The addresses that servers announce, and where the proxy reaches each.

use crate::address::Address;

/// Pairs of an announced address and a reachable one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Translations(pub(crate) Vec<(Address, Address)>);

impl Translations {
    /// Returns the pairs, in the order of the file.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&Address, &Address)> {
        self.0.iter().map(|(from, to)| (from, to))
    }

    /// Returns the address at which the proxy reaches a server that announces `announced`.
    pub(crate) fn reachable<'a>(&'a self, announced: &'a Address) -> &'a Address {
        let known = self.0.iter().find(|(from, _)| from.is_same_host(announced));
        known.map_or(announced, |(_, to)| to)
    }
}
