//! The keys that are used most, with a bounded number of counters (Space-Saving).
//!
//! Each sampled key has a counter while there is room. After that, a new key takes the lowest counter of a few that are
//! looked at, with its count. So a key that makes up more than a small share of the samples is always in the list, and a
//! count is at most too high by `error`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use portcullis_config::KeyForm;

use crate::log::shown_key;

/// The counters of one listener.
const COUNTERS: usize = 1024;

/// The counters that are looked at for the lowest one.
const LOOKED_AT: usize = 32;

/// The time after which all counts are halved, so that keys of earlier hours fade.
const HALVED_AFTER: Duration = Duration::from_secs(600);

/// The counters of one listener.
#[derive(Debug, Default)]
pub(crate) struct Sketch {
    counters: Vec<Counter>,
    /// The place of the counter of a key, by the hash of the key.
    places: HashMap<u64, usize>,
    hashes: RandomState,
    /// The place at which the next search for a low counter begins.
    next: usize,
    halved: Option<Instant>,
}

#[derive(Debug)]
struct Counter {
    /// The hash of the key. It is shorter than the keys, and is made faster than the form that is shown.
    hash: u64,
    count: u64,
    error: u64,
    /// The key in the form that the configuration wants, once a second sample of it came. Most keys have only one.
    shown: Option<Box<str>>,
}

/// A key that is used much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hot {
    /// The key in the form that the configuration wants.
    pub key: String,
    /// Its samples.
    pub count: u64,
    /// The number of samples that may belong to other keys.
    pub error: u64,
}

impl Sketch {
    /// Counts a sample of a key, which is shown in this form.
    pub(crate) fn add(&mut self, key: &[u8], form: KeyForm, now: Instant) {
        self.fade(now);
        let hash = self.hashes.hash_one(key);
        if let Some(counter) = self.places.get(&hash).and_then(|place| self.counters.get_mut(*place)) {
            counter.count += 1;
            if counter.shown.is_none() {
                counter.shown = shown_key(key, form).map(String::into_boxed_str);
            }
            return;
        }
        if self.counters.len() < COUNTERS {
            self.places.insert(hash, self.counters.len());
            self.counters.push(Counter { hash, count: 1, error: 0, shown: None });
            return;
        }
        let looked_at = (0..LOOKED_AT).map(|n| (self.next + n) % COUNTERS);
        let count_of = |place: usize| self.counters.get(place).map_or(u64::MAX, |counter| counter.count);
        let Some(place) = looked_at.min_by_key(|place| count_of(*place)) else { return };
        self.next = (self.next + LOOKED_AT) % COUNTERS;
        if let Some(lowest) = self.counters.get_mut(place) {
            self.places.remove(&lowest.hash);
            self.places.insert(hash, place);
            *lowest = Counter { hash, count: lowest.count + 1, error: lowest.count, shown: None };
        }
    }

    fn fade(&mut self, now: Instant) {
        let since = *self.halved.get_or_insert(now);
        if now.saturating_duration_since(since) >= HALVED_AFTER {
            self.halved = Some(now);
            for counter in &mut self.counters {
                counter.count /= 2;
                counter.error /= 2;
            }
        }
    }

    /// Returns the keys with the highest counts. A key with one sample, or whose count may be all error, is left out.
    pub(super) fn highest(&self, most: usize) -> Vec<Hot> {
        let certain = self.counters.iter().filter(|counter| counter.count > counter.error);
        let shown = |counter: &Counter| {
            let key = counter.shown.as_deref()?.to_owned();
            Some(Hot { key, count: counter.count, error: counter.error })
        };
        let mut hot: Vec<Hot> = certain.filter_map(shown).collect();
        hot.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.key.cmp(&other.key)));
        hot.truncate(most);
        hot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_used_much_are_found_among_many() {
        let (mut sketch, now) = (Sketch::default(), Instant::now());
        for n in 0..200_000_u32 {
            // One of 20 samples is of `hot`, one of 50 of `warm`, all others are new.
            let key = if n % 20 == 0 {
                "hot".to_owned()
            } else if n % 50 == 1 {
                "warm".to_owned()
            } else {
                format!("k{n}")
            };
            sketch.add(key.as_bytes(), KeyForm::Plain, now);
        }
        let hot = sketch.highest(2);
        assert_eq!((hot[0].key.as_str(), hot[1].key.as_str()), ("hot", "warm"));
        assert!(hot[0].count >= 10_000 && hot[0].count - hot[0].error <= 10_000, "{hot:?}");
        assert!(sketch.counters.len() == COUNTERS && sketch.places.len() == COUNTERS);
    }

    #[test]
    fn keys_are_shown_in_the_form_of_the_configuration() {
        let now = Instant::now();
        let shown = |form| {
            let mut sketch = Sketch::default();
            (0..3).for_each(|_| sketch.add(b"orders:7", form, now));
            sketch.highest(9).pop().map(|hot| hot.key)
        };
        assert_eq!(shown(KeyForm::Plain).as_deref(), Some("orders:7"));
        assert_eq!(shown(KeyForm::Hashed), shown_key(b"orders:7", KeyForm::Hashed));
        assert_eq!(shown(KeyForm::Off), None);
    }

    #[test]
    fn counts_fade() {
        let (mut sketch, now) = (Sketch::default(), Instant::now());
        (0..100).for_each(|_| sketch.add(b"a", KeyForm::Plain, now));
        sketch.add(b"b", KeyForm::Plain, now + HALVED_AFTER);
        assert_eq!(sketch.highest(9).len(), 1, "one sample of b is not much");
        assert_eq!(sketch.highest(9)[0], Hot { key: "a".to_owned(), count: 50, error: 0 });
    }
}
