mod bounds;
mod endings;
mod handshakes;
mod muting;
mod refusals;
mod transactions;
