//! The closed sets of label values. No label has a text that a client chose, so the configuration alone determines
//! the number of series.

use portcullis_resp::command::CommandId;
use portcullis_session::{Denied, Unavailable};

/// Declares an enum whose variants are the values of one label, in the order in which the page lists them.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of [`Self::index`].
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the text of the label.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Returns the index in [`Self::ALL`].
            pub(crate) const fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

label! {
    /// The reason why a source was refused before its first command.
    RefusedReason {
        /// No entry allows the source.
        NotAllowed = "not_allowed",
        /// An entry of the deny list names the source.
        Denied = "denied",
        /// The `until` of the source's entry has passed.
        Expired = "expired",
        /// `limits.clients` is reached.
        Limit = "limit",
        /// `limits.per_source.clients` is reached.
        SourceLimit = "source_limit",
        /// The source connects more often than the rate limit allows.
        Rate = "rate",
        /// The source is blocked after too many failed logins.
        Blocked = "blocked",
        /// The PROXY header is missing, malformed or not allowed.
        ProxyHeader = "proxy_header",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The process is shutting down.
        Draining = "draining",
    }
}

label! {
    /// The kind of answer by which a node of a cluster says that it does not serve a command, or not now.
    RedirectKind {
        /// The slot belongs to another node.
        Moved = "moved",
        /// The slot is moving to another node, which has the key already.
        Ask = "ask",
        /// The slot is moving, and the keys are not all at one node.
        TryAgain = "tryagain",
        /// The slot has no owner, or the node does not see a majority of the masters.
        ClusterDown = "clusterdown",
    }
}

label! {
    /// The reason why an accepted connection ended.
    ClosedReason {
        /// The client closed the connection or sent QUIT.
        Client = "client",
        /// The upstream closed the connection or was unavailable.
        Upstream = "upstream",
        /// `timeouts.idle` passed.
        Idle = "idle",
        /// Another timeout passed.
        Timeout = "timeout",
        /// The client violated the protocol.
        Protocol = "protocol",
        /// The policy no longer admits the client, or its entry expired.
        Revoked = "revoked",
        /// The client does not read its replies.
        Slow = "slow",
        /// A limit was reached.
        Limit = "limit",
        /// The operator closed the connection, or another client did so with CLIENT KILL.
        Admin = "admin",
        /// The process is shutting down.
        Drain = "drain",
        /// An internal or system error.
        Error = "error",
    }
}

label! {
    /// The reason why the proxy refused a command.
    DeniedReason {
        /// The command is not allowed, or not at this place: in a transaction or on shared connections.
        Command = "command",
        /// A key of the command is not allowed.
        Key = "key",
        /// A channel of the command is not allowed.
        Channel = "channel",
        /// The command is too large to be checked, would cost too much, or exceeds the limit of subscriptions.
        Size = "size",
        /// The client has not logged in.
        Login = "login",
    }
}

/// Returns the name of a command for labels and log lines. It is never a text that a client chose.
pub(crate) fn command_label(id: CommandId) -> &'static str {
    if id == CommandId::UNKNOWN { "other" } else { id.name() }
}

label! {
    /// The direction of bytes, seen from the proxy.
    Direction {
        /// Bytes read from the client.
        FromClient = "from_client",
        /// Bytes written to the client.
        ToClient = "to_client",
        /// Bytes read from the upstream.
        FromUpstream = "from_upstream",
        /// Bytes written to the upstream.
        ToUpstream = "to_upstream",
    }
}

label! {
    /// The state of an open upstream connection.
    UpstreamState {
        /// The connection is open, without pending replies.
        Idle = "idle",
        /// The connection belongs to one client.
        Used = "used",
        /// The connection is shared by many clients.
        Pooled = "pooled",
    }
}

label! {
    /// The kind of fault of an upstream connection. All kinds except [`Self::Protocol`] are also what a client reads
    /// in `-ERR portcullis: upstream 'NAME' unavailable (KIND)`.
    UpstreamErrorKind {
        /// The name of the upstream does not resolve.
        Resolve = "resolve",
        /// The connection failed for another reason.
        Connect = "connect",
        /// No server listens on the address, or the server refuses the proxy's address.
        Refused = "refused",
        /// The upstream does not answer in time.
        Timeout = "timeout",
        /// The server requires TLS, or the handshake failed.
        Tls = "tls",
        /// The server refused the credentials, or requires credentials.
        Auth = "auth",
        /// The server is loading its data set.
        Loading = "loading",
        /// The server accepts no more clients, or the proxy has no room for another upstream connection.
        Limit = "limit",
        /// The server violated the Redis protocol.
        Protocol = "protocol",
    }
}

label! {
    /// The result of reading a configuration, at start or while the proxy runs.
    ReloadResult {
        /// The configuration is now in force.
        Applied = "applied",
        /// The configuration is the one that is already in force.
        Unchanged = "unchanged",
        /// The configuration has errors, or could not be applied; the last valid one stays.
        Rejected = "rejected",
    }
}

impl From<portcullis_acl::Reason> for RefusedReason {
    fn from(reason: portcullis_acl::Reason) -> Self {
        match reason {
            portcullis_acl::Reason::NotAllowed => Self::NotAllowed,
            portcullis_acl::Reason::Denied => Self::Denied,
            portcullis_acl::Reason::Expired => Self::Expired,
        }
    }
}

impl From<Denied> for DeniedReason {
    fn from(reason: Denied) -> Self {
        match reason {
            Denied::Command | Denied::InTransaction | Denied::WhileShared => Self::Command,
            Denied::Key => Self::Key,
            Denied::Channel => Self::Channel,
            Denied::Size | Denied::Cost | Denied::Subscriptions => Self::Size,
            Denied::Login => Self::Login,
        }
    }
}

impl From<Unavailable> for UpstreamErrorKind {
    fn from(why: Unavailable) -> Self {
        match why {
            Unavailable::Resolve => Self::Resolve,
            Unavailable::Connect => Self::Connect,
            Unavailable::Refused => Self::Refused,
            Unavailable::Timeout => Self::Timeout,
            Unavailable::Tls => Self::Tls,
            Unavailable::Auth => Self::Auth,
            Unavailable::Loading => Self::Loading,
            Unavailable::Limit => Self::Limit,
        }
    }
}
