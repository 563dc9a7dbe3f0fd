//! State as of the last reply that was passed on.

/// What the replies so far say holds on the upstream connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Confirmed {
    pub(crate) in_transaction: bool,
    pub(crate) monitors: bool,
    /// Told apart only where upstream connections are shared.
    pub(crate) watches: bool,
    /// CLIENT NO-EVICT is on, where upstream connections are shared.
    pub(crate) no_evict: bool,
    pub(crate) answered: bool,
    /// The client itself logged in, under [`Auth::Passthrough`](crate::plan::Auth::Passthrough).
    pub(crate) logged_in: bool,
    /// A reply, or one of several confirmations, was passed on and the command's answer is not complete.
    pub(crate) mid_reply: bool,
    /// A push was passed on in part: nothing may come between its pieces.
    pub(crate) mid_push: bool,
    /// A message is being kept from the client, and has not ended.
    pub(crate) withholds: bool,
}
