//! The rate of new connections, in the form of the configuration: `20/10s`.

use std::fmt;

/// A number of connections in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) most: u64,
    pub(crate) period: Period,
}

/// A period as the configuration writes it: `10s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) number: u64,
    pub(crate) unit: Unit,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    Days,
}

impl Unit {
    /// Returns the word of the configuration, and the milliseconds.
    const fn meaning(self) -> (&'static str, u64) {
        match self {
            Self::Milliseconds => ("ms", 1),
            Self::Seconds => ("s", 1_000),
            Self::Minutes => ("m", 60_000),
            Self::Hours => ("h", 3_600_000),
            Self::Days => ("d", 86_400_000),
        }
    }
}

impl Rate {
    /// Returns whether the rate allows fewer connections on average.
    pub(crate) fn is_lower_than(self, other: Self) -> bool {
        // u128 holds every product of two u64 and a unit.
        let of = |most: u64, period: Period| {
            u128::from(most) * u128::from(period.number) * u128::from(period.unit.meaning().1)
        };
        of(self.most, other.period) < of(other.most, self.period)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.most, self.period.number, self.period.unit.meaning().0)
    }
}
