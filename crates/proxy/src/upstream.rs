//! The private side: Redis, how it is reached, and whether it is well.

pub mod connect;
pub mod health;
pub mod route;
pub mod shared;
