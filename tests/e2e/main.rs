//! What the gate promises, checked between real clients and a real `redis-server`.

mod addresses;
mod admin_api;
mod admission;
mod async_client;
mod attacks;
mod blocking;
mod client_reply;
mod command_rules;
mod configuration;
mod connection;
mod groups;
mod import;
mod inline;
mod lifecycle;
mod limits;
mod login;
mod observed;
mod odd_bytes;
mod pressure;
mod proxy_protocol;

mod pubsub;
mod redis_cli;
mod reload;
mod revocation;
mod secrets;
mod servers;
mod shapes;
mod shared;
mod tls;
mod tracking;
mod transactions;
mod unread;
mod upstream;
mod users;
mod workers;
