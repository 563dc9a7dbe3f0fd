//! The gate as a library: the binary is a thin shell around it, so tests and benches start the same program.

pub mod admin;
pub mod admission;
pub mod app;
pub mod aside;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod connection;
pub mod control;
pub mod drain;
pub mod generation;
pub mod limits;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod net;
pub mod tls;
pub mod upstream;
pub mod worker;

#[cfg(test)]
mod testing;
