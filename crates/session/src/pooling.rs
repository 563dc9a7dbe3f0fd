//! Shared upstream connections: which commands may use them, and how their bytes divide among clients.

mod pin;
mod pooled_link;

pub use self::pin::Pin;
pub use self::pooled_link::{LARGE_REPLY, PoolFault, PooledLink, Shared};
