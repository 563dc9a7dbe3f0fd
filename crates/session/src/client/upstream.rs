//! The state of the upstream connection to which a client's commands go.
//!
//! ```text
//!                 needs its own                    connected, or RESET answered
//!   Pooled ──────────────────────► Unlinked ───┬───────────────────────────────────┐
//!     ▲                             │  ▲  ▲    │ a login or state to set up        │ client is not
//!     └── no connection of its own ─┘  │  │    ▼                                   │ logged in
//!         is needed, it is logged in   │  │  SetupDue ── sent ──► AwaitingSetup    ▼
//!                                      │  │    ▲  more steps │       │          Anonymous
//!             given back, or lost      │  │    └─────────────┘       │ answered    │
//!                                      │  │                          ▼             │ logged in
//!                                      │  └─────────────────────── Ready ◄─────────┘
//!                                      │                          ▲   │ │
//!                                      │     SELECT refused or +OK │   │ └─ SYNC, PSYNC ─► Replica
//!                                      │                          │   ▼
//!                                      └───────────────────────  NoDatabase
//! ```

use crate::link::Stage;
use crate::route::Route;

/// The state of one client's upstream connection, as far as its commands depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Upstream {
    /// The client has no connection.
    #[default]
    Unlinked,
    /// The client has no connection of its own: its commands go to connections that it shares with other clients.
    Pooled,
    /// The gate must send this step of the connection's setup before anything else.
    SetupDue(Stage),
    /// The last step of the setup was sent and is not answered.
    AwaitingSetup,
    /// The connection accepts commands.
    Ready,
    /// Redis refused the database, so the connection accepts only commands that need no database.
    NoDatabase,
    /// The client has a connection but is not logged in, so the connection accepts no command.
    Anonymous,
    /// The connection is a replication stream.
    Replica,
}

impl Upstream {
    /// Returns whether the client has a connection of its own.
    pub(super) const fn is_linked(self) -> bool {
        !matches!(self, Self::Unlinked | Self::Pooled)
    }

    /// Returns whether commands go to shared connections.
    pub(super) const fn is_pooled(self) -> bool {
        matches!(self, Self::Pooled)
    }

    /// Returns the connection that commands go to.
    pub(super) const fn route(self) -> Route {
        if self.is_pooled() { Route::Pooled } else { Route::Own }
    }

    /// Returns whether the connection is a replication stream.
    pub(super) const fn is_replica(self) -> bool {
        matches!(self, Self::Replica)
    }

    /// Returns whether the connection accepts all commands.
    pub(super) const fn takes_commands(self) -> bool {
        matches!(self, Self::Ready | Self::Pooled)
    }

    /// Returns whether a connection of the client's own is set up, with or without its database.
    pub(super) const fn is_set_up(self) -> bool {
        matches!(self, Self::Ready | Self::NoDatabase)
    }

    /// Returns whether the gate is setting the connection up.
    pub(super) const fn is_setting_up(self) -> bool {
        matches!(self, Self::SetupDue(_) | Self::AwaitingSetup)
    }

    /// Records a new connection for a client that must log in first.
    pub(super) const fn connect_anonymous(&mut self) {
        *self = Self::Anonymous;
    }

    /// Records a new connection. `first` is the first step of its setup, or `None` if it needs no setup.
    pub(super) fn connect(&mut self, first: Option<Stage>) {
        *self = first.map_or(Self::Ready, Self::SetupDue);
    }

    /// Records that a step of the connection's setup is sent. `next` is the step after it.
    pub(super) fn send_setup(&mut self, next: Option<Stage>) {
        *self = next.map_or(Self::AwaitingSetup, Self::SetupDue);
    }

    /// Records that one more step follows the last one that was sent. If steps are due, it follows them by itself.
    pub(super) fn ask_role(&mut self) {
        if *self == Self::AwaitingSetup {
            *self = Self::SetupDue(Stage::Role);
        }
    }

    /// Records that Redis accepted the connection's setup.
    pub(super) const fn set_up(&mut self) {
        *self = Self::Ready;
    }

    /// Records that Redis accepted the login of another user. The reply does not mean that Redis accepted the database.
    pub(super) fn log_in(&mut self) {
        if *self != Self::NoDatabase {
            *self = Self::Ready;
        }
    }

    /// Records that the client has logged in at the gate.
    pub(super) fn admit(&mut self) {
        if *self == Self::Anonymous {
            *self = Self::Ready;
        }
    }

    /// Records that Redis refused the database.
    pub(super) const fn refuse_database(&mut self) {
        *self = Self::NoDatabase;
    }

    /// Records that Redis accepted a database.
    pub(super) fn select_database(&mut self) {
        if *self == Self::NoDatabase {
            *self = Self::Ready;
        }
    }

    /// Records that the connection is a replication stream from now on.
    pub(super) const fn replicate(&mut self) {
        *self = Self::Replica;
    }

    /// Records that the connection is lost, or that the client needs one of its own.
    pub(super) const fn disconnect(&mut self) {
        *self = Self::Unlinked;
    }

    /// Lets the client use shared connections if `may_share`. Has no effect if the client has a connection of its own.
    pub(super) const fn share(&mut self, may_share: bool) {
        if !self.is_linked() {
            *self = if may_share { Self::Pooled } else { Self::Unlinked };
        }
    }
}
