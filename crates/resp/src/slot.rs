//! Slots of Redis Cluster.

/// Number of slots.
pub const SLOTS: u16 = 16384;

/// The slot of a key: the CRC16 of its hash tag (the first `{...}` that is not empty), or else of the whole key.
#[must_use]
pub fn slot(key: &[u8]) -> u16 {
    redis_protocol::redis_keyslot(key)
}

#[cfg(test)]
mod tests;
