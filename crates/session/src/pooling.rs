//! Shared upstream connections: the commands that may use them, and the division of their replies among clients.

mod pin;
mod pooled_link;

pub use self::pin::Pin;
pub use self::pooled_link::{LARGE_REPLY, PoolFault, PooledLink, Shared};
