//! INFO of a cluster: the reply of one node, with the keys of all masters.

use std::collections::BTreeMap;

use portcullis_resp::encode;
use portcullis_resp::scan::arguments;

/// The section that is made of those of all masters.
const HEADER: &str = "# Keyspace\r\n";

/// The sections that have the keyspace in them.
const WITH_KEYS: [&[u8]; 4] = [b"keyspace", b"default", b"all", b"everything"];

/// The INFO of one node, and the keys of all that have answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// The text of the first node. `None`: it has not answered.
    text: Option<String>,
    is_verbatim: bool,
    /// The numbers of each database, in the order of the nodes: `db0` and `keys`, for example.
    databases: BTreeMap<u32, Vec<(String, u64)>>,
    /// The number of masters that have not answered.
    pub(super) missing: usize,
}

/// Returns whether the reply to an INFO has the keyspace.
pub(crate) fn has_keys(frame: &[u8]) -> bool {
    let mut sections = arguments(frame).skip(1).peekable();
    sections.peek().is_none()
        || sections.any(|section| WITH_KEYS.iter().any(|name| name.eq_ignore_ascii_case(section)))
}

impl Info {
    pub(crate) fn missing(missing: usize) -> Self {
        Self { missing, ..Self::default() }
    }

    /// Adds the reply of a node. `None`: it is no reply to INFO.
    pub(super) fn add(&mut self, reply: &[u8]) -> Option<()> {
        let end = reply.iter().position(|byte| *byte == b'\n')?;
        let body = reply.get(end + 1..)?.strip_suffix(b"\r\n")?;
        let is_verbatim = reply.first() == Some(&b'=');
        let body = if is_verbatim { body.strip_prefix(b"txt:")? } else { body };
        let text = String::from_utf8_lossy(body).into_owned();
        let keyspace = text.split_once(HEADER).map_or("", |(_, rest)| rest);
        for line in keyspace.lines().take_while(|line| !line.starts_with('#')) {
            self.add_database(line);
        }
        if self.text.is_none() {
            (self.text, self.is_verbatim) = (Some(text), is_verbatim);
        }
        Some(())
    }

    /// Adds the numbers of a line such as `db0:keys=3,expires=1,avg_ttl=1000`.
    fn add_database(&mut self, line: &str) {
        let Some((name, fields)) = line.split_once(':') else { return };
        let Some(number) = name.strip_prefix("db").and_then(|number| number.parse().ok()) else { return };
        let numbers = fields.split(',').filter_map(|field| {
            let (name, value) = field.split_once('=')?;
            Some((name.to_owned(), value.trim_end().parse::<u64>().ok()?))
        });
        let mut numbers: Vec<(String, u64)> = numbers.collect();
        let expires = value(&numbers, "expires");
        let all = self.databases.entry(number).or_default();
        let before = value(all, "expires");
        for (name, number) in &mut numbers {
            let known = value(all, name);
            *number = if name == "avg_ttl" {
                // The average over the keys that expire.
                known
                    .saturating_mul(before)
                    .saturating_add(number.saturating_mul(expires))
                    .checked_div(before.saturating_add(expires))
                    .unwrap_or(0)
            } else {
                known.saturating_add(*number)
            };
        }
        *all = numbers;
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        let text = self.text.unwrap_or_default();
        let Some((before, rest)) = text.split_once(HEADER) else { return bulk(out, &text, self.is_verbatim) };
        let after = rest.split_once("# ").map_or(String::new(), |(_, after)| format!("\r\n# {after}"));
        let mut joined = before.to_owned();
        if self.missing > 0 {
            joined +=
                &format!("# portcullis: without the keys of {} masters that do not answer\r\n", self.missing);
        }
        joined += HEADER;
        for (number, fields) in self.databases {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            joined += &format!("db{number}:{}\r\n", fields.join(","));
        }
        joined += &after;
        bulk(out, &joined, self.is_verbatim);
    }

    pub(super) fn held(&self) -> usize {
        self.text.as_ref().map_or(0, String::capacity)
            + self.databases.len() * size_of::<[(String, u64); 4]>()
    }
}

fn value(fields: &[(String, u64)], name: &str) -> u64 {
    fields.iter().find(|(own, _)| own == name).map_or(0, |(_, value)| *value)
}

fn bulk(out: &mut Vec<u8>, text: &str, is_verbatim: bool) {
    if is_verbatim {
        out.extend_from_slice(format!("={}\r\ntxt:{text}\r\n", text.len() + 4).as_bytes());
    } else {
        encode::bulk(out, text.as_bytes());
    }
}
