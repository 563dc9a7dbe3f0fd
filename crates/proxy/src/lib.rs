//! The proxy as a library: the binary is a thin shell around it, so tests and benches start the same program.

pub(crate) mod admin;
pub(crate) mod admission;
pub(crate) mod app;
pub(crate) mod audit;
pub mod cli;
pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod control;
pub(crate) mod generation;
pub(crate) mod listener;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod net;
pub(crate) mod platform;
pub(crate) mod process;
pub(crate) mod run_on_thread;
pub(crate) mod tls;
pub(crate) mod upstream;
pub(crate) mod worker;

#[cfg(test)]
mod testing;
