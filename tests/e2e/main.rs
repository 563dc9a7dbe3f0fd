//! What the gate promises, checked between real clients and a real `redis-server`.

mod admission;
mod blocking;
mod client_reply;
mod connection;
mod inline;
mod login;
mod odd_bytes;
mod pubsub;
mod tracking;
mod transactions;
