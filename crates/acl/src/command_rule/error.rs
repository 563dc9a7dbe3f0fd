//! Errors in rules.

use super::pattern::MAX_PATTERN;

/// A word that is not a rule, and its position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("command rule '{word}': {problem}")]
pub struct RuleError {
    /// The index of the item in the list, from 0.
    pub item: usize,
    /// The offset of the word in its item, in bytes from 0.
    pub offset: usize,
    /// The word, cut at 64 characters.
    pub word: String,
    /// The reason why the word is not a rule, with the right form.
    pub problem: Problem,
}

/// The reason why a word is not a valid rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A word that has no form of a rule.
    #[error(
        "not a rule; rules are +command -command +@category -@category ~keys %R~keys %W~keys &channels and (selector)"
    )]
    NotARule,
    /// A name without a sign before it.
    #[error("a rule begins with a sign: write +{0} to allow it or -{0} to refuse it")]
    NoSign(String),
    /// A `-` before an unknown command.
    #[error("unknown command; unknown commands are refused unless a rule allows them by name{}", meant(.0))]
    UnknownRefused(Option<&'static str>),
    /// A category that does not exist.
    #[error("unknown category; known categories: {}", all_categories())]
    UnknownCategory,
    /// `+` without a name, or bars in wrong places.
    #[error("a name is missing: write +command, +container|subcommand or +@category")]
    NoName,
    /// A rule such as `-get|word`, which would refuse a command by its first argument.
    #[error(
        "a rule with a first argument can only allow; refuse the command (-{0}), then allow it with these arguments (+{0}|word)"
    )]
    FirstArgumentRefused(&'static str),
    /// A rule such as `+config|get|word`, with an argument of a subcommand.
    #[error("rules cannot match arguments of a subcommand; write +{0}")]
    ArgumentOfSubcommand(String),
    /// A rule such as `+json.set|word`, with the first argument of an unknown command.
    #[error("rules cannot match the first argument of an unknown command; write +{0}")]
    ArgumentOfUnknown(String),
    /// A name that is too long, or has invalid bytes.
    #[error("a command's name is at most {MAX_NAME} letters, digits, '.', '-' and '_'")]
    OddName,
    /// A pattern after one that matches everything.
    #[error("a pattern after {all} has no effect; write {reset} before it to start over, or remove {all}")]
    AfterAll {
        /// The earlier rule: `allkeys` or `allchannels`.
        all: &'static str,
        /// The rule that starts over: `resetkeys` or `resetchannels`.
        reset: &'static str,
    },
    /// A rule with `%` that is not `%R~`, `%W~` or `%RW~` and a pattern.
    #[error("write %R~pattern to read, %W~pattern to write, %RW~pattern or ~pattern for both")]
    KeyPermission,
    /// A pattern that is too long to be compared with every key.
    #[error("a pattern is at most {MAX_PATTERN} bytes long")]
    PatternTooLong,
    /// A range of bytes beyond ASCII. C compilers disagree on whether these bytes are negative.
    #[error("a range in brackets may only contain ASCII characters")]
    WideRange,
    /// A selector without its closing parenthesis.
    #[error("a selector is not closed: write (rules)")]
    Unclosed,
    /// Parentheses in parentheses.
    #[error("a selector cannot contain another selector")]
    Nested,
    /// `-@public` or `-@public-scripts`, although these presets can only allow.
    #[error("@public can only allow; write @public, then the commands to refuse")]
    PublicRefused,
    /// `@public-scripts` without `@public` before it.
    #[error("@public-scripts adds to @public: write @public before it")]
    ScriptsWithoutPublic,
    /// An ACL rule of Redis that is not about commands.
    #[error(
        "credentials and user flags are not command rules; a user's passwords are set with its key 'password'"
    )]
    NotOfCommands,
}

/// The longest accepted name of a command, in bytes. All real names are shorter.
pub(super) const MAX_NAME: usize = 64;

fn meant(name: &Option<&'static str>) -> String {
    name.map(|name| format!("; did you mean -{name}?")).unwrap_or_default()
}

fn all_categories() -> String {
    use portcullis_resp::command::Categories;
    let names: Vec<_> = Categories::ALL.iter().map(|(_, name)| format!("@{name}")).collect();
    format!("@all, @public, @public-scripts, {}", names.join(", "))
}
