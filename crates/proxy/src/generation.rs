//! The configuration in force, immutable, with what its listeners keep from one configuration to the next.

pub(crate) mod denials;
pub(crate) mod explain;
pub(crate) mod listener;
pub(crate) mod logins;
pub(crate) mod seats;
pub(crate) mod shadow;
pub(crate) mod sources;
pub(crate) mod store;
