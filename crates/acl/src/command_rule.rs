//! Rules for commands, keys and channels: Redis ACL rules, with the meaning of Redis 7.
//!
//! ```text
//! +name -name            a command, or with +container|sub a subcommand
//! +name|word             a command, if its first argument is this word (names without subcommands only)
//! +@category -@category  all commands of a category; allcommands is +@all, nocommands is -@all
//! @public                our own preset for listeners that face the internet; see `public`
//! @public-scripts        after @public: scripts and functions, which Redis's own user must restrict
//! ~pattern               keys to read and write; %R~pattern to read, %W~pattern to write; allkeys is ~*
//! &pattern               channels; allchannels is &*
//! resetkeys resetchannels
//! (rules)                a selector: a set of its own, which may allow commands that the others do not
//! ```
//!
//! Later rules win. Case does not matter in names and categories. Patterns are globs, matched as Redis matches them.
//!
//! Differences from Redis:
//! - Outside selectors, rules without any key rule mean `allkeys`, and rules without any channel rule `allchannels`.
//! - A command that the table does not have is refused unless a rule names it (`+json.set`); `+@all` does not name
//!   it. It also needs `allkeys`, because its keys are unknown.
//! - SYNC, PSYNC and REPLCONF turn a connection into a replication stream: only rules with their own names allow
//!   them.
//! - Under key rules, commands with unknown keys are refused. SORT with BY or GET needs `*` to be readable, as Redis
//!   requires when it runs the command. Arguments that no server accepts are refused.
//! - Channels that Redis itself uses (`__sentinel__:hello`) are closed unless a channel pattern names them; see
//!   `channel`. `allchannels` does not open them, and such a pattern may follow it.
//! - Under key patterns, CLIENT TRACKING with BCAST needs prefixes that the patterns cover.
//! - `%R` without a `~` and ranges of bytes beyond ASCII in brackets are errors.

mod channel;
mod error;
mod parse;
mod pattern;
pub mod public;
mod redis_user;
mod selector;
mod tracking;

use portcullis_resp::command::keys::Argv;
use portcullis_resp::command::{CommandId, id, lookup_subcommand};

pub(crate) use self::channel::{ChannelUse, may_be_control};
pub use self::error::{Problem, RuleError};
pub use self::parse::nearest;
pub use self::pattern::MAX_PATTERN;
pub use self::redis_user::RedisUser;
pub(crate) use self::selector::{Grant, KeyUse, Selector, by_own_name_only};
use crate::cost::Cost;

/// The command rules of a listener or of a user.
#[derive(Clone, Debug)]
pub struct CommandRules {
    /// All selectors; the first has the rules outside parentheses.
    selectors: Vec<Selector>,
    is_public: bool,
    /// The rules outside parentheses, as the operator wrote them.
    words: Vec<Box<str>>,
}

/// The part of a command that the rules refused. With several selectors, as in Redis, the selector that allowed most
/// of the command decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// The command itself, by its name.
    Command,
    /// A key of the command, or its keys cannot be found.
    Key,
    /// A channel of the command.
    Channel,
    /// The cost of the command, under `@public`.
    Cost(Cost),
}

/// The decision that follows from the name of a command alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByName {
    /// The command may run with any arguments.
    Allowed,
    /// The command is refused with any arguments.
    Refused,
    /// The decision depends on the subcommand, first argument, keys or channels, or on the letters of an unknown
    /// name.
    Depends,
}

impl CommandRules {
    /// Parses rules from one string.
    ///
    /// # Errors
    /// Every word that is not a rule, with its position and the right form.
    pub fn parse(text: &str) -> Result<Self, Vec<RuleError>> {
        Self::parse_list([text])
    }

    /// Parses rules from a list of strings, each of one or more words. The result is the same as for all words in one
    /// string.
    ///
    /// # Errors
    /// Every word that is not a rule, with the number of its item, its position there, and the right form.
    pub fn parse_list<'t>(items: impl IntoIterator<Item = &'t str>) -> Result<Self, Vec<RuleError>> {
        parse::parse(items)
    }

    /// Returns the decision that follows from the name alone. A container (CLIENT) always depends on its subcommand:
    /// unknown subcommands are refused.
    #[must_use]
    pub fn by_name(&self, id: CommandId) -> ByName {
        if id == CommandId::UNKNOWN {
            return if self.names_unknown().next().is_some() { ByName::Depends } else { ByName::Refused };
        }
        if id.is_container() {
            return ByName::Depends;
        }
        let mut verdict = ByName::Refused;
        for selector in &self.selectors {
            match selector.grant(id) {
                Grant::No => {}
                Grant::Yes if !selector.guards_keys_of(id) && !selector.guards_channels_of(id) => {
                    return ByName::Allowed;
                }
                Grant::Yes | Grant::FirstArgument => verdict = ByName::Depends,
            }
        }
        verdict
    }

    /// Checks whether a command may run with these arguments. The command's name (of both levels) comes first in
    /// `args`. `id` may be a container. Allocates nothing.
    ///
    /// # Errors
    /// The part of the command that is refused.
    pub fn check<'b>(&self, id: CommandId, args: &(impl Argv<'b> + ?Sized)) -> Result<(), Refused> {
        let resolved = resolve(id, args);
        let mut worst = Refused::Command;
        for selector in &self.selectors {
            match selector.check(resolved, args) {
                Ok(()) => return Ok(()),
                Err(refused) => worst = worst.max(refused),
            }
        }
        Err(worst)
    }

    /// Returns the names of allowed commands and subcommands (`client|name`) that are not in the table. The caller
    /// warns about them because they may be misspelt. [`nearest`] may find the intended name.
    pub fn names_unknown(&self) -> impl Iterator<Item = &str> {
        self.selectors.iter().flat_map(Selector::unknown_names)
    }

    /// Returns whether scripts or functions may run although the rules refuse other commands or restrict keys. The
    /// proxy cannot see the commands of a script. Such rules protect little unless the upstream's own user has them
    /// too.
    #[must_use]
    pub fn scripts_escape(&self) -> bool {
        let is_guarded = |id: CommandId| {
            !id.is_container() && !by_own_name_only(id) && self.by_name(id) != ByName::Allowed
        };
        RUNNING_CODE.iter().any(|id| self.by_name(*id) != ByName::Refused)
            && CommandId::all().filter(|id| *id != CommandId::UNKNOWN).any(is_guarded)
    }

    /// Returns whether `@public` is among the rules, even if other rules add or remove commands. If so, the promises
    /// of [`public`] that go beyond command names apply as well.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        self.is_public
    }

    /// Returns the rule that caused the refusal of a command: a word of these rules (`-@dangerous`), the
    /// configuration key of a limit, or a text that says what is missing.
    #[must_use]
    pub fn deciding_rule(&self, command: CommandId, refused: Refused) -> &str {
        match refused {
            Refused::Key => "no key pattern allows it",
            Refused::Channel => "no channel pattern allows it",
            Refused::Cost(cost) => cost.limit(),
            Refused::Command if command == CommandId::UNKNOWN || by_own_name_only(command) => {
                "only a rule with its name allows it"
            }
            Refused::Command => match parse::refusing_word(&self.words, command) {
                Some(word) => word,
                None if self.selectors.iter().any(|selector| selector.grant(command) != Grant::No) => {
                    "no rule allows it with these arguments"
                }
                None if self.is_public && public::refuses(command) => "@public",
                None => "no rule allows it",
            },
        }
    }

    /// Returns whether `@public-scripts` allows scripts, which Redis itself must restrict.
    #[must_use]
    pub fn has_public_scripts(&self) -> bool {
        self.selectors.iter().any(Selector::has_public_scripts)
    }

    /// Returns whether, for each selector of `old`, these rules have a selector that allows at least as much of the
    /// command.
    pub(crate) fn keeps(&self, old: &Self, id: CommandId) -> bool {
        old.selectors.iter().all(|old| self.selectors.iter().any(|own| own.keeps(old, id)))
    }

    /// Returns whether, for each selector of `old`, these rules have a selector that allows at least the same keys
    /// for the same use.
    pub(crate) fn keeps_keys(&self, old: &Self) -> bool {
        old.selectors.iter().all(|old| self.selectors.iter().any(|own| own.keeps_keys(old)))
    }

    pub(crate) fn selectors(&self) -> &[Selector] {
        &self.selectors
    }
}

const RUNNING_CODE: [CommandId; 6] =
    [id::EVAL, id::EVAL_RO, id::EVALSHA, id::EVALSHA_RO, id::FCALL, id::FCALL_RO];

/// The command that a name and its arguments mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// A command of the table. It is a container only if no subcommand follows.
    Known(CommandId),
    /// A command that is not in the table.
    Unknown,
    /// A subcommand of this container that is not in the table.
    UnknownSubcommand(CommandId),
}

pub(crate) fn resolve<'b>(id: CommandId, args: &(impl Argv<'b> + ?Sized)) -> Resolved {
    if id == CommandId::UNKNOWN {
        return Resolved::Unknown;
    }
    if !id.is_container() || args.count() < 2 {
        return Resolved::Known(id);
    }
    match args.arg(1).and_then(|name| lookup_subcommand(id, name)) {
        Some(subcommand) => Resolved::Known(subcommand),
        None => Resolved::UnknownSubcommand(id),
    }
}

#[cfg(test)]
mod tests;
