//! Samples of commands that stand out: slow ones, large ones, and keys that are used much. All workers add to them, and
//! the admin endpoint reads them.

mod ranking;
mod sketch;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub(crate) use self::ranking::Ranked;
use self::ranking::Ranking;
pub(crate) use self::sketch::{Hot, Sketch};

/// The samples of the process.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    slow: Samplings,
    large: Samplings,
    hot: Mutex<BTreeMap<Arc<str>, Sketch>>,
}

/// The samples of one kind.
#[derive(Debug, Default)]
struct Samplings {
    ranking: Mutex<Ranking>,
    /// The value that a sample must have to be among the highest, so that most are not even made under load.
    least: AtomicU64,
}

/// A command that stood out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// The time at which it was noticed.
    pub at: SystemTime,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// The user that was logged in.
    pub user: Option<String>,
    /// The address of the client.
    pub source: String,
    /// The name of the command, or `other`; `None` if it is not known any more.
    pub command: Option<&'static str>,
    /// The first key in the form that the configuration wants; `None` if it is not shown or not known any more.
    pub key: Option<String>,
    /// The size or the duration that stood out.
    pub value: u64,
    /// Whether the reply stood out, and not the request.
    pub of_reply: bool,
}

impl Samples {
    /// Adds a slow command. Its value is the duration in nanoseconds.
    pub(crate) fn add_slow(&self, sample: Sample) {
        self.slow.add(sample);
    }

    /// Adds a large request or reply. Its value is the size in bytes.
    pub(crate) fn add_large(&self, sample: Sample) {
        self.large.add(sample);
    }

    /// Returns whether a slow command with this duration would be among the slowest.
    pub(crate) fn is_among_slowest(&self, nanos: u64) -> bool {
        nanos > self.slow.least.load(Relaxed)
    }

    /// Calls `count` with the counters of the keys that a listener's clients use.
    pub(crate) fn count_keys(&self, listener: &Arc<str>, count: impl FnOnce(&mut Sketch)) {
        let mut hot = self.hot();
        if !hot.contains_key(listener) {
            hot.insert(Arc::clone(listener), Sketch::default());
        }
        if let Some(sketch) = hot.get_mut(listener) {
            count(sketch);
        }
    }

    /// Returns the slow commands.
    pub(crate) fn slow(&self) -> Ranked {
        self.slow.list()
    }

    /// Returns the large requests and replies.
    pub(crate) fn large(&self) -> Ranked {
        self.large.list()
    }

    /// Returns the keys of each listener that are used most, at most `most` of each.
    pub(crate) fn hot_keys(&self, most: usize) -> Vec<(Arc<str>, Vec<Hot>)> {
        self.hot().iter().map(|(listener, sketch)| (Arc::clone(listener), sketch.highest(most))).collect()
    }

    /// Forgets the keys, and all samples that may name some: their form has changed.
    pub(crate) fn forget(&self) {
        self.hot().clear();
        for samples in [&self.slow, &self.large] {
            *samples.ranking() = Ranking::default();
            samples.least.store(0, Relaxed);
        }
    }

    fn hot(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Sketch>> {
        self.hot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Samplings {
    fn add(&self, sample: Sample) {
        let mut ranking = self.ranking();
        ranking.add(Arc::new(sample));
        self.least.store(ranking.least(), Relaxed);
    }

    fn list(&self) -> Ranked {
        let mut ranking = self.ranking();
        let ranked = ranking.list(SystemTime::now());
        // Old samples are gone now, so that lower ones count again.
        self.least.store(ranking.least(), Relaxed);
        ranked
    }

    fn ranking(&self) -> MutexGuard<'_, Ranking> {
        self.ranking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
