//! The configuration in force, immutable, with what its listeners keep from one configuration to the next.

pub mod denials;
pub mod explain;
pub mod listener;
pub mod logins;
pub mod seats;
pub mod shadow;
pub mod sources;
pub mod store;
