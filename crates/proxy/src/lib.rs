//! The gate as a library: the binary is a thin shell around it, so tests and benches start the same program.

pub mod audit;
pub mod config;
pub mod log;
pub mod metrics;
