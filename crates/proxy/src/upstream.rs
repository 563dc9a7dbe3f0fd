//! The private side: Redis, how it is reached, and whether it is well.

pub(crate) mod connect;
pub(crate) mod health;
pub(crate) mod route;
pub(crate) mod shared;
