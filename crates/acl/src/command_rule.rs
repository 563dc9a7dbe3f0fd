//! Rules for commands, keys and channels: Redis ACL rules, with the meaning that Redis 7 gives them.
//!
//! ```text
//! +name -name            a command, or with +container|sub a subcommand
//! +name|word             a command, if its first argument is this word (names without subcommands only)
//! +@category -@category  all commands of a category; allcommands is +@all, nocommands is -@all
//! @public                our own preset for listeners that face the internet; see `public`
//! @public-scripts        after @public: scripts and functions, which the ACL of a Redis user must restrict
//! ~pattern               keys to read and write; %R~pattern to read, %W~pattern to write; allkeys is ~*
//! &pattern               channels; allchannels is &*
//! resetkeys resetchannels
//! (rules)                a selector: a set of its own, which may allow what the others do not
//! ```
//!
//! Later rules win. Names and categories are taken in any case, patterns are globs as Redis matches them.
//!
//! Where we differ from Redis:
//! - Outside selectors, no key rule at all means `allkeys`, and no channel rule `allchannels`.
//! - Commands that the table does not know are refused unless named (`+json.set`), and then need `allkeys`, because
//!   their keys are unknown. `+@all` does not name them.
//! - SYNC, PSYNC and REPLCONF turn a connection into a replication stream: only their own names allow them.
//! - Keys that cannot be known are refused under key rules: SORT with BY or GET needs `*` to be readable, as Redis has
//!   it when it runs the command, and arguments that no server would take are refused.
//! - Channels that Redis itself speaks on (`__sentinel__:hello`) are closed unless a channel pattern names them; see
//!   `channel`. `allchannels` does not, and such a pattern may stand behind it.
//! - Under key patterns CLIENT TRACKING with BCAST needs prefixes that they cover.
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

/// One set of command rules: those of a listener, or those of a user.
#[derive(Clone, Debug)]
pub struct CommandRules {
    /// The first one holds the rules outside parentheses.
    selectors: Vec<Selector>,
    is_public: bool,
    /// The rules outside parentheses, as they are written.
    words: Vec<Box<str>>,
}

/// The refused part of a command. In Redis's order: of several selectors, the one that matched most of the command
/// counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// The command itself.
    Command,
    /// One of its keys, or keys that cannot be known.
    Key,
    /// One of its channels.
    Channel,
    /// Its cost, under `@public`.
    Cost(Cost),
}

/// The decision that the name of a command alone allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByName {
    /// The command may run, whatever its arguments.
    Allowed,
    /// The command is refused, whatever its arguments.
    Refused,
    /// Its subcommand, first argument, keys, channels, or (unknown ones) the letters of its name decide.
    Depends,
}

impl CommandRules {
    /// Reads rules from one string.
    ///
    /// # Errors
    /// Every word that is not a rule, with its place and the right form.
    pub fn parse(text: &str) -> Result<Self, Vec<RuleError>> {
        Self::parse_list([text])
    }

    /// Reads rules from a list of strings, each of one or more words; it means the same as all of them in one string.
    ///
    /// # Errors
    /// Every word that is not a rule, with the number of its item, its place there, and the right form.
    pub fn parse_list<'t>(items: impl IntoIterator<Item = &'t str>) -> Result<Self, Vec<RuleError>> {
        parse::parse(items)
    }

    /// Decides by name. A container (CLIENT) always depends on its arguments: its unknown subcommands are refused.
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

    /// Whether a command may run with these arguments, its name (of both levels) first. `id` may be a container.
    ///
    /// Allocates nothing.
    ///
    /// # Errors
    /// What was refused.
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

    /// Names of allowed commands and subcommands (`client|name`) that are not in the table: for a warning, as they may
    /// be misspelt; [`nearest`] may know what was meant.
    pub fn names_unknown(&self) -> impl Iterator<Item = &str> {
        self.selectors.iter().flat_map(Selector::unknown_names)
    }

    /// Whether scripts or functions may run although the rules refuse other commands, or guard keys: what a script does
    /// the proxy cannot see, so that these rules are not worth much unless the upstream's own user has them too.
    #[must_use]
    pub fn scripts_escape(&self) -> bool {
        let is_guarded = |id: CommandId| {
            !id.is_container() && !by_own_name_only(id) && self.by_name(id) != ByName::Allowed
        };
        RUNNING_CODE.iter().any(|id| self.by_name(*id) != ByName::Refused)
            && CommandId::all().filter(|id| *id != CommandId::UNKNOWN).any(is_guarded)
    }

    /// Whether `@public` is among the rules, also where later rules add to it or take from it. Then what
    /// [`public`] promises beyond the names of commands holds as well.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        self.is_public
    }

    /// The rule that decided, where these rules refused something of a command: a word of theirs (`-@dangerous`), the key
    /// of the configuration that sets a limit, or what is missing.
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

    /// Whether `@public-scripts` lets scripts run, which Redis itself must hold back.
    #[must_use]
    pub fn has_public_scripts(&self) -> bool {
        self.selectors.iter().any(Selector::has_public_scripts)
    }

    /// Whether each of `old`'s selectors has one here that allows no less of a command.
    pub(crate) fn keeps(&self, old: &Self, id: CommandId) -> bool {
        old.selectors.iter().all(|old| self.selectors.iter().any(|own| own.keeps(old, id)))
    }

    /// The same of the keys that may be read.
    pub(crate) fn keeps_keys(&self, old: &Self) -> bool {
        old.selectors.iter().all(|old| self.selectors.iter().any(|own| own.keeps_keys(old)))
    }

    pub(crate) fn selectors(&self) -> &[Selector] {
        &self.selectors
    }
}

const RUNNING_CODE: [CommandId; 6] =
    [id::EVAL, id::EVAL_RO, id::EVALSHA, id::EVALSHA_RO, id::FCALL, id::FCALL_RO];

/// The command that the arguments name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// One of the table; a container only where it stands alone.
    Known(CommandId),
    /// None of the table.
    Unknown,
    /// A subcommand that is not in the table, of this container.
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
