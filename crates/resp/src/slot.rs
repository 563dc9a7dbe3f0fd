//! Hash slots of Redis Cluster.

/// The number of slots.
pub const SLOTS: u16 = 16384;

/// Returns the slot of a key: the CRC16 of its hash tag (the first `{...}`, if it is not empty), or else of the whole
/// key.
#[must_use]
pub fn slot(key: &[u8]) -> u16 {
    redis_protocol::redis_keyslot(key)
}

#[cfg(test)]
mod tests;
