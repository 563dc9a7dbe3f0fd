//! Plain text and Terraform: finds every address, except in lines that refuse or describe, and in blocks about other
//! ports.

use portcullis_config::message::message;

use super::{Found, has_redis_port, is_like_an_address};
use crate::network::REDIS_PORT;

/// The words in a line that refuses the addresses, or means the opposite.
const REFUSALS: [&str; 9] =
    ["deny", "denied", "drop", "reject", "refuse", "block", "blocked", "not", "except"];
/// The names of values that contain a description and not a list.
const PROSE: [&str; 6] = ["description", "comment", "note", "name", "remark", "owner"];

/// A block in braces, as in Terraform.
#[derive(Default)]
struct Block {
    outbound: bool,
    from: Option<i64>,
    to: Option<i64>,
    found: Vec<Found>,
}

/// Finds the addresses in a text.
pub(super) fn find(text: &str) -> Vec<Found> {
    let mut blocks = vec![Block::default()];
    for (line, written) in (1..).zip(text.lines()) {
        let written = without_comment(written);
        if written.contains('{') {
            let outbound =
                ["egress", "outbound"].iter().any(|word| written.to_ascii_lowercase().contains(word));
            let around = blocks.last().is_some_and(|block| block.outbound);
            blocks.push(Block { outbound: outbound || around, ..Block::default() });
        }
        if let Some(block) = blocks.last_mut() {
            block.line(line, written);
        }
        if written.contains('}') && blocks.len() > 1 {
            let closed = blocks.pop().map(|block| block.finish(line)).unwrap_or_default();
            if let Some(block) = blocks.last_mut() {
                block.found.extend(closed);
            }
        }
    }
    let last = text.lines().count().max(1);
    blocks.into_iter().flat_map(|block| block.finish(last)).collect()
}

impl Block {
    fn line(&mut self, line: usize, written: &str) {
        let words: Vec<&str> = written
            .split(|c: char| c.is_whitespace() || ",;\"'()[]{}|<>=".contains(c))
            .map(|word| word.trim_end_matches(['.', ':']))
            .filter(|word| !word.is_empty())
            .collect();
        let is = |word: &str, list: &[&str]| list.iter().any(|known| word.eq_ignore_ascii_case(known));
        match words.as_slice() {
            ["from_port", port, ..] => self.from = port.parse().ok(),
            ["to_port", port, ..] => self.to = port.parse().ok(),
            _ => {}
        }
        let addresses = words.iter().filter(|word| is_like_an_address(word.trim_start_matches('!')));
        if addresses.clone().next().is_none() {
            return;
        }
        if words.iter().any(|word| is(word, &PROSE)) {
            self.found.push(Found::skipped(
                line,
                "an address",
                "it stands in a text that describes something",
            ));
        } else if words.iter().any(|word| is(word, &REFUSALS))
            || words.iter().any(|word| word.starts_with('!'))
        {
            self.found.push(Found::skipped(line, "an address", "its line refuses, or means the opposite"));
        } else {
            self.found.extend(words.iter().filter_map(|word| Found::of(line, word, false)));
        }
    }

    /// Returns the addresses of the block. If the block does not concern clients of Redis, returns one note in their
    /// place.
    fn finish(self, line: usize) -> Vec<Found> {
        let ports = self.from.map(|from| has_redis_port(from, self.to.unwrap_or(from)));
        let why = match (self.outbound, ports) {
            (true, _) => "it is about connections to elsewhere".into(),
            (false, Some(false)) => message!("its ports do not include {}", REDIS_PORT),
            _ => return self.found,
        };
        match self.found.is_empty() {
            true => Vec::new(),
            false => vec![Found::skipped(line, "the block that ends here", why)],
        }
    }
}

/// Returns the line without its comment. A comment is `#`, `;` or `//` at the beginning of the line or after a space.
fn without_comment(line: &str) -> &str {
    let mut end = line.len();
    for mark in ["#", ";", "//"] {
        for (at, _) in line.match_indices(mark) {
            let begins = line[..at].chars().next_back().is_none_or(char::is_whitespace);
            if begins {
                end = end.min(at);
                break;
            }
        }
    }
    &line[..end]
}
