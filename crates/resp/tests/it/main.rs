//! The crate against a live redis-server: requests that it would forward, texts in Redis's words, facts about
//! commands.
//!
//! The tests need `redis-server` in the PATH. Each server here is private, listens on a unix socket, and ends with
//! its test.

mod client;
mod commands;
mod inline;
mod keys;
mod requests;
mod server;
mod texts;
