//! The tables of `show all`. The words of their headings depend on the language, so a heading is recognized by its
//! form: columns above a line of dashes.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use portcullis_config::message::Message;

use super::{Families, Forward};
use crate::place;

/// The number of lines above the dashes that belong to a heading: the names of the columns, and the address families.
const HEADING: usize = 2;

/// The lines that are headings, and the address families of the rows below each heading.
pub(super) struct Tables {
    headings: HashSet<usize>,
    /// The address families by the number of the line of dashes. `None` if the heading names no families.
    families: HashMap<usize, Option<Families>>,
}

impl Tables {
    pub(super) fn of(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut tables = Self { headings: HashSet::new(), families: HashMap::new() };
        for at in (0..lines.len()).filter(|at| is_rule(lines[*at])) {
            let above = lines[..at].iter().enumerate().rev().filter(|(_, line)| !line.is_empty());
            // The last word of a row is a port. A heading has no port.
            let heading = above.take_while(|(_, line)| !is_row(line) && !is_rule(line)).take(HEADING);
            let heading: Vec<(usize, &str)> = heading.map(|(above, line)| (above, *line)).collect();
            let families = heading.iter().find_map(|(_, line)| Families::of_heading(line));
            tables.headings.extend(heading.iter().map(|(above, _)| above + 1).chain([at + 1]));
            tables.families.insert(at + 1, families);
        }
        tables
    }

    pub(super) fn is_heading(&self, line: usize) -> bool {
        self.headings.contains(&line)
    }

    /// Reads a row: four words, of which the last is a port. Returns `None` for another line. The error is the reason
    /// why a row cannot be carried over.
    pub(super) fn row(&self, line: usize, written: &str) -> Option<Result<Forward, Message>> {
        let words: Vec<&str> = written.split_whitespace().collect();
        let [listen, listen_port, connect, connect_port] = words[..] else { return None };
        place::port(connect_port)?;
        let heading = self.families.iter().filter(|(rule, _)| **rule < line).max_by_key(|(rule, _)| **rule);
        let known = heading.and_then(|(_, families)| *families);
        let remark = (known.is_none() && listen == "*")
            .then_some("its table does not say whether it listens on IPv4 or IPv6: IPv4 is taken");
        let families = known.unwrap_or_else(|| Families::of_row(listen, connect));
        let forward = families.row(listen, listen_port, connect, connect_port).map(|(bind, to)| Forward {
            line,
            written: written.to_owned(),
            bind,
            to,
            remark,
        });
        Some(forward)
    }
}

impl Families {
    /// Reads the two address families in a heading. They are written as `ipv4` and `ipv6` in every language.
    fn of_heading(line: &str) -> Option<Self> {
        let line = line.to_ascii_lowercase();
        let found: Vec<bool> = line
            .match_indices("ipv")
            .filter_map(|(at, _)| match line.get(at + 3..at + 4)? {
                "4" => Some(false),
                "6" => Some(true),
                _ => None,
            })
            .collect();
        match found[..] {
            [listen_v6, connect_v6] => Some(Self { listen_v6, connect_v6 }),
            _ => None,
        }
    }

    fn of_row(listen: &str, connect: &str) -> Self {
        let is_v6 = |text: &str| text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
        Self { listen_v6: is_v6(listen), connect_v6: is_v6(connect) }
    }
}

/// Returns whether the line has only dashes, as the line below the names of the columns does.
fn is_rule(line: &str) -> bool {
    let mut words = line.split_whitespace();
    line.contains("--") && words.all(|word| word.bytes().all(|byte| byte == b'-'))
}

fn is_row(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words[..], [_, _, _, port] if place::port(port).is_some())
}
