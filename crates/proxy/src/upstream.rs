//! The private side: connections to Redis, and health checks of it.

pub(crate) mod connect;
pub(crate) mod health;
pub(crate) mod shared;
pub(crate) mod target;
