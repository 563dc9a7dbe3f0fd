//! Cost limits: how much work one allowed command may ask of Redis under `@public`.

/// The limits that hold for the clients of rules with `@public`. Other rules leave cost to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLimits {
    /// The largest count, by size: COUNT of SCAN, the count of SRANDMEMBER, which may be negative.
    pub count: u64,
    /// Bytes of a glob pattern.
    pub pattern: usize,
    /// Channels and patterns that one client may be subscribed to.
    pub subscriptions: u64,
    /// The furthest byte that SETRANGE, SETBIT or BITFIELD may write to.
    pub offset: u64,
}

impl CostLimits {
    /// The share of `limits.bulk` that an offset may reach: a far offset makes Redis fill all bytes before it with zeros,
    /// so one short command per key allocates that much. 8 MiB with the default of 512 MiB.
    pub const BULK_PER_OFFSET: u64 = 64;

    /// These limits with the largest offset for arguments of up to `bulk` bytes.
    #[must_use]
    pub const fn with_bulk(self, bulk: u64) -> Self {
        Self { offset: bulk / Self::BULK_PER_OFFSET, ..self }
    }
}

impl Default for CostLimits {
    fn default() -> Self {
        let limits = Self {
            count: 10_000, // a few milliseconds of SCAN; libraries ask for 10 to 1000
            pattern: 1 << 10,
            subscriptions: 10_000, // a chat server's rooms; 100,000 patterns slow down every PUBLISH
            offset: 0,
        };
        limits.with_bulk(portcullis_resp::limits::MAX_BULK)
    }
}
