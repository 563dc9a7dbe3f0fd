//! Waiting for the writer of a file: half a list that is taken admits addresses that neither the old list nor the new
//! one admits, and so does a configuration without one of its settings.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use portcullis_config::{Doubt, Loss};
use tokio::time::sleep;

use super::watch::Writers;

/// A list that lost most of its entries, or a file that lost a setting, is taken once it has not changed for this long. A program that rewrites it
/// pauses for less, as a rule; a person who cleared it waits a moment.
const STILL_FOR: Duration = Duration::from_secs(5);

/// A reload waits at most this long for files that keep changing: the caller of the admin endpoint waits with it, for
/// 30 s at most.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// The pause between two looks at a file that is open.
const PAUSE: Duration = Duration::from_millis(50);

/// One reload's wait for files that may be incomplete.
#[derive(Debug)]
pub(super) struct Unfinished {
    began: Instant,
    /// The doubts about each file, and since when they are these.
    seen: HashMap<PathBuf, (Doubt, Instant)>,
    told: Vec<Doubt>,
}

/// The result of a look at the files.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// They can be taken as they were read.
    Whole,
    /// This file may be incomplete. It is read again after this time, or when its writer closes it.
    Wait(PathBuf, Duration, Until),
    /// This file does not come to rest.
    TooLong(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Still,
    Closed,
}

/// A file that keeps changing.
#[derive(Debug, thiserror::Error)]
#[error("{} keeps changing: it is read once it stays unchanged", .0.display())]
pub(super) struct KeepsChanging(PathBuf);

impl Unfinished {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), seen: HashMap::new(), told: Vec::new() }
    }

    /// Waits if one of the files of `doubts` may be incomplete. Returns whether it did: then they must be read again.
    ///
    /// # Errors
    /// A file does not come to rest.
    pub(super) async fn wait(&mut self, doubts: &[Doubt], writers: &Writers) -> Result<bool, KeepsChanging> {
        match self.look(doubts, writers) {
            Look::Whole => return Ok(false),
            Look::TooLong(path) => return Err(KeepsChanging(path)),
            Look::Wait(_, left, Until::Still) => sleep(left).await,
            Look::Wait(path, left, Until::Closed) => {
                let began = Instant::now();
                while writers.has_open(&path) && began.elapsed() < left {
                    sleep(PAUSE).await;
                }
            }
        }
        Ok(true)
    }

    fn look(&mut self, doubts: &[Doubt], writers: &Writers) -> Look {
        let now = Instant::now();
        for doubt in doubts {
            let left = STILL_FOR.saturating_sub(self.still_for(doubt, now));
            let until = match doubt.loss {
                Some(_) => Until::Still,
                None if writers.has_open(&doubt.path) => Until::Closed,
                None => continue,
            };
            if left.is_zero() {
                continue;
            }
            if now.duration_since(self.began) >= LONGEST_WAIT {
                return Look::TooLong(doubt.path.clone());
            }
            self.tell(doubt);
            return Look::Wait(doubt.path.clone(), left, until);
        }
        Look::Whole
    }

    /// Returns how long the file has not changed. A file system whose clock is ahead does not know, but this reload does.
    fn still_for(&mut self, doubt: &Doubt, now: Instant) -> Duration {
        let seen = self.seen.entry(doubt.path.clone()).or_insert_with(|| (doubt.clone(), now));
        if seen.0 != *doubt {
            *seen = (doubt.clone(), now);
        }
        let by_clock = doubt.changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
        by_clock.unwrap_or_default().max(now.duration_since(seen.1))
    }

    fn tell(&mut self, doubt: &Doubt) {
        if self.told.iter().any(|told| (&told.path, &told.loss) == (&doubt.path, &doubt.loss)) {
            return;
        }
        let (list, seconds) = (doubt.path.display(), STILL_FOR.as_secs());
        match &doubt.loss {
            Some(Loss::Entries { before, after }) => {
                let (before, after) = (grouped(*before), grouped(*after));
                tracing::warn!(
                    "reload waits {seconds} s, because list {list} shrank from {before} to {after} entries"
                );
            }
            Some(Loss::Setting(path)) => {
                tracing::warn!("reload waits {seconds} s, because {list} no longer has all of {path}");
            }
            None => tracing::info!("reload waits up to {seconds} s, because a program still writes {list}"),
        }
        self.told.push(doubt.clone());
    }
}

/// Writes a number with a comma between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let separated = digits.char_indices().flat_map(|(at, digit)| {
        let comma = (at > 0 && at % 3 == first).then_some(',');
        comma.into_iter().chain([digit])
    });
    separated.collect()
}

#[cfg(test)]
mod tests;
