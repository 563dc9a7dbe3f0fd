//! Connections to Redis that the clients of one worker share.
//!
//! A [`Pool`] has connections that are equal for a client: the same upstream, login, database and RESP version. The
//! task of a connection writes the commands of many clients in one system call. It hands each client its replies
//! directly from the read buffer.

mod connection;
mod pool;
mod resources;
mod shared_clients;

pub(crate) use self::connection::{Connection, HandedOver, Outcome};
pub(crate) use self::pool::{Class, Pool, Pools};
pub(crate) use self::resources::Resources;
pub(crate) use self::shared_clients::{Delivered, SharedClient, SharedClients, Unwritten};
