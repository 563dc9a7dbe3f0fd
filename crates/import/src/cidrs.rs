//! Lists of addresses in any form: JSON of security groups and cloud ranges, Terraform, plain text.

mod json;
mod meaning;
mod text;

use std::path::Path;

use portcullis_config::message::{Masked, Message, message};

use super::at::At;
use super::draft::Draft;
use super::express::Entry;
use super::network::{NOWHERE, REDIS_PORT, door, network};
use super::notes::{Notes, What};
use super::review::{Class, Review};
use super::sources::Net;
use meaning::Meaning;

/// An address or another part of the file that the notes mention.
enum Found {
    Allow {
        line: usize,
        net: Net,
    },
    Deny {
        line: usize,
        net: Net,
    },
    Skipped {
        line: usize,
        what: Message,
        why: Message,
    },
    /// A refusal that cannot be carried over, so that `allow` may be too wide.
    Doubtful {
        line: usize,
        what: Message,
        why: Message,
    },
}

impl Found {
    /// Reads a word that may be an address. Returns `None` if the word does not look like an address.
    fn of(line: usize, word: &str, meaning: Meaning) -> Option<Self> {
        match (network(word), meaning) {
            (Ok(net), Meaning::Admits) => Some(Self::Allow { line, net }),
            (Ok(net), Meaning::Refuses) => Some(Self::Deny { line, net }),
            (Ok(net), _) => Some(Self::skipped(line, message!("{}", net), meaning.reason())),
            (Err(_), _) if !is_like_an_address(word) => None,
            (Err(why), Meaning::Refuses) => {
                Some(Self::Doubtful { line, what: message!("{}", Masked::of(word)), why: why.into() })
            }
            (Err(why), _) => Some(Self::skipped(line, message!("{}", Masked::of(word)), why)),
        }
    }

    fn skipped(line: usize, what: impl Into<Message>, why: impl Into<Message>) -> Self {
        Self::Skipped { line, what: what.into(), why: why.into() }
    }

    fn line(&self) -> usize {
        match self {
            Self::Allow { line, .. }
            | Self::Deny { line, .. }
            | Self::Skipped { line, .. }
            | Self::Doubtful { line, .. } => *line,
        }
    }
}

impl What for &Found {
    fn message(self, _: &Notes) -> Message {
        match self {
            Found::Allow { net, .. } | Found::Deny { net, .. } => message!("{}", *net),
            Found::Skipped { what, .. } | Found::Doubtful { what, .. } => what.clone(),
        }
    }
}

/// Imports the addresses in any text.
///
/// # Errors
/// The file has no address that may be allowed.
pub(super) fn import(text: &str, path: &Path, draft: &mut Draft, notes: &mut Notes) -> Result<(), Message> {
    let found = match serde_json::from_str(text) {
        Ok(value) => json::find(&value),
        Err(_) => text::find(text),
    };
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let group = stem.filter(|stem| !stem.is_empty() && stem != "-").unwrap_or_else(|| "imported".to_owned());
    let (mut allow, mut deny): (Vec<Entry>, Vec<Entry>) = (Vec::new(), Vec::new());
    let places = found.iter().map(|found| (At::from(found.line()), found));
    let review = Review::of(places, notes, |found, notes| {
        match found {
            Found::Skipped { line, what, why } => notes.left_out(*line, what.clone(), why.clone()),
            Found::Allow { line, net } => {
                if Net::all()[..2].contains(net) {
                    notes.remark(*line, message!("{} admits every client of its family", *net));
                }
                push(&mut allow, *net, Some(group.clone()));
            }
            Found::Deny { line, net } => {
                notes.remark(*line, message!("{} is in deny: its line or key refuses", *net));
                push(&mut deny, *net, None);
            }
            Found::Doubtful { why, .. } => return Class::doubtful(why.clone()),
        }
        Class::Understood
    });
    if allow.is_empty() {
        return Err("there is no address in it that may be allowed".into());
    }
    draft.add(door(allow, deny, &review, None), notes);
    notes.left_out(1, "where Redis is", message!("the list does not say it: replace {}", NOWHERE));
    Ok(())
}

fn push(list: &mut Vec<Entry>, net: Net, group: Option<String>) {
    let entry = Entry { net, origin: "".into(), group };
    if !list.contains(&entry) {
        list.push(entry);
    }
}

/// Returns whether a range of ports includes the port of Redis.
fn has_redis_port(from: i64, to: i64) -> bool {
    // -1 stands for all ports, and in Terraform the range from 0 to 0 does so too.
    from == -1 || from == 0 && to == 0 || (from..=to).contains(&REDIS_PORT.into())
}

/// Returns whether a word was meant as an address: it has only characters of addresses, and at least three dots or two
/// colons.
fn is_like_an_address(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_hexdigit() || ".:/-*".contains(c);
    let dots = word.matches('.').count() >= 3 && word.contains(|c: char| c.is_ascii_digit());
    (dots || word.matches(':').count() >= 2) && word.chars().all(fits)
}

#[cfg(test)]
mod tests;
