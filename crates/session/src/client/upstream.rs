//! The state of the upstream connection that a client's commands go to.
//!
//! ```text
//!                 needs its own                    connected, or RESET answered
//!   Pooled ──────────────────────► Unlinked ───┬───────────────────────────────────┐
//!     ▲                             │  ▲  ▲    │ a login or state to set up        │ nobody is
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

/// The upstream connection of one client, as far as its commands depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Upstream {
    /// There is no connection.
    #[default]
    Unlinked,
    /// There is none of its own: commands go to connections that it shares with other clients.
    Pooled,
    /// This step of setting the connection up must be sent before anything else.
    SetupDue(Stage),
    /// The last step was sent and is not answered.
    AwaitingSetup,
    /// Commands may go there.
    Ready,
    /// Redis refused the database: only commands that need none may go there.
    NoDatabase,
    /// There is a connection, and the client is not logged in: no command may go there.
    Anonymous,
    /// The connection is a replication stream.
    Replica,
}

impl Upstream {
    /// Returns whether there is a connection of the client's own.
    pub(super) const fn is_linked(self) -> bool {
        !matches!(self, Self::Unlinked | Self::Pooled)
    }

    /// Returns whether commands go to shared connections.
    pub(super) const fn is_pooled(self) -> bool {
        matches!(self, Self::Pooled)
    }

    /// Returns whether the connection is a replication stream.
    pub(super) const fn is_replica(self) -> bool {
        matches!(self, Self::Replica)
    }

    /// Returns whether commands of any kind may go there.
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

    /// A connection without any state is there, of a client that must log in first.
    pub(super) const fn connect_anonymous(&mut self) {
        *self = Self::Anonymous;
    }

    /// A connection without any state is there. `first` is the first step that it needs.
    pub(super) fn connect(&mut self, first: Option<Stage>) {
        *self = first.map_or(Self::Ready, Self::SetupDue);
    }

    /// A step of setting the connection up is sent. `next` is the step after it.
    pub(super) fn send_setup(&mut self, next: Option<Stage>) {
        *self = next.map_or(Self::AwaitingSetup, Self::SetupDue);
    }

    /// Redis took all that sets the connection up, or the login of another user.
    pub(super) const fn set_up(&mut self) {
        *self = Self::Ready;
    }

    /// Redis took the login of another user. It says nothing of the database.
    pub(super) fn log_in(&mut self) {
        if *self != Self::NoDatabase {
            *self = Self::Ready;
        }
    }

    /// The client has logged in at the gate.
    pub(super) fn admit(&mut self) {
        if *self == Self::Anonymous {
            *self = Self::Ready;
        }
    }

    /// Redis refused the database.
    pub(super) const fn refuse_database(&mut self) {
        *self = Self::NoDatabase;
    }

    /// Redis took a database.
    pub(super) fn select_database(&mut self) {
        if *self == Self::NoDatabase {
            *self = Self::Ready;
        }
    }

    /// The connection is a replication stream from here on.
    pub(super) const fn replicate(&mut self) {
        *self = Self::Replica;
    }

    /// The connection is gone, or the client needs one of its own.
    pub(super) const fn disconnect(&mut self) {
        *self = Self::Unlinked;
    }

    /// Where there is no connection of the client's own, `may_share` decides whether it uses shared ones.
    pub(super) const fn share(&mut self, may_share: bool) {
        if !self.is_linked() {
            *self = if may_share { Self::Pooled } else { Self::Unlinked };
        }
    }
}
