//! The side that faces Redis: upstream connections and health checks.

pub(crate) mod cluster;
pub(crate) mod connect;
pub(crate) mod dials;
pub(crate) mod health;
pub(crate) mod role;
pub(crate) mod sentinel;
pub(crate) mod shared;
pub(crate) mod target;
pub(crate) mod view;
