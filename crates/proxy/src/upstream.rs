//! The side that faces Redis: upstream connections and health checks.

pub(crate) mod connect;
pub(crate) mod dials;
pub(crate) mod health;
#[cfg_attr(not(test), expect(dead_code, reason = "the watcher uses all of it"))]
pub(crate) mod sentinel;
pub(crate) mod shared;
pub(crate) mod target;
#[cfg_attr(not(test), expect(dead_code, reason = "the watcher of sentinels and the sessions use all of it"))]
pub(crate) mod view;
