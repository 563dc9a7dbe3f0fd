//! The connections that WAIT is about: those by which the client has written.

use super::leg::LegIndex;
use super::legs::Legs;

/// The legs by which data was written, as bits.
#[derive(Debug, Default)]
pub(super) struct Written {
    legs: u128,
    /// The legs among them of which no WAIT has asked since.
    unasked: u128,
    /// Whether the connection of a write is gone of which no WAIT has asked.
    is_lost: bool,
}

/// Not every write can be waited for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl Written {
    /// Records that a command that writes data was sent by a leg.
    pub(super) fn note(&mut self, index: LegIndex, legs: &mut Legs) {
        let bit = 1 << index.number();
        if let Some(leg) = legs.get_mut(index)
            && !std::mem::replace(&mut leg.has_written_data, true)
        {
            // Another connection had this index.
            self.is_lost |= self.unasked & bit != 0;
        }
        self.legs |= bit;
        self.unasked |= bit;
    }

    /// Returns the legs that WAIT must ask. The client hears once of a connection that is gone.
    pub(super) fn ask(&mut self, legs: &Legs) -> Result<Vec<LegIndex>, Gone> {
        let has = |index: &LegIndex| self.legs & (1 << index.number()) != 0;
        let asked: Vec<LegIndex> = legs
            .all()
            .filter(|(index, leg)| {
                has(index) && leg.has_written_data && leg.is_open() && leg.takes_commands()
            })
            .map(|(index, _)| index)
            .collect();
        let found = asked.iter().fold(0, |bits, index| bits | 1 << index.number());
        let is_lost = std::mem::take(&mut self.is_lost) || self.unasked & !found != 0;
        (self.legs, self.unasked) = (found, 0);
        if is_lost { Err(Gone) } else { Ok(asked) }
    }
}
