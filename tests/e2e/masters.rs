//! Upstreams whose master moves: real sentinels, a master and two replicas.

mod load;
mod watch;
