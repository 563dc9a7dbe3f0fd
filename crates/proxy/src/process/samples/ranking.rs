//! The newest samples, and the highest ones of the last hour.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Sample;

/// The samples of each list.
const MOST: usize = 128;

/// The time for which a high sample is kept.
const SPAN: Duration = Duration::from_secs(3600);

/// The two lists.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    newest: VecDeque<Arc<Sample>>,
    highest: Vec<Arc<Sample>>,
}

/// The two lists, for a reader.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranked {
    /// The latest first.
    pub newest: Vec<Arc<Sample>>,
    /// The highest first.
    pub highest: Vec<Arc<Sample>>,
}

impl Ranking {
    /// Adds a sample to the newest, and to the highest if it is one of them.
    pub(super) fn add(&mut self, sample: Arc<Sample>) {
        if self.newest.len() >= MOST {
            self.newest.pop_back();
        }
        self.newest.push_front(Arc::clone(&sample));
        if self.highest.len() >= MOST {
            self.expire(sample.at);
        }
        if self.highest.len() < MOST {
            self.highest.push(sample);
            return;
        }
        if let Some(lowest) = self.highest.iter_mut().min_by_key(|known| known.value)
            && lowest.value < sample.value
        {
            *lowest = sample;
        }
    }

    /// Returns the value above which a sample is among the highest.
    pub(super) fn least(&self) -> u64 {
        match self.highest.len() {
            MOST.. => self.highest.iter().map(|sample| sample.value).min().unwrap_or(0),
            _ => 0,
        }
    }

    pub(super) fn list(&mut self, now: SystemTime) -> Ranked {
        self.expire(now);
        let mut highest = self.highest.clone();
        highest.sort_by_key(|sample| std::cmp::Reverse(sample.value));
        Ranked { newest: self.newest.iter().map(Arc::clone).collect(), highest }
    }

    /// A clock that was set back makes no sample old.
    fn expire(&mut self, now: SystemTime) {
        self.highest
            .retain(|sample| now.duration_since(sample.at).is_ok_and(|age| age < SPAN) || sample.at > now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn sample(seconds: u64, value: u64) -> Arc<Sample> {
        Arc::new(Sample {
            at: UNIX_EPOCH + Duration::from_secs(seconds),
            listener: "public".into(),
            user: None,
            source: String::new(),
            command: Some("get"),
            key: None,
            value,
            of_reply: false,
        })
    }

    #[test]
    fn the_newest_and_the_highest_are_kept() {
        let mut ranking = Ranking::default();
        for n in 0..1000 {
            // The values rise and fall.
            ranking.add(sample(n, if n % 2 == 0 { n } else { 1000 - n }));
        }
        let Ranked { newest, highest } = ranking.list(UNIX_EPOCH + Duration::from_secs(1000));
        assert_eq!((newest.len(), highest.len()), (MOST, MOST));
        assert_eq!(newest[0].at, UNIX_EPOCH + Duration::from_secs(999));
        let values: Vec<u64> = highest.iter().map(|sample| sample.value).collect();
        assert!(
            values.is_sorted_by(|a, b| a >= b) && values[0] == 999 && values[MOST - 1] >= 870,
            "{values:?}"
        );
        assert_eq!(ranking.least(), values[MOST - 1]);
    }

    #[test]
    fn a_high_sample_is_kept_for_an_hour() {
        let mut ranking = Ranking::default();
        ranking.add(sample(10, 5000));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(ranking.list(at(3609)).highest.len(), 1);
        assert_eq!(ranking.list(at(5)).highest.len(), 1, "the clock was set back");
        let later = ranking.list(at(3610));
        assert_eq!((later.newest.len(), later.highest.len()), (1, 0));
    }
}
