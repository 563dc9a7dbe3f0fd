//! Cost limits: the amount of work that one allowed command may cause in Redis under `@public`.
//!
//! Redis executes one command at a time, so an expensive command delays all other clients. Three kinds of arguments
//! make a command expensive for any data: a count, a glob pattern, and an offset. An offset makes Redis allocate all
//! bytes before it. `table.rs` lists these arguments.
//!
//! The cost that depends on the data (HGETALL of a large hash) is not visible here. docs/security-model.md lists it.

mod table;
mod walk;

use portcullis_resp::command::CommandId;
use portcullis_resp::command::keys::Argv;

use self::table::Judged;

/// The limits for clients under rules with `@public`. Other rules leave the cost to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLimits {
    /// The largest absolute count: COUNT of SCAN, or the count of SRANDMEMBER, which may be negative.
    pub count: u64,
    /// Bytes of a glob pattern.
    pub pattern: usize,
    /// Channels and patterns to which one client may be subscribed.
    pub subscriptions: u64,
    /// The last byte that SETRANGE, SETBIT or BITFIELD may write to.
    pub offset: u64,
}

/// Stars of a glob pattern. Redis tries every length for each star; the time of servers before 6.2.11 and 7.0.9 grows
/// exponentially with the stars (CVE-2022-36021).
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
    /// An argument that must be a number and is not one for Redis.
    NotANumber,
    /// An invalid operation of BITFIELD.
    Syntax,
}

impl CostLimits {
    /// The part of `limits.bulk` that an offset may reach: 8 MiB with the default of 512 MiB. A large offset makes
    /// Redis fill all bytes before it with zeros, so one short command per key allocates that much.
    pub const BULK_PER_OFFSET: u64 = 64;

    /// These limits, with the largest offset for arguments of up to `bulk` bytes.
    #[must_use]
    pub const fn with_bulk(self, bulk: u64) -> Self {
        Self { offset: bulk / Self::BULK_PER_OFFSET, ..self }
    }

    /// Checks whether a command keeps within the limits. `id` is never a container; `args` begins with the command's
    /// name (of both levels). The whole frame must be there, or as much as [`needed_arguments`] requires.
    ///
    /// # Errors
    /// The first argument that would cost too much.
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
    /// The text of the error that the client reads, its code included.
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
            // Redis's own words: an argument that is not a number here is not one for Redis either.
            Self::NotANumber => "ERR value is not an integer or out of range".to_owned(),
            Self::Syntax => "ERR syntax error".to_owned(),
        }
    }

    /// The configuration key that raises the limit, or the other reason.
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

/// Whether arguments of the command decide about its cost.
pub(crate) fn is_judged(id: CommandId) -> bool {
    table::judged(id).is_some()
}

/// The number of arguments, the name included, that [`CostLimits::check`] needs to judge the command. SETRANGE is
/// judged before its value arrives, which may be large.
pub(crate) fn needed_arguments(id: CommandId) -> u64 {
    match table::judged(id) {
        None => 0,
        Some(Judged::Value { place, .. }) => u64::from(*place).saturating_add(1),
        Some(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests;
