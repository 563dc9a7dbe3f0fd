//! The harness of the end-to-end tests: real `redis-server` and `portcullis` processes, and clients that see every
//! byte.
//!
//! A test of a behaviour also runs against Redis itself ([`Way::Direct`]). This shows that the expected behaviour is
//! that of Redis, before the proxy is tested.

pub mod certificates;
pub mod client;
pub mod cluster;
pub mod cluster_writers;
pub mod fake;
pub mod fake_sentinel;
pub mod gate;
pub mod http;
pub mod inner;
pub mod masters;
pub mod names;
pub mod namespace;
pub mod ports;
pub mod process;
pub mod random;
pub mod redis;
pub mod reload;
pub mod reply;
pub mod scene;
pub mod sentinels;
pub mod server;
pub mod tap;
pub mod terminal;
pub mod wait;
pub mod writers;

pub use certificates::{Authority, Leaf, Openssl, Pair};
pub use client::Client;
pub use cluster::Cluster;
pub use cluster_writers::{ClusterWriters, ClusterWritten, Stored};
pub use fake::{Answer, Fake};
pub use fake_sentinel::FakeSentinel;
pub use gate::{Gate, GateBuilder};
pub use masters::Masters;
pub use process::Process;
pub use random::Random;
pub use redis::{Redis, RedisBuilder};
pub use reply::Reply;
pub use scene::{Protocol, Scene, Stage, Way};
pub use server::Server;
pub use tap::Tap;
pub use wait::{PATIENCE, eventually, eventually_within, holds_for, own_turn};
pub use writers::{Writers, Written};
