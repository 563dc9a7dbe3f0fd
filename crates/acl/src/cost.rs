//! Cost limits: how much work an allowed command may cause in Redis under `@public`.
//!
//! Redis executes one command at a time, so an expensive command delays all other clients. Three kinds of arguments
//! make a command expensive, whatever the data is: a count, a glob pattern, and an offset. For an offset, Redis
//! allocates all bytes before it. `table.rs` lists these arguments.
//!
//! Costs that depend on the data (HGETALL of a large hash) are not visible here. docs/security-model.md lists them.

mod table;
mod walk;

use portcullis_resp::command::CommandId;
use portcullis_resp::command::keys::Argv;

use self::table::Judged;

/// The limits for clients under rules with `@public`. Other rules do not limit costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLimits {
    /// The largest absolute value of a count: COUNT of SCAN, or the count of SRANDMEMBER, which may be negative.
    pub count: u64,
    /// The longest glob pattern, in bytes.
    pub pattern: usize,
    /// The number of channels and patterns to which one client may subscribe.
    pub subscriptions: u64,
    /// The highest offset in bytes to which SETRANGE, SETBIT or BITFIELD may write.
    pub offset: u64,
}

/// The highest number of stars in a glob pattern. Redis tries every length for each star. Before 6.2.11 and 7.0.9,
/// the time grows exponentially with the number of stars (CVE-2022-36021).
pub const MAX_STARS: usize = 16;

/// The reason why a command would cost too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cost {
    /// A count above [`CostLimits::count`].
    Count,
    /// RANK of LPOS above [`CostLimits::count`].
    Rank,
    /// EF or FILTER-EF of a vector search above [`CostLimits::count`].
    Effort,
    /// A pattern longer than [`CostLimits::pattern`].
    Pattern,
    /// A pattern with more than [`MAX_STARS`] stars.
    Stars,
    /// An offset in bytes beyond [`CostLimits::offset`].
    Offset,
    /// An offset in bits beyond [`CostLimits::offset`].
    BitOffset,
    /// An argument that must be a number and that Redis does not accept as a number.
    NotANumber,
    /// An invalid operation of BITFIELD.
    Syntax,
}

impl CostLimits {
    /// The divisor of `limits.bulk` that gives the largest offset: 8 MiB with the default of 512 MiB. Redis fills all
    /// bytes before an offset with zeros, so one short command per key can allocate that much.
    pub const BULK_PER_OFFSET: u64 = 64;

    /// Returns these limits with the largest offset for arguments of up to `bulk` bytes.
    #[must_use]
    pub const fn with_bulk(self, bulk: u64) -> Self {
        Self { offset: bulk / Self::BULK_PER_OFFSET, ..self }
    }

    /// Checks whether a command stays within the limits. `id` is never a container. `args` begins with the command's
    /// name (of both levels). It must have the whole frame, or as many arguments as [`needed_arguments`] returns.
    ///
    /// # Errors
    /// The first limit that an argument exceeds.
    pub(crate) fn check<'b>(&self, id: CommandId, args: &(impl Argv<'b> + ?Sized)) -> Result<(), Cost> {
        table::judged(id).map_or(Ok(()), |judged| walk::check(self, judged, args))
    }

    fn bits(&self) -> u64 {
        self.offset.saturating_mul(8)
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

impl Cost {
    /// Returns the error line for the client, including the error code.
    #[must_use]
    pub fn text(self, limits: &CostLimits) -> String {
        let above = |what, most| format!("ERR portcullis: {what} above {most} is not allowed here");
        match self {
            Self::Count => above("COUNT", limits.count),
            Self::Rank => above("RANK", limits.count),
            Self::Effort => above("EF", limits.count),
            Self::Pattern => {
                format!("ERR portcullis: a pattern above {} bytes is not allowed here", limits.pattern)
            }
            Self::Stars => {
                format!("ERR portcullis: a pattern with more than {MAX_STARS} stars is not allowed here")
            }
            Self::Offset => above("an offset", limits.offset),
            Self::BitOffset => above("a bit offset", limits.bits()),
            // The text of Redis: an argument that is not a number here is not a number for Redis either.
            Self::NotANumber => "ERR value is not an integer or out of range".to_owned(),
            Self::Syntax => "ERR syntax error".to_owned(),
        }
    }

    /// Returns the configuration key of the limit. For other reasons, returns a short name.
    #[must_use]
    pub const fn limit(self) -> &'static str {
        match self {
            Self::Count | Self::Rank | Self::Effort => "limits.count",
            Self::Pattern => "limits.pattern",
            Self::Stars => "16 stars",
            Self::Offset | Self::BitOffset => "limits.bulk / 64",
            Self::NotANumber | Self::Syntax => "syntax",
        }
    }
}

/// Returns whether the arguments of the command influence its cost.
pub(crate) fn is_judged(id: CommandId) -> bool {
    table::judged(id).is_some()
}

/// Returns the number of arguments, including the name, that [`CostLimits::check`] needs. SETRANGE is checked before
/// its value arrives, which may be large.
pub(crate) fn needed_arguments(id: CommandId) -> u64 {
    match table::judged(id) {
        None => 0,
        Some(Judged::Value { place, .. }) => u64::from(*place).saturating_add(1),
        Some(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests;
