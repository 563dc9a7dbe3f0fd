use std::fmt;
use std::time::SystemTime;

use time::OffsetDateTime;

/// A wall-clock time as logs and audit write it: RFC 3339 in UTC, with microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timestamp(pub SystemTime);

impl Timestamp {
    /// The time now.
    pub(crate) fn now() -> Self {
        Self(SystemTime::now())
    }

    /// The form for people: `2026-11-22 15:45:36Z`.
    pub(crate) fn to_the_second(self) -> String {
        let text = self.to_string();
        let (date, clock) = (text.get(..10), text.get(11..19));
        format!("{} {}Z", date.unwrap_or_default(), clock.unwrap_or_default())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from(self.0);
        let (date, clock) = (time.date(), time.time());
        // Every line begins with one: the machinery of `write!` would take as long as the rest of the line.
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        put(&mut text[..4], u32::try_from(date.year()).unwrap_or(0));
        put(&mut text[5..7], u8::from(date.month()).into());
        put(&mut text[8..10], date.day().into());
        put(&mut text[11..13], clock.hour().into());
        put(&mut text[14..16], clock.minute().into());
        put(&mut text[17..19], clock.second().into());
        put(&mut text[20..26], clock.microsecond());
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

/// Writes the last digits of `n`, as many as there is room for.
fn put(room: &mut [u8], mut n: u32) {
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (n % 10).to_le_bytes()[0];
        n /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn utc_with_microseconds() {
        let at = |seconds, micros: u64| {
            Timestamp(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros)).to_string()
        };
        let day = Timestamp(UNIX_EPOCH + Duration::from_secs(951_782_400));
        assert_eq!(day.to_the_second(), "2000-02-29 00:00:00Z");
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400, 7), "2000-02-29T00:00:00.000007Z");
        assert_eq!(at(1_795_351_548, 123_456), "2026-11-22T12:45:48.123456Z");
    }
}
