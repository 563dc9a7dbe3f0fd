//! The side that faces Redis: upstream connections and health checks.

pub(crate) mod connect;
pub(crate) mod health;
pub(crate) mod shared;
pub(crate) mod target;
pub(crate) mod view;
