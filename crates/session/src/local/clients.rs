//! Questions about all clients of the gate: CLIENT LIST, KILL and UNBLOCK, where no single server can answer them.
//!
//! A session knows only its own client. It returns a question from [`Session::inquiry`]. The caller collects
//! [`Session::listed`] from all sessions, and passes the result to [`Session::informed`].
//!
//! [`Session::inquiry`]: crate::Session::inquiry
//! [`Session::listed`]: crate::Session::listed
//! [`Session::informed`]: crate::Session::informed

pub use crate::local::client_info::Filter;
use crate::local::client_info::Kind;

/// A question about the clients of the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// The requested action.
    pub action: Action,
    /// The filter on the clients in scope.
    pub filter: Filter,
    /// Whether only clients of the same listener and user are in scope. If not, all clients of the upstream are in
    /// scope.
    pub narrow: bool,
    /// Whether addresses other than the asker's own are hidden, as `@public` requires.
    pub masked: bool,
}

/// The action on the clients that the filter selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Show the clients.
    List,
    /// Close the clients.
    Kill,
    /// Close the client with this address. This is the old form of CLIENT KILL, which has other replies.
    KillAddress,
    /// Find the upstream connection on which the client is blocked, so that Redis can unblock it.
    Unblock {
        /// Whether the client gets an error.
        error: bool,
    },
}

/// One client, as an inquiry sees it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The id of its connection.
    pub id: u64,
    /// Its line of CLIENT LIST.
    pub line: String,
    /// Redis's id of the connection on which the client is blocked. `None` if the client is not blocked.
    pub blocked_as: Option<i64>,
    pub(crate) view: ListedView,
}

/// The facts about one client that the operator sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFacts {
    /// The user as which the client's commands run. `None` if the gate does not know the user.
    pub user: Option<String>,
    /// The name that the client gave itself. Empty if it has none, or if the gate does not answer CLIENT for it.
    pub name: String,
    /// The client library and its version, with the same restriction as `name`.
    pub library: String,
    /// The database that the client has selected, with the same restriction as `name`.
    pub db: u64,
    /// Whether the client uses RESP3.
    pub resp3: bool,
    /// The number of channels, patterns and shard channels that the client is subscribed to.
    pub subscriptions: u64,
    /// Whether the client has sent MONITOR.
    pub monitors: bool,
    /// Whether a blocking command of the client may be pending.
    pub blocks: bool,
    /// Whether the client is inside MULTI.
    pub in_transaction: bool,
}

/// The properties that a filter compares.
#[derive(Clone, Debug)]
pub(crate) struct ListedView {
    /// The client's own address. `None` if hidden.
    pub(crate) address: Option<String>,
    /// The address that the client connected to. `None` if hidden.
    pub(crate) local_address: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) age: std::time::Duration,
    pub(crate) user: Box<str>,
}

impl Inquiry {
    /// Returns whether the inquiry selects this client, which is in scope. `asker` is the id of the client that asks.
    #[must_use]
    pub fn takes(&self, client: &Listed, asker: u64) -> bool {
        self.filter.takes(client, asker)
    }

    /// Returns whether the filter names this client's user, or no user.
    #[must_use]
    pub fn knows_user(&self, client: &Listed) -> bool {
        self.filter.user().is_none_or(|user| user == client.view.user.as_bytes())
    }
}

/// The answer to an inquiry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The lines of the selected clients, for [`Action::List`].
    pub lines: String,
    /// The number of selected clients, the asker included.
    pub clients: u64,
    /// Whether the asker is selected. Only the asker's own session closes it, after its reply.
    pub asker: bool,
    /// Whether any client in scope has the user that the filter names.
    pub knows_user: bool,
    /// [`Listed::blocked_as`] of the selected client. `None` if the client is not blocked, or is not on the asker's
    /// server.
    pub blocked_as: Option<i64>,
}
