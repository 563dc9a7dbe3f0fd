//! Writes the rules as an `ACL SETUSER` command, because only Redis itself can restrict the commands of a script.

use portcullis_resp::command::{Categories, CommandId, Servers, id};

use super::channel::reaches_control;
use super::pattern::Pattern;
use super::selector::{Grant, KeyUse, Selector};
use super::{CommandRules, by_own_name_only};

/// The rights of Redis's own user for clients under [`CommandRules`] with `@public-scripts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUser {
    line: String,
    left_out: Vec<String>,
}

impl RedisUser {
    /// Makes the user that may do only what all of `rules` allow: those of a listener, of a user, or both. Rules in
    /// parentheses are left out, unless they contain `@public-scripts`.
    #[must_use]
    pub fn new(name: &str, rules: &[&CommandRules]) -> Self {
        let selectors: Vec<&Selector> = rules.iter().filter_map(|rules| bound(rules)).collect();
        let mut words: Vec<String> =
            ["ACL", "SETUSER", name, "on", "clearselectors", "resetkeys", "resetchannels"]
                .map(str::to_owned)
                .into();
        commands(&selectors, &mut words);
        words.extend(keys(&selectors));
        let (reaching, channels): (Vec<_>, Vec<_>) =
            channels(&selectors).into_iter().partition(reaches_control);
        let words_of =
            |patterns: &[Pattern]| patterns.iter().map(|pattern| format!("&{pattern}")).collect::<Vec<_>>();
        words.extend(words_of(&channels));
        let line = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        Self { line, left_out: words_of(&reaching) }
    }

    /// Returns the command for redis-cli. The command has no passwords, so the user keeps its present passwords.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Returns the channel patterns that are left out. They match channels that Redis itself uses, and Redis does not
    /// close these channels.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }
}

/// Returns the selector that allows scripts, or the first selector if none does.
fn bound(rules: &CommandRules) -> Option<&Selector> {
    let mut selectors = rules.selectors.iter();
    selectors.find(|selector| selector.has_public_scripts()).or_else(|| rules.selectors.first())
}

/// The first words of the command. They refuse whole categories, because later versions of Redis add their dangerous
/// commands to these categories.
const BASE: [&str; 5] = ["-@all", "+@all", "-@admin", "-@dangerous", "-@scripting"];

const REFUSED: Categories =
    Categories::of(&[Categories::ADMIN, Categories::DANGEROUS, Categories::SCRIPTING]);

/// Adds the words about commands. Only commands of Redis 7.0 are named, because Redis 7.0 refuses a rule with any
/// other name.
fn commands(selectors: &[&Selector], words: &mut Vec<String>) {
    let is_allowed = |id: CommandId| {
        !by_own_name_only(id) && selectors.iter().all(|selector| selector.grant(id) == Grant::Yes)
    };
    let is_there = |id: &CommandId| id.info().servers.contains(Servers::REDIS_7);
    let by_base = |id: CommandId| !id.info().categories.intersects(REFUSED);
    let difference = |id: CommandId| match (is_allowed(id), by_base(id)) {
        (true, false) => Some(format!("+{}", id.name())),
        (false, true) => Some(format!("-{}", id.name())),
        _ => None,
    };
    words.extend(BASE.map(str::to_owned));
    let known = CommandId::all().filter(|id| *id != CommandId::UNKNOWN && id.top() == *id);
    for top in known.filter(|id| *id != id::SENTINEL).filter(is_there) {
        if !top.is_container() {
            words.extend(difference(top));
        } else if top.subcommands().filter(is_there).any(is_allowed) {
            words.extend(top.subcommands().filter(is_there).filter_map(difference));
        } else {
            words.push(format!("-{}", top.name()));
        }
    }
}

/// Returns the key rules. Empty if no key is allowed.
fn keys(selectors: &[&Selector]) -> Vec<String> {
    let mut within: Option<Vec<(KeyUse, Pattern)>> = None;
    for selector in selectors.iter().filter(|selector| !selector.keys.is_all()) {
        let own = selector.keys.list();
        within = Some(match within {
            None => own.to_vec(),
            Some(others) => both(&others, own, |(a, inner), (b, outer)| {
                outer.covers(inner).then(|| (a.common_with(*b), inner.clone()))
            }),
        });
    }
    match within {
        None => vec!["~*".to_owned()],
        Some(patterns) => patterns.iter().filter_map(|(key_use, pattern)| key_use.word(pattern)).collect(),
    }
}

/// Returns the channel patterns. If the rules have no channel patterns, all channels stay closed, because Redis could
/// not keep its own channels closed.
fn channels(selectors: &[&Selector]) -> Vec<Pattern> {
    let mut within: Option<Vec<Pattern>> = None;
    for selector in selectors.iter().filter(|selector| !selector.channels.is_all()) {
        let own = selector.channels.list();
        within = Some(match within {
            None => own.to_vec(),
            Some(others) => both(&others, own, |inner, outer| outer.covers(inner).then(|| inner.clone())),
        });
    }
    within.unwrap_or_default()
}

/// Returns the patterns of each list that a pattern of the other list covers. Texts that match a pattern of each
/// list, but no covered one, are lost.
fn both<P: PartialEq>(one: &[P], other: &[P], within: impl Fn(&P, &P) -> Option<P>) -> Vec<P> {
    let mut found: Vec<P> = Vec::new();
    for (inner, outer) in [(one, other), (other, one)] {
        let covered = inner.iter().flat_map(|inner| outer.iter().filter_map(|outer| within(inner, outer)));
        for pattern in covered {
            if !found.contains(&pattern) {
                found.push(pattern);
            }
        }
    }
    found
}

/// Quotes a word so that redis-cli, which interprets quotes and backslashes, reads it unchanged.
fn quoted(word: &str) -> String {
    if !word.contains(['"', '\'', '\\']) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
