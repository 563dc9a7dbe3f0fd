//! The configuration in force: immutable values, and the state that listeners keep through reloads.

pub(crate) mod denials;
pub(crate) mod explain;
pub(crate) mod listener;
pub(crate) mod logins;
pub(crate) mod seats;
pub(crate) mod shadow;
pub(crate) mod sources;
pub(crate) mod store;
