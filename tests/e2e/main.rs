//! What the gate promises, checked between real clients and a real `redis-server`.

mod blocking;
mod client_reply;
mod connection;
mod pubsub;
mod tracking;
mod transactions;
