//! The commands that the configuration wants to see, as the path of commands asks for it.

pub(crate) mod frames;
pub(crate) mod heads;

use std::cell::{Cell, RefCell, RefMut};

use portcullis_config::{CommandAudit, Config, KeyForm};
use portcullis_resp::command::{CommandId, Flags, id};
use portcullis_session::Tick;

use self::heads::Heads;

/// One command of so many is counted by its keys.
pub(crate) const DRAWN_OF: u64 = 64;

/// The commands that are drawn one after the other. To find a command of a batch, all commands before it are read again:
/// once for a run instead of once for each.
const RUN: u64 = 8;

/// The samples of slow commands that a worker adds in a second, besides the slowest of the hour. A list has 128.
const MOST_IN_A_SECOND: u32 = 256;

const SECOND: u64 = 1_000_000_000;

/// Scripts, which may write whatever their flags are.
const SCRIPTS: [CommandId; 3] = [id::EVAL, id::EVALSHA, id::FCALL];

/// A number that no duration and no size reaches.
const NEVER: u64 = u64::MAX;

/// The settings of one worker. A reload changes them for all sessions.
#[derive(Debug)]
pub(crate) struct Watch {
    audited: Cell<CommandAudit>,
    audited_keys: Cell<KeyForm>,
    /// Whether one of the following is on.
    samples: Cell<bool>,
    slow_after: Cell<u64>,
    large_from: Cell<u64>,
    kept_below: Cell<u64>,
    counts_keys: Cell<bool>,
    sampled_keys: Cell<KeyForm>,
    heads: RefCell<Heads>,
    /// The commands until the next one whose keys are counted.
    until_drawn: Cell<u64>,
    /// The commands of the run that are not drawn yet.
    left_of_run: Cell<u64>,
    /// The state of the generator that draws commands (xorshift). Who can foresee the draws can hide a key from a list.
    random: Cell<u64>,
    /// The samples of slow commands since a time.
    added: Cell<(Tick, u32)>,
}

impl Watch {
    /// Returns the settings of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let (audit, observe) = (config.audit(), config.observe());
        let slow = observe.slow().map(|slow| u64::try_from(slow.as_nanos()).unwrap_or(NEVER));
        let large_from = observe.large().unwrap_or(NEVER);
        let samples = slow.is_some() || observe.large().is_some() || observe.hot();
        let counts_keys = observe.hot() && observe.keys() != KeyForm::Off;
        Self {
            audited: Cell::new(audit.commands()),
            audited_keys: Cell::new(audit.keys()),
            samples: Cell::new(samples),
            slow_after: Cell::new(slow.unwrap_or(NEVER)),
            large_from: Cell::new(large_from),
            kept_below: Cell::new(if counts_keys || !samples { 0 } else { large_from }),
            counts_keys: Cell::new(counts_keys),
            sampled_keys: Cell::new(observe.keys()),
            heads: RefCell::default(),
            until_drawn: Cell::new(0),
            left_of_run: Cell::new(RUN),
            random: Cell::new(0x9e37_79b9_7f4a_7c15),
            added: Cell::default(),
        }
    }

    /// Takes the settings of another configuration.
    pub(crate) fn adopt(&self, config: &Config) {
        self.adopt_from(&Self::of(config));
    }

    fn adopt_from(&self, next: &Self) {
        self.audited.swap(&next.audited);
        self.audited_keys.swap(&next.audited_keys);
        self.samples.swap(&next.samples);
        self.slow_after.swap(&next.slow_after);
        self.large_from.swap(&next.large_from);
        self.kept_below.swap(&next.kept_below);
        self.counts_keys.swap(&next.counts_keys);
        self.sampled_keys.swap(&next.sampled_keys);
    }

    /// Returns whether samples of commands are kept.
    #[inline]
    pub(crate) fn samples(&self) -> bool {
        self.samples.get()
    }

    /// Returns the nanoseconds from which on a command is slow.
    #[inline]
    pub(crate) fn slow_after(&self) -> u64 {
        self.slow_after.get()
    }

    /// Returns the bytes from which on a request or a reply is large.
    pub(crate) fn large_from(&self) -> u64 {
        self.large_from.get()
    }

    /// Returns the bytes below which a batch of commands is remembered, and nothing else. It is 0 without samples, and
    /// where keys are counted. One comparison decides for most batches.
    #[inline]
    pub(crate) fn kept_below(&self) -> u64 {
        self.kept_below.get()
    }

    /// Returns the form of keys in samples.
    pub(crate) fn sampled_keys(&self) -> KeyForm {
        self.sampled_keys.get()
    }

    /// Returns the commands that were sent last.
    pub(crate) fn heads(&self) -> RefMut<'_, Heads> {
        self.heads.borrow_mut()
    }

    /// Returns whether the keys of some commands are counted.
    #[inline]
    pub(crate) fn counts_keys(&self) -> bool {
        self.counts_keys.get()
    }

    /// Returns the place of the next command of a batch whose keys are counted; `None` if the batch has no more of them.
    pub(crate) fn draw(&self, commands: u64) -> Option<u64> {
        let place = self.until_drawn.get();
        if !self.counts_keys() || place >= commands {
            return None;
        }
        let left = self.left_of_run.get().saturating_sub(1);
        let between = if left == 0 { self.random_gap() } else { 0 };
        self.left_of_run.set(if left == 0 { RUN } else { left });
        self.until_drawn.set(place.saturating_add(1).saturating_add(between));
        Some(place)
    }

    /// Returns the commands between two runs. On average they are so many that one of 64 commands is drawn.
    fn random_gap(&self) -> u64 {
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        random % (2 * RUN * (DRAWN_OF - 1) + 1)
    }

    /// Ends the draws of a batch.
    pub(crate) fn drawn(&self, commands: u64) {
        self.until_drawn.set(self.until_drawn.get().saturating_sub(commands));
    }

    /// Returns whether another sample of a slow command may be added at this time.
    pub(crate) fn may_add(&self, now: Tick) -> bool {
        let (since, added) = self.added.get();
        let (since, added) = if now.since(since) >= SECOND { (now, 0) } else { (since, added) };
        self.added.set((since, added.saturating_add(1)));
        added < MOST_IN_A_SECOND
    }

    /// Returns whether commands that are not refused have audit lines.
    #[inline]
    pub(crate) fn audits_commands(&self) -> bool {
        self.audited.get() >= CommandAudit::Writes
    }

    /// Returns whether this command has audit lines.
    pub(crate) fn audits(&self, id: CommandId) -> bool {
        match self.audited.get() {
            CommandAudit::None | CommandAudit::Denied => false,
            CommandAudit::Writes => may_write(id),
            CommandAudit::All => true,
        }
    }

    /// Returns whether refused commands have audit lines.
    pub(crate) fn audits_denials(&self) -> bool {
        self.audited.get() >= CommandAudit::Denied
    }

    /// Returns the form of keys in audit lines.
    pub(crate) fn audited_keys(&self) -> KeyForm {
        self.audited_keys.get()
    }
}

/// Returns whether a command, or a subcommand of it, may change data. Scripts may, whatever they do.
fn may_write(id: CommandId) -> bool {
    let writes = |id: CommandId| {
        let flags = id.info().flags;
        flags.contains(Flags::WRITE) || flags.contains(Flags::MAY_REPLICATE)
    };
    id == CommandId::UNKNOWN || SCRIPTS.contains(&id) || writes(id) || id.subcommands().any(writes)
}

#[cfg(test)]
mod tests {
    use portcullis_resp::command::lookup;

    use super::*;

    fn watch(observe: &str) -> Watch {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portcullis.yaml");
        let yaml = format!(
            "listeners: [{{name: public, bind: '127.0.0.1:1', upstream: main, allow: [10.0.0.1]}}]\n\
             upstreams: {{main: {{address: '127.0.0.1:2'}}}}\nobserve: {observe}\n"
        );
        std::fs::write(&path, yaml).unwrap();
        let loaded = portcullis_config::load(&path, &portcullis_config::LoadOptions::new());
        Watch::of(&loaded.unwrap_or_else(|problems| panic!("{problems:?}")).config)
    }

    #[test]
    fn one_command_in_64_is_drawn_whatever_the_batches() {
        let watch = watch("{hot: on}");
        for batch in [1_u64, 7, 64, 1000] {
            let mut drawn = 0_u64;
            for _ in 0..6_400_000 / batch {
                while let Some(place) = watch.draw(batch) {
                    assert!(place < batch);
                    drawn += 1;
                }
                watch.drawn(batch);
            }
            assert!((97_000..103_000).contains(&drawn), "{drawn} with batches of {batch}");
        }
    }

    #[test]
    fn nothing_is_sampled_where_all_is_off() {
        let off = watch("{slow: off, large: off, hot: off}");
        assert!(!off.samples() && off.draw(1000).is_none());
        assert_eq!((off.slow_after(), off.large_from()), (u64::MAX, u64::MAX));
        let usual = watch("{hot: off}");
        assert!(usual.samples() && usual.draw(1000).is_none());
        assert_eq!((usual.slow_after(), usual.large_from()), (10_000_000, 1 << 20));
        assert_eq!((usual.kept_below(), off.kept_below(), watch("{hot: on}").kept_below()), (1 << 20, 0, 0));
        assert_eq!(watch("{hot: on, keys: off}").kept_below(), 1 << 20);
        off.adopt_from(&usual);
        assert!(off.samples() && off.kept_below() == 1 << 20);
    }

    #[test]
    fn slow_samples_are_few_in_a_second() {
        let watch = watch("{}");
        let at = |nanos| Tick::from_nanos(nanos);
        assert_eq!((0..1000).filter(|_| watch.may_add(at(5 * SECOND))).count(), 256);
        assert!(watch.may_add(at(6 * SECOND)));
    }

    #[test]
    fn commands_that_may_write() {
        for (name, writes) in [
            ("get", false),
            ("set", true),
            ("eval", true),
            ("xgroup", true),
            ("config", false),
            ("publish", false),
        ] {
            assert_eq!(may_write(lookup(name.as_bytes()).unwrap()), writes, "{name}");
        }
        assert!(may_write(CommandId::UNKNOWN), "a module's command may");
        assert!(!may_write(id::PING));
    }
}
