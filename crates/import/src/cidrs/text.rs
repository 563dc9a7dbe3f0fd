//! Plain text, YAML and Terraform: finds every address, and what the words of its line, its headings and its block say
//! about it.

mod comments;
mod lines;

use super::meaning::{Meaning, has_ports, has_tcp};
use super::{Found, has_redis_port, is_like_an_address};
use comments::Comments;
use lines::Line;

/// The types of Terraform's resources whose addresses are clients.
const RESOURCES: [&str; 12] = [
    "alicloud_kvstore_instance",
    "alicloud_security_group_rule",
    "aws_network_acl",
    "aws_network_acl_rule",
    "aws_security_group",
    "aws_security_group_rule",
    "aws_vpc_security_group_ingress_rule",
    "azurerm_network_security_group",
    "azurerm_network_security_rule",
    "google_compute_firewall",
    "tencentcloud_security_group_lite_rule",
    "tencentcloud_security_group_rule_set",
];
/// The keys of a rule that say whether it admits.
const ACTIONS: [&str; 9] =
    ["type", "action", "access", "policy", "direction", "effect", "rule_action", "mode", "status"];

/// A block in braces, as in Terraform, or the whole text.
#[derive(Default)]
struct Block {
    meaning: Meaning,
    /// Whether the block is `allow { ... }` or `deny { ... }` inside a rule, which it describes.
    describes: bool,
    section: Meaning,
    /// The headings above the line, each with its indentation.
    headings: Vec<(usize, Meaning)>,
    from: Option<i64>,
    to: Option<i64>,
    found: Vec<(Line, Meaning)>,
}

/// Finds the addresses in a text.
pub(super) fn find(text: &str) -> Vec<Found> {
    let mut blocks = Blocks { outer: Vec::new(), inner: Block::default(), found: Vec::new() };
    let mut comments = Comments::default();
    for (number, written) in (1..).zip(text.lines()) {
        let written = comments.without(written);
        let mut rest = written.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            let line = Line::of(number, &rest[..at]);
            match rest[at..].starts_with('{') {
                true => blocks.open(line),
                false => {
                    blocks.inner.line(line);
                    blocks.close();
                }
            }
            rest = &rest[at + 1..];
        }
        blocks.inner.line(Line::of(number, rest));
    }
    while !blocks.outer.is_empty() {
        blocks.close();
    }
    let mut found = blocks.found;
    found.extend(blocks.inner.finish());
    found.sort_by_key(Found::line);
    found
}

/// The open blocks.
struct Blocks {
    outer: Vec<Block>,
    inner: Block,
    found: Vec<Found>,
}

impl Blocks {
    /// Opens a block with this header.
    fn open(&mut self, header: Line) {
        let mut block = Block::of(&header, self.inner.meaning.max(self.inner.heading()));
        if !header.addresses.is_empty() {
            block.line(header);
        }
        self.outer.push(std::mem::replace(&mut self.inner, block));
    }

    fn close(&mut self) {
        let Some(outer) = self.outer.pop() else { return };
        let closed = std::mem::replace(&mut self.inner, outer);
        if closed.describes {
            self.inner.meaning = self.inner.meaning.max(closed.whole());
        }
        self.found.extend(closed.finish());
    }
}

impl Block {
    fn of(line: &Line, around: Meaning) -> Self {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        let meaning = match words.as_slice() {
            ["resource", kind, name, ..] => match (Meaning::of(kind), RESOURCES.contains(kind)) {
                (Meaning::Elsewhere, _) => Meaning::Elsewhere,
                (_, false) => Meaning::Unknown,
                (_, true) if Meaning::of(name) == Meaning::Refuses => Meaning::Refuses,
                (_, true) => Meaning::Admits,
            },
            ["locals", ..] => Meaning::Admits,
            ["variable", name, ..] => Meaning::of(name),
            words => Meaning::of_all(words.iter().copied()),
        };
        let describes = matches!(words.as_slice(), ["allow" | "deny", ..]);
        Self { meaning: meaning.max(around), describes, ..Self::default() }
    }

    fn heading(&self) -> Meaning {
        self.headings.iter().map(|(_, meaning)| *meaning).max().unwrap_or_default().max(self.section)
    }

    fn line(&mut self, line: Line) {
        let meaning = line.meaning();
        if line.is_section {
            (self.section, self.headings) = (meaning, Vec::new());
        } else if line.addresses.is_empty() {
            self.without_address(&line, meaning);
        } else {
            if line.has_key {
                self.headings.retain(|(indent, _)| *indent < line.indent);
            }
            let meaning = meaning.max(self.heading());
            self.found.push((line, meaning));
        }
    }

    /// Reads a line without an address: a property of the block, or a heading.
    fn without_address(&mut self, line: &Line, meaning: Meaning) {
        // The heading of the table that `ufw status` prints, and the policies of chains that `iptables-save` prints.
        let is_policy = |words: &[String]| matches!(words, [chain, policy, ..] if chain.starts_with(':') && ["ACCEPT", "DROP"].contains(&policy.as_str()));
        if line.words == ["To", "Action", "From"] || line.words == ["*filter"] || is_policy(&line.words) {
            return;
        }
        let Some((key, values)) = line.words.split_first() else { return };
        if line.opens_list || !line.has_key {
            self.headings.retain(|(indent, _)| *indent < line.indent);
            self.headings.push((line.indent, meaning));
            return;
        }
        self.headings.retain(|(indent, _)| *indent < line.indent);
        let (key, value) = (key.to_ascii_lowercase(), values.join(","));
        let port = || value.trim_matches(',').parse().ok();
        let said = match key.as_str() {
            "from_port" => {
                self.from = port();
                Meaning::Admits
            }
            "to_port" => {
                self.to = port();
                Meaning::Admits
            }
            key if ACTIONS.contains(&key) => Meaning::of_all(values.iter().map(String::as_str)),
            key if key.ends_with("protocol") && !has_tcp(&value) => Meaning::OtherPort,
            key if is_port(key) && !has_ports(&value) => Meaning::OtherPort,
            "disabled" | "enabled" if (value == "true") != (key == "enabled") => Meaning::Unknown,
            _ if meaning == Meaning::Refuses && !["", "false", "no"].contains(&value.as_str()) => {
                Meaning::Unknown
            }
            _ => Meaning::Admits,
        };
        self.meaning = self.meaning.max(said);
    }

    /// Returns the meaning of the block with its ports.
    fn whole(&self) -> Meaning {
        let other = |from| !has_redis_port(from, self.to.unwrap_or(from));
        match self.from.is_some_and(other) {
            true => self.meaning.max(Meaning::OtherPort),
            false => self.meaning,
        }
    }

    /// Returns the addresses of the block, each as admitted, refused or left out.
    fn finish(self) -> Vec<Found> {
        let whole = self.whole();
        let found = self.found.iter().flat_map(|(line, meaning)| line.found((*meaning).max(whole)));
        found.collect()
    }
}

fn is_port(key: &str) -> bool {
    let key = key.replace('_', "");
    !key.starts_with("source")
        && ["port", "ports", "portrange", "portranges"].iter().any(|end| key.ends_with(end))
}
