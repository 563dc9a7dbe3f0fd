//! Upstreams whose master moves: real sentinels, a master and two replicas.

mod faults;
mod hidden;
mod load;
mod watch;
