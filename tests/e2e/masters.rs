//! Upstreams whose master moves: real sentinels, a master and two replicas.

mod announced;
mod faults;
mod hidden;
mod load;
mod rights;
mod roles;
mod watch;
