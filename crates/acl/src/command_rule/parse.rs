//! Parses the words of rules into selectors.

use portcullis_resp::command::{Categories, CommandId, lookup, lookup_subcommand};

use super::CommandRules;
use super::channel::opens_control;
use super::error::{MAX_NAME, Problem, RuleError};
use super::pattern::Pattern;
use super::selector::{Grant, KeyUse, Selector};
use crate::spelling::within;

/// A word of the rules and its position.
#[derive(Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    item: usize,
    offset: usize,
}

/// Parses the rules. On failure returns all errors.
pub(super) fn parse<'t>(items: impl IntoIterator<Item = &'t str>) -> Result<CommandRules, Vec<RuleError>> {
    let mut parser = Parser {
        root: Selector::new(),
        others: Vec::new(),
        open: None,
        names_keys: false,
        names_channels: false,
        is_public: false,
        words: Vec::new(),
        errors: Vec::new(),
    };
    for (item, text) in items.into_iter().enumerate() {
        for word in words(item, text) {
            parser.word(word);
        }
    }
    parser.finish()
}

fn words(item: usize, text: &str) -> impl Iterator<Item = Word<'_>> {
    let mut at = 0;
    text.split(|c: char| c.is_ascii_whitespace()).filter_map(move |word| {
        let offset = at;
        at += word.len() + 1;
        (!word.is_empty()).then_some(Word { text: word, item, offset })
    })
}

struct Parser<'t> {
    root: Selector,
    others: Vec<Selector>,
    /// The selector whose words are being read, and its first word.
    open: Option<(Selector, Word<'t>)>,
    names_keys: bool,
    names_channels: bool,
    is_public: bool,
    words: Vec<Box<str>>,
    errors: Vec<RuleError>,
}

impl<'t> Parser<'t> {
    /// Parses one word: opens and closes selectors at parentheses, and applies the rest as a rule.
    fn word(&mut self, word: Word<'t>) {
        let mut rest = word;
        if let Some(inner) = word.text.strip_prefix('(') {
            if self.open.is_some() {
                return self.error(word, Problem::Nested);
            }
            self.open = Some((Selector::new(), word));
            rest = Word { text: inner, offset: word.offset + 1, ..word };
        }
        // Only the last word of a selector ends in a closing parenthesis. Elsewhere a parenthesis is part of a
        // pattern.
        let closing = rest.text.strip_suffix(')').filter(|_| self.open.is_some());
        rest.text = closing.unwrap_or(rest.text);
        if !rest.text.is_empty() {
            self.rule(rest);
        }
        if closing.is_some()
            && let Some((selector, _)) = self.open.take()
        {
            self.others.push(selector);
        }
    }

    fn rule(&mut self, word: Word<'t>) {
        if self.open.is_none() {
            self.names_keys |= names_keys(word.text);
            self.names_channels |= names_channels(word.text);
            self.words.push(word.text.into());
        }
        self.is_public |= is_one_of(word.text, &PUBLIC);
        let selector = self.open.as_mut().map_or(&mut self.root, |(selector, _)| selector);
        if let Err(problem) = apply(selector, word.text) {
            self.error(word, problem);
        }
    }

    fn error(&mut self, word: Word<'_>, problem: Problem) {
        let shown = word.text.chars().take(64).collect();
        self.errors.push(RuleError { item: word.item, offset: word.offset, word: shown, problem });
    }

    fn finish(mut self) -> Result<CommandRules, Vec<RuleError>> {
        if let Some((_, first)) = self.open.take() {
            self.error(first, Problem::Unclosed);
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        if !self.names_keys {
            self.root.keys.all();
        }
        if !self.names_channels {
            self.root.channels.all();
        }
        self.others.insert(0, self.root);
        Ok(CommandRules { selectors: self.others, is_public: self.is_public, words: self.words })
    }
}

const PUBLIC: [&str; 2] = ["@public", "+@public"];

/// Returns the last word outside parentheses that removed the command. `None` if no word removed it.
pub(super) fn refusing_word(words: &[Box<str>], id: CommandId) -> Option<&str> {
    let (mut selector, mut refusing) = (Selector::new(), None);
    for word in words {
        let before = selector.grant(id);
        // These words were applied before in the same order, so none of them can fail.
        let _ = apply(&mut selector, word);
        match (before, selector.grant(id)) {
            (Grant::No, Grant::No) => {}
            (_, Grant::No) => refusing = Some(&**word),
            _ => refusing = None,
        }
    }
    refusing
}

/// Returns whether a rule is about keys. `resetkeys` alone means no keys at all, so it prevents the default
/// `allkeys`.
fn names_keys(rule: &str) -> bool {
    rule.starts_with(['~', '%']) || is_one_of(rule, &["allkeys", "resetkeys"])
}

fn names_channels(rule: &str) -> bool {
    rule.starts_with('&') || is_one_of(rule, &["allchannels", "resetchannels"])
}

fn is_one_of(rule: &str, names: &[&str]) -> bool {
    names.iter().any(|name| rule.eq_ignore_ascii_case(name))
}

fn apply(selector: &mut Selector, rule: &str) -> Result<(), Problem> {
    match rule.to_ascii_lowercase().as_str() {
        "allkeys" | "~*" => selector.keys.all(),
        "resetkeys" => selector.keys.reset(),
        "allchannels" | "&*" => selector.channels.all(),
        "resetchannels" => selector.channels.reset(),
        "allcommands" | "+@all" => selector.set_all(true),
        "nocommands" | "-@all" => selector.set_all(false),
        lower if PUBLIC.contains(&lower) => selector.allow_public(),
        "@public-scripts" | "+@public-scripts" if selector.allow_public_scripts() => {}
        "@public-scripts" | "+@public-scripts" => return Err(Problem::ScriptsWithoutPublic),
        "-@public" | "-@public-scripts" => return Err(Problem::PublicRefused),
        lower => return apply_sign(selector, rule, lower),
    }
    Ok(())
}

fn apply_sign(selector: &mut Selector, rule: &str, lower: &str) -> Result<(), Problem> {
    if let Some(pattern) = rule.strip_prefix('~') {
        return key_pattern(selector, KeyUse::BOTH, pattern);
    }
    if let Some(rest) = rule.strip_prefix('%') {
        let (permission, pattern) = permission(rest).ok_or(Problem::KeyPermission)?;
        return key_pattern(selector, permission, pattern);
    }
    if let Some(pattern) = rule.strip_prefix('&') {
        return channel_pattern(selector, pattern);
    }
    let allow = lower.starts_with('+');
    match lower.strip_prefix(['+', '-']) {
        Some(name) => match name.strip_prefix('@') {
            Some(category) => {
                let category = Categories::from_name(category).ok_or(Problem::UnknownCategory)?;
                selector.set_category(category, allow);
                Ok(())
            }
            // The name is in lower case. Only error messages show the word as it was written.
            None if allow => allow_name(selector, name),
            None => refuse_name(selector, name),
        },
        None => Err(no_rule(lower)),
    }
}

fn no_rule(lower: &str) -> Problem {
    const OF_USERS: [&str; 9] = [
        "on",
        "off",
        "nopass",
        "resetpass",
        "reset",
        "sanitize-payload",
        "skip-sanitize-payload",
        "clearselectors",
        "default",
    ];
    let name = lower.strip_prefix('@').unwrap_or(lower);
    let is_known =
        lookup(name.as_bytes()).is_some() || Categories::from_name(name).is_some() || name == "all";
    if lower.starts_with('(') {
        Problem::Nested
    } else if lower.starts_with(['>', '<', '#', '!']) || OF_USERS.contains(&lower) {
        Problem::NotOfCommands
    } else if is_known {
        Problem::NoSign(lower.to_owned())
    } else {
        Problem::NotARule
    }
}

fn key_pattern(selector: &mut Selector, permission: KeyUse, pattern: &str) -> Result<(), Problem> {
    if selector.keys.is_all() {
        return Err(Problem::AfterAll { all: "allkeys", reset: "resetkeys" });
    }
    selector.keys.add(permission, Pattern::new(pattern)?);
    Ok(())
}

fn channel_pattern(selector: &mut Selector, pattern: &str) -> Result<(), Problem> {
    let pattern = Pattern::new(pattern)?;
    if selector.channels.is_all() && !opens_control(&pattern) {
        return Err(Problem::AfterAll { all: "allchannels", reset: "resetchannels" });
    }
    selector.channels.add(pattern);
    Ok(())
}

/// Parses `R~pattern`, `W~pattern` or `RW~pattern`, each letter once.
fn permission(rest: &str) -> Option<(KeyUse, &str)> {
    let (letters, pattern) = rest.split_once('~')?;
    let permission = match letters.to_ascii_lowercase().as_str() {
        "r" => KeyUse::READ,
        "w" => KeyUse::WRITE,
        "rw" | "wr" => KeyUse::BOTH,
        _ => return None,
    };
    Some((permission, pattern))
}

fn allow_name(selector: &mut Selector, name: &str) -> Result<(), Problem> {
    match Named::read(name)? {
        Named::Known(id) => selector.set(id, true),
        Named::FirstArgument(id, argument) => selector.allow_first_argument(id, argument),
        Named::Unknown => {
            selector.set_unknown(name, true);
        }
    }
    Ok(())
}

fn refuse_name(selector: &mut Selector, name: &str) -> Result<(), Problem> {
    match Named::read(name)? {
        Named::Known(id) => selector.set(id, false),
        Named::FirstArgument(id, _) => return Err(Problem::FirstArgumentRefused(id.name())),
        Named::Unknown if selector.set_unknown(name, false) => {}
        Named::Unknown => return Err(Problem::UnknownRefused(nearest(name))),
    }
    Ok(())
}

/// The meaning of a name in lower case.
enum Named<'t> {
    Known(CommandId),
    FirstArgument(CommandId, &'t str),
    Unknown,
}

impl<'t> Named<'t> {
    fn read(name: &'t str) -> Result<Self, Problem> {
        let (top, rest) = match name.split_once('|') {
            Some((top, rest)) => (top, Some(rest)),
            None => (name, None),
        };
        if top.is_empty() || rest == Some("") {
            return Err(Problem::NoName);
        }
        let id = lookup(top.as_bytes());
        match (id, rest) {
            (Some(id), None) => Ok(Self::Known(id)),
            (Some(id), Some(rest)) if id.is_container() => match rest.split_once('|') {
                Some((subcommand, _)) => Err(Problem::ArgumentOfSubcommand(format!("{top}|{subcommand}"))),
                None => match lookup_subcommand(id, rest.as_bytes()) {
                    Some(id) => Ok(Self::Known(id)),
                    None => plain(rest).map(|()| Self::Unknown),
                },
            },
            // Redis splits the name at its last bar, and knows no command with a bar in its name.
            (Some(_), Some(rest)) if rest.contains('|') => Err(Problem::NoName),
            (Some(id), Some(rest)) => Ok(Self::FirstArgument(id, rest)),
            (None, None) => plain(top).map(|()| Self::Unknown),
            (None, Some(_)) => Err(Problem::ArgumentOfUnknown(top.to_owned())),
        }
    }
}

fn plain(name: &str) -> Result<(), Problem> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.len() <= MAX_NAME && name.bytes().all(fine) { Ok(()) } else { Err(Problem::OddName) }
}

/// Returns a name of the table that differs from this name by one letter: another letter, one more, one less, or two
/// exchanged.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let names = CommandId::all().filter(|id| *id != CommandId::UNKNOWN).map(CommandId::name);
    within(name, names, 1)
}
