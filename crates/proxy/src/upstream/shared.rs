//! Connections to Redis that the clients of one worker share.
//!
//! A [`Pool`] has those that mean the same to a client: one upstream, one login, one database, one RESP version. Commands of
//! many clients go out in one write of the connection's own task, and what comes back is handed to each from the buffer
//! that it was read into.

mod connection;
mod pool;
mod resources;
mod shared_clients;

pub(crate) use self::connection::{Connection, HandedOver, Outcome};
pub(crate) use self::pool::{Class, Pool, Pools};
pub(crate) use self::resources::Resources;
pub(crate) use self::shared_clients::{Delivered, SharedClient, SharedClients, Unwritten};
