//! The connection that a command goes to.

/// The connection that a command goes to, and that its reply comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The client's own upstream connection.
    Own,
    /// A connection that it shares with other clients, of the kind that
    /// [`Session::pool_key`](crate::Session::pool_key) names.
    Pooled,
}
