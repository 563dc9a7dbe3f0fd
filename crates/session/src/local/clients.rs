//! Questions about all clients of the gate: CLIENT LIST, KILL and UNBLOCK where no server can answer them.
//!
//! A session knows one client. It asks with [`Session::inquiry`]; its caller collects [`Session::listed`] from all
//! sessions, and hands the result to [`Session::informed`].
//!
//! [`Session::inquiry`]: crate::Session::inquiry
//! [`Session::listed`]: crate::Session::listed
//! [`Session::informed`]: crate::Session::informed

pub use crate::local::client_info::Filter;
use crate::local::client_info::Kind;

/// A question about the clients of the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// The action that is asked for.
    pub action: Action,
    /// Which of the clients in scope are meant.
    pub filter: Filter,
    /// Whether only clients of the same listener and user are in scope. Otherwise all clients of the upstream are.
    pub narrow: bool,
    /// Whether addresses other than the asker's own are hidden, as `@public` asks for.
    pub masked: bool,
}

/// The action on the clients that the filter names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Show them.
    List,
    /// Close them.
    Kill,
    /// Close the one with this address: the old form of CLIENT KILL, which has replies of its own.
    KillAddress,
    /// Find the upstream connection on which the client waits, for Redis to end the wait.
    Unblock {
        /// Whether the client reads an error.
        error: bool,
    },
}

/// One client, as an inquiry sees it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The number of its connection.
    pub id: u64,
    /// Its line of CLIENT LIST.
    pub line: String,
    /// Redis's number of the connection on which it waits in a blocking command, if it does.
    pub blocked_as: Option<i64>,
    pub(crate) view: ListedView,
}

/// The properties that a filter looks at.
#[derive(Clone, Debug)]
pub(crate) struct ListedView {
    /// Nothing where it is hidden.
    pub(crate) address: Option<String>,
    /// Nothing where it is hidden.
    pub(crate) local_address: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) age: std::time::Duration,
    pub(crate) user: Box<str>,
}

impl Inquiry {
    /// Whether this client, which is in scope, is meant. `asker` is the number of the client that asks.
    #[must_use]
    pub fn takes(&self, client: &Listed, asker: u64) -> bool {
        self.filter.takes(client, asker)
    }

    /// Whether the user whom the filter names is this client's, or the filter names none.
    #[must_use]
    pub fn knows_user(&self, client: &Listed) -> bool {
        self.filter.user().is_none_or(|user| user == client.view.user.as_bytes())
    }
}

/// The answer to an inquiry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The lines of the clients that were meant, for [`Action::List`].
    pub lines: String,
    /// The number of clients that the filter names, the asker included.
    pub clients: u64,
    /// Whether the asker was meant. It is not closed by others: it still gets its reply.
    pub asker: bool,
    /// Whether any client in scope has the user whom the filter names.
    pub knows_user: bool,
    /// [`Listed::blocked_as`] of the client that was meant, where the asker can reach the same server.
    pub blocked_as: Option<i64>,
}
