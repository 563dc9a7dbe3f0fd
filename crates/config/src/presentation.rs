//! The kinds of server that a listener presents itself as, and the address that it announces.

/// The presentation of a listener: the keys `present_as`, `announce` and `announce_master`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presentation {
    pub(crate) kinds: Kinds,
    pub(crate) announce: Option<Announced>,
    pub(crate) masters: Vec<String>,
}

/// The kinds of server in `present_as`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    pub(crate) standalone: bool,
    pub(crate) sentinel: bool,
    pub(crate) cluster: bool,
}

/// An address that the listener names to clients as its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Announced {
    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Kinds {
    /// The kinds of a listener that does not set `present_as`.
    pub(crate) const STANDALONE: Self = Self { standalone: true, sentinel: false, cluster: false };

    /// Whether the list is `[sentinel]`.
    pub(crate) fn is_sentinel_only(self) -> bool {
        self == Self { sentinel: true, ..Self::default() }
    }

    /// Whether replies name the address of the listener.
    pub(crate) fn name_an_address(self) -> bool {
        self.sentinel || self.cluster
    }
}

impl Presentation {
    /// The name of the master where `announce_master` is not set. Examples and connectors use it.
    pub(crate) const MASTER: &'static str = "mymaster";

    /// Whether the list is `[standalone]`, the default.
    pub fn is_standalone_only(&self) -> bool {
        self.kinds == Kinds::STANDALONE
    }

    /// Whether the list is `[sentinel]`: the listener answers every command itself.
    pub fn is_sentinel_only(&self) -> bool {
        self.kinds.is_sentinel_only()
    }

    /// Whether the list has `standalone`.
    pub fn is_standalone(&self) -> bool {
        self.kinds.standalone
    }

    /// Whether the list has `sentinel`.
    pub fn is_sentinel(&self) -> bool {
        self.kinds.sentinel
    }

    /// Whether the list has `cluster`.
    pub fn is_cluster(&self) -> bool {
        self.kinds.cluster
    }

    /// The address that replies name; `None`: the address that the client connected to.
    pub fn announce(&self) -> Option<&Announced> {
        self.announce.as_ref()
    }

    /// The names of the master, at least one, with `sentinel` in the list.
    pub fn masters(&self) -> &[String] {
        &self.masters
    }
}
