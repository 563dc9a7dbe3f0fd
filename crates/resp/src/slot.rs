//! Slots of Redis Cluster.

/// Number of slots.
pub const SLOTS: u16 = 16384;

/// The slot of a key: CRC16 of its hash tag, the first non-empty `{...}`, or of all of it.
#[must_use]
pub fn slot(key: &[u8]) -> u16 {
    redis_protocol::redis_keyslot(key)
}

#[cfg(test)]
mod tests;
