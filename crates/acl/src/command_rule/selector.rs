//! A selector: a set of allowed commands, key patterns and channel patterns. The rules outside parentheses form one
//! selector, and each pair of parentheses forms another.

use portcullis_resp::command::keys::{Argv, KeysUnknown, channels, keys};
use portcullis_resp::command::{Access, Categories, CommandId, Flags, id};

use super::channel::{ChannelUse, Control, opens_control};
use super::pattern::Pattern;
use super::{Refused, Resolved, public, tracking};

#[derive(Clone, Debug)]
pub(crate) struct Selector {
    allowed: [u64; WORDS],
    /// Commands that are not in `allowed` but may run with this first argument.
    first_arguments: Vec<(CommandId, Box<[u8]>)>,
    /// The names of allowed commands that are not in the table, in lower case.
    unknown: Vec<Box<str>>,
    pub(super) keys: Patterns<(KeyUse, Pattern)>,
    /// If all channels are allowed, only the patterns that open channels which `allchannels` does not open.
    pub(super) channels: Patterns<Pattern>,
    /// Whether `@public` set the commands.
    public: bool,
    /// Whether `@public-scripts` was added.
    public_scripts: bool,
}

const WORDS: usize = CommandId::COUNT.div_ceil(64);

/// The permission that the name of a command gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    No,
    FirstArgument,
    Yes,
}

#[derive(Clone, Debug)]
pub(super) struct Patterns<P> {
    all: bool,
    list: Vec<P>,
}

impl<P> Default for Patterns<P> {
    fn default() -> Self {
        Self { all: false, list: Vec::new() }
    }
}

impl<P> Patterns<P> {
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) const fn is_all(&self) -> bool {
        self.all
    }

    pub(super) fn list(&self) -> &[P] {
        &self.list
    }

    /// Returns whether this list has, for each pattern of `old`, a pattern that `stands_for` accepts in its place.
    fn include(&self, old: &Self, stands_for: impl Fn(&P, &P) -> bool) -> bool {
        let kept = |old: &P| self.list.iter().any(|own| stands_for(own, old));
        self.all || (!old.all && old.list.iter().all(kept))
    }
}

impl Patterns<(KeyUse, Pattern)> {
    pub(super) fn all(&mut self) {
        *self = Self { all: true, list: Vec::new() };
    }

    /// Adds a permission for a pattern. As in Redis, `%R~a %W~a` means `~a`.
    pub(super) fn add(&mut self, permission: KeyUse, pattern: Pattern) {
        match self.list.iter_mut().find(|(_, other)| *other == pattern) {
            Some((before, _)) => *before = before.and(permission),
            None => self.list.push((permission, pattern)),
        }
    }
}

impl Patterns<Pattern> {
    /// Allows all channels. Patterns stay if they open channels that `allchannels` does not open.
    pub(super) fn all(&mut self) {
        self.all = true;
        self.list.retain(opens_control);
    }

    pub(super) fn add(&mut self, pattern: Pattern) {
        if !self.list.contains(&pattern) {
            self.list.push(pattern);
        }
    }
}

/// A use of keys: reading, writing, both, or neither (only a key's existence or length).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUse(u16);

impl KeyUse {
    pub(super) const NONE: Self = Self(0);
    pub(super) const READ: Self = Self(1);
    pub(super) const WRITE: Self = Self(2);
    pub(crate) const BOTH: Self = Self(3);

    /// Returns the permission that a command with this access to a key needs.
    pub(crate) const fn of(access: Access) -> Self {
        const WRITING: Access = Access::of(&[Access::INSERT, Access::DELETE, Access::UPDATE]);
        let read = if access.contains(Access::ACCESS) { Self::READ } else { Self::NONE };
        let write = if access.intersects(WRITING) { Self::WRITE } else { Self::NONE };
        read.and(write)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn bits(self) -> u16 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::BOTH.0)
    }

    const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn common_with(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the rule that allows this use of the keys of a pattern. `None` if the use is empty.
    pub(super) fn word(self, pattern: &Pattern) -> Option<String> {
        match self {
            Self::BOTH => Some(format!("~{pattern}")),
            Self::READ => Some(format!("%R~{pattern}")),
            Self::WRITE => Some(format!("%W~{pattern}")),
            _ => None,
        }
    }
}

/// Returns whether only a rule with the command's own name can allow it, and no category.
pub(crate) const fn by_own_name_only(id: CommandId) -> bool {
    matches!(id, id::SYNC | id::PSYNC | id::REPLCONF)
}

impl Selector {
    pub(super) fn new() -> Self {
        Self {
            allowed: [0; WORDS],
            first_arguments: Vec::new(),
            unknown: Vec::new(),
            keys: Patterns::default(),
            channels: Patterns::default(),
            public: false,
            public_scripts: false,
        }
    }

    /// Applies `+name` or `-name`, with all subcommands.
    pub(super) fn set(&mut self, id: CommandId, allow: bool) {
        self.set_one(id, allow);
        for subcommand in id.subcommands() {
            self.set_one(subcommand, allow);
        }
    }

    /// Applies `+@category` or `-@category`.
    pub(super) fn set_category(&mut self, category: Categories, allow: bool) {
        for id in known().filter(|id| id.info().categories.intersects(category)) {
            self.set_in_bulk(id, allow);
            for subcommand in id.subcommands() {
                self.set_in_bulk(subcommand, allow);
            }
        }
    }

    /// Applies `+@all` or `-@all`.
    pub(super) fn set_all(&mut self, allow: bool) {
        known().for_each(|id| self.set_in_bulk(id, allow));
        if !allow {
            self.unknown.clear();
            (self.public, self.public_scripts) = (false, false);
        }
    }

    /// Applies `@public`.
    pub(super) fn allow_public(&mut self) {
        known().filter(|id| !public::refuses(*id)).for_each(|id| self.set_in_bulk(id, true));
        self.public = true;
    }

    /// Applies `@public-scripts`. Returns false if no `@public` came before it.
    pub(super) fn allow_public_scripts(&mut self) -> bool {
        public::SCRIPTS.iter().for_each(|id| self.set_one(*id, true));
        self.public_scripts = self.public;
        self.public
    }

    /// Returns whether `@public-scripts` was added.
    pub(super) const fn has_public_scripts(&self) -> bool {
        self.public_scripts
    }

    /// Applies `+name|argument`.
    pub(super) fn allow_first_argument(&mut self, id: CommandId, argument: &str) {
        self.first_arguments.push((id, argument.as_bytes().into()));
    }

    /// Applies `+name` or `-name` for a name that is not in the table. Returns whether the name was allowed before.
    pub(super) fn set_unknown(&mut self, name: &str, allow: bool) -> bool {
        let name = name.to_ascii_lowercase();
        let before = self.unknown.len();
        self.unknown.retain(|other| **other != *name);
        let was_allowed = self.unknown.len() < before;
        if allow {
            self.unknown.push(name.into());
        }
        was_allowed
    }

    /// Allows or refuses one command, and removes its rules for first arguments, as Redis does.
    fn set_one(&mut self, id: CommandId, allow: bool) {
        let bit = 1 << (id.index() % 64);
        if let Some(word) = self.allowed.get_mut(id.index() / 64) {
            *word = if allow { *word | bit } else { *word & !bit };
        }
        self.first_arguments.retain(|(command, _)| *command != id);
    }

    fn set_in_bulk(&mut self, id: CommandId, allow: bool) {
        if !allow || !by_own_name_only(id) {
            self.set_one(id, allow);
        }
    }

    /// Returns what the rules say about the command's name. As in Redis, all rules allow AUTH, HELLO, QUIT and RESET.
    pub(crate) fn grant(&self, id: CommandId) -> Grant {
        let bit = 1 << (id.index() % 64);
        let allowed = self.allowed.get(id.index() / 64).is_some_and(|word| word & bit != 0);
        if allowed || id.info().flags.contains(Flags::NO_AUTH) {
            Grant::Yes
        } else if self.first_arguments.iter().any(|(command, _)| *command == id) {
            Grant::FirstArgument
        } else {
            Grant::No
        }
    }

    pub(crate) fn guards_keys_of(&self, id: CommandId) -> bool {
        !self.keys.all && (has_keys(id) || id == id::CLIENT_TRACKING)
    }

    /// Returns whether the channels of this command must be checked. Some channels are closed even if all channels
    /// are allowed.
    pub(crate) fn guards_channels_of(&self, id: CommandId) -> bool {
        match id {
            id::PUBLISH | id::SPUBLISH | id::SUBSCRIBE | id::SSUBSCRIBE => true,
            id::PSUBSCRIBE => !self.channels.all || !self.keys.all,
            // Redis requires no permission to unsubscribe.
            _ => false,
        }
    }

    /// Returns whether the rules restrict keys.
    pub(crate) const fn has_key_patterns(&self) -> bool {
        !self.keys.all
    }

    pub(crate) const fn has_all_keys(&self) -> bool {
        self.keys.all
    }

    /// Returns whether this selector allows everything that `old` allows of a command.
    pub(super) fn keeps(&self, old: &Self, id: CommandId) -> bool {
        let has_word = |word: &(CommandId, Box<[u8]>)| self.first_arguments.contains(word);
        let of_name = match (old.grant(id), self.grant(id)) {
            (Grant::No, _) => return true,
            (_, Grant::Yes) => true,
            (Grant::FirstArgument, Grant::FirstArgument) => {
                old.first_arguments.iter().filter(|(command, _)| *command == id).all(has_word)
            }
            (Grant::Yes | Grant::FirstArgument, _) => false,
        };
        of_name && self.keeps_keys(old) && self.channels.include(&old.channels, |own, other| own == other)
    }

    /// Returns whether this selector allows every key of `old`, for at least the same use.
    pub(super) fn keeps_keys(&self, old: &Self) -> bool {
        self.keys.include(&old.keys, |(own_use, own), (old_use, old)| own_use.covers(*old_use) && own == old)
    }

    pub(super) fn unknown_names(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().map(|name| &**name)
    }

    /// Returns whether every key pattern allows both reading and writing.
    pub(crate) fn keys_alike(&self) -> bool {
        self.keys.list.iter().all(|(permission, _)| *permission == KeyUse::BOTH)
    }

    pub(super) fn check<'b>(
        &self,
        command: Resolved,
        args: &(impl Argv<'b> + ?Sized),
    ) -> Result<(), Refused> {
        match command {
            Resolved::Known(id) => {
                self.check_name(id, args)?;
                self.check_keys(id, args)?;
                self.check_channels(id, args)
            }
            Resolved::Unknown => self.check_unknown(|own| args.arg(0).is_some_and(|name| is(own, name))),
            Resolved::UnknownSubcommand(container) => self.check_unknown(|own| {
                own.split_once('|').is_some_and(|(top, sub)| {
                    top == container.name() && args.arg(1).is_some_and(|name| is(sub, name))
                })
            }),
        }
    }

    fn check_name<'b>(&self, id: CommandId, args: &(impl Argv<'b> + ?Sized)) -> Result<(), Refused> {
        let may = match self.grant(id) {
            Grant::Yes => true,
            Grant::No => false,
            Grant::FirstArgument => args.arg(1).is_some_and(|argument| {
                self.first_arguments
                    .iter()
                    .any(|(command, own)| *command == id && own.eq_ignore_ascii_case(argument))
            }),
        };
        if may { Ok(()) } else { Err(Refused::Command) }
    }

    fn check_keys<'b>(&self, id: CommandId, args: &(impl Argv<'b> + ?Sized)) -> Result<(), Refused> {
        if !self.guards_keys_of(id) {
            return Ok(());
        }
        if id == id::CLIENT_TRACKING {
            let within = tracking::names_only(args, |prefix| self.covers_keys_of(prefix));
            return if within { Ok(()) } else { Err(Refused::Key) };
        }
        let mut all_admitted = true;
        let certain = keys(id, args, |key| {
            let is_key = !key.access.contains(Access::NOT_KEY);
            all_admitted &= !is_key || self.admits(KeyUse::of(key.access), key.key);
        });
        let certain = match certain {
            Ok(()) => true,
            Err(KeysUnknown::FromData) => self.may_read_everything(),
            Err(KeysUnknown::Arguments) => false,
        };
        if all_admitted && certain { Ok(()) } else { Err(Refused::Key) }
    }

    fn check_channels<'b>(&self, id: CommandId, args: &(impl Argv<'b> + ?Sized)) -> Result<(), Refused> {
        if !self.guards_channels_of(id) {
            return Ok(());
        }
        let channel_use = match id {
            id::PUBLISH | id::SPUBLISH => ChannelUse::Publish,
            _ => ChannelUse::Subscribe,
        };
        let mut all_admitted = true;
        channels(id, args, |channel| {
            all_admitted &= match channel.is_pattern {
                true => self.admits_pattern(channel.channel),
                false => self.admits_channel(channel_use, channel.channel),
            };
        });
        if all_admitted { Ok(()) } else { Err(Refused::Channel) }
    }

    /// Returns whether this use of a channel is allowed.
    pub(crate) fn admits_channel(&self, channel_use: ChannelUse, channel: &[u8]) -> bool {
        match Control::of(channel) {
            Some(control) if control.is_closed(channel_use, self.keys.all) => self.opens(control, channel),
            _ => self.channels.all || self.channels.list.iter().any(|pattern| pattern.matches(channel)),
        }
    }

    /// Returns whether a subscriber may receive a message that was published on a channel, whatever its subscriptions
    /// are.
    pub(crate) fn delivers(&self, channel: &[u8]) -> bool {
        const SUBSCRIBING: [CommandId; 3] = [id::SUBSCRIBE, id::PSUBSCRIBE, id::SSUBSCRIBE];
        match Control::of(channel) {
            Some(control) if control.is_closed(ChannelUse::Subscribe, self.keys.all) => {
                self.opens(control, channel)
            }
            Some(_) => SUBSCRIBING.iter().any(|id| self.grant(*id) != Grant::No),
            None => true,
        }
    }

    fn opens(&self, control: &Control, channel: &[u8]) -> bool {
        self.channels.list.iter().any(|pattern| control.is_opened_by(pattern) && pattern.matches(channel))
    }

    /// Returns whether the client may subscribe to a pattern. The text must equal an allowed pattern, because this
    /// code cannot decide whether one pattern covers another. [`Selector::delivers`] withholds messages that the
    /// client may not get.
    fn admits_pattern(&self, asked: &[u8]) -> bool {
        let named = self.channels.all || self.channels.list.iter().any(|pattern| pattern.is(asked));
        let opened = match Control::of_keys_asked_by(asked) {
            Some(control) if !self.keys.all => {
                self.channels.list.iter().any(|pattern| control.is_opened_by(pattern))
            }
            _ => true,
        };
        named && opened
    }

    /// Returns whether the client may read all keys that begin with `prefix`.
    fn covers_keys_of(&self, prefix: &[u8]) -> bool {
        let list = self.keys.list.iter();
        list.filter(|(permission, _)| permission.covers(KeyUse::READ))
            .any(|(_, pattern)| pattern.covers_all_of(prefix))
    }

    fn check_unknown(&self, is_it: impl Fn(&str) -> bool) -> Result<(), Refused> {
        if !self.unknown_names().any(is_it) {
            return Err(Refused::Command);
        }
        if self.keys.all { Ok(()) } else { Err(Refused::Key) }
    }

    /// Returns whether this use of the key is allowed.
    #[inline]
    pub(crate) fn admits(&self, key_use: KeyUse, key: &[u8]) -> bool {
        self.keys.all
            || self
                .keys
                .list
                .iter()
                .any(|(permission, pattern)| permission.covers(key_use) && pattern.matches(key))
    }

    fn may_read_everything(&self) -> bool {
        self.keys
            .list
            .iter()
            .any(|(permission, pattern)| permission.covers(KeyUse::READ) && pattern.is_star())
    }
}

fn is(own: &str, name: &[u8]) -> bool {
    own.as_bytes().eq_ignore_ascii_case(name)
}

fn known() -> impl Iterator<Item = CommandId> {
    CommandId::all().filter(|id| *id != CommandId::UNKNOWN)
}

/// Returns whether the command may have keys among its arguments. Sharded channels, which have a slot too, are not
/// keys.
pub(crate) fn has_keys(id: CommandId) -> bool {
    let info = id.info();
    info.flags.contains(Flags::MOVABLEKEYS)
        || info.keys.iter().any(|spec| !spec.access.contains(Access::NOT_KEY))
}
