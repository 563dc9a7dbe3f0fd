//! State as of the last reply that was passed on.

/// What the replies so far say holds on the upstream connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Confirmed {
    pub(crate) in_transaction: bool,
    pub(crate) answered: bool,
}
