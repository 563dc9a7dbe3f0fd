//! The crate against a live redis-server: what it would forward, what it says in Redis's words, what it knows of
//! commands. Needs `redis-server` in the PATH; each server here is private, on a unix socket, and ends with its test.

mod client;
mod commands;
mod inline;
mod keys;
mod requests;
mod server;
mod texts;
