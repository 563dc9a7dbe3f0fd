//! The closed sets of label values. A label never carries text of a client's choosing, so the number of series is
//! known from the config alone.

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

            /// The label's text.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Its place in [`Self::ALL`].
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
        /// No entry admits it.
        NotAllowed = "not_allowed",
        /// An entry of the deny list names it.
        Denied = "denied",
        /// Its entry's `until` has passed.
        Expired = "expired",
        /// `limits.clients` is reached.
        Limit = "limit",
        /// `limits.per_source.clients` is reached.
        SourceLimit = "source_limit",
        /// The source connects too often.
        Rate = "rate",
        /// The source failed to authenticate too often.
        Blocked = "blocked",
        /// Its PROXY header is missing, malformed or not allowed.
        ProxyHeader = "proxy_header",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The process is shutting down.
        Draining = "draining",
    }
}

label! {
    /// The reason why an accepted connection ended.
    ClosedReason {
        /// The client closed it or sent QUIT.
        Client = "client",
        /// The upstream closed it or was unavailable.
        Upstream = "upstream",
        /// `timeouts.idle` passed.
        Idle = "idle",
        /// Another timeout passed.
        Timeout = "timeout",
        /// The client broke the protocol.
        Protocol = "protocol",
        /// The source was taken off the list, or its entry expired.
        Revoked = "revoked",
        /// The client does not read what it asked for.
        Slow = "slow",
        /// A limit was reached.
        Limit = "limit",
        /// The operator closed it, or another client with CLIENT KILL.
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
        /// The command itself is not allowed.
        Command = "command",
        /// One of its keys is not allowed.
        Key = "key",
        /// One of its channels is not allowed.
        Channel = "channel",
        /// The command is too large to be checked, or would cost too much.
        Size = "size",
        /// The client has not logged in.
        Login = "login",
    }
}

/// The name of a command in labels and log lines: never what a client wrote.
pub(crate) fn command_label(id: CommandId) -> &'static str {
    if id == CommandId::UNKNOWN { "other" } else { id.name() }
}

label! {
    /// The direction of bytes, seen from the proxy.
    Direction {
        /// Read from the client.
        FromClient = "from_client",
        /// Written to the client.
        ToClient = "to_client",
        /// Read from the upstream.
        FromUpstream = "from_upstream",
        /// Written to the upstream.
        ToUpstream = "to_upstream",
    }
}

label! {
    /// The state of an open upstream connection.
    UpstreamState {
        /// Open, without pending replies.
        Idle = "idle",
        /// Leased to one client.
        Used = "used",
        /// Shared by many clients.
        Pooled = "pooled",
    }
}

label! {
    /// The kind of fault of an upstream connection. All but [`Self::Protocol`] are also what a client reads in
    /// `-ERR portcullis: upstream 'NAME' unavailable (KIND)`.
    UpstreamErrorKind {
        /// Its name does not resolve.
        Resolve = "resolve",
        /// The connection failed for another reason.
        Connect = "connect",
        /// Nothing listens there, or the server refuses our address.
        Refused = "refused",
        /// No answer in time.
        Timeout = "timeout",
        /// The server requires TLS, or the handshake failed.
        Tls = "tls",
        /// The server refused the credentials, or requires some.
        Auth = "auth",
        /// The server is loading its data set.
        Loading = "loading",
        /// The server has no room for another client, or the proxy has none for another upstream connection.
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
