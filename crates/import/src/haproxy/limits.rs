//! Limits: stick tables, the counters that use them, and rules that refuse a source with too many connections.

use std::collections::HashMap;

use super::section::{Kind, Section};
use crate::draft::{self, Period, Rate, Unit};
use crate::notes::Notes;

/// A limit on the connections of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// The most connections at a time.
    Clients(u64),
    /// The most new connections in a period.
    Connects(Rate),
}

/// The stick tables of the file, and the table of each counter in one section.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    own: String,
    /// The period of `store conn_rate(PERIOD)`, by the name of the table.
    rates: HashMap<String, Period>,
    /// The table of each counter `track-scN src`. `None` if the counter tracks something else.
    counters: HashMap<String, Option<String>>,
}

impl Tables {
    pub(super) fn read(section: &Section, sections: &[Section]) -> Self {
        let mut tables = Self { own: section.name.clone(), ..Self::default() };
        for section in sections.iter().filter(|section| section.kind != Kind::Defaults) {
            let table = section.lines.iter().find(|line| line.word(0) == "stick-table");
            let rate = table.and_then(|table| table.words.iter().find_map(|word| period(word)));
            tables.rates.extend(rate.map(|rate| (section.name.clone(), rate)));
        }
        for line in section.lines.iter().filter(|line| line.word(0) == "tcp-request") {
            let Some(counter) = line.word(2).strip_prefix("track-sc") else { continue };
            let table = match (line.word(4), line.word(5)) {
                ("table", table) => table.to_owned(),
                _ => section.name.clone(),
            };
            let tracked = (line.word(3) == "src" && !line.uncertain).then_some(table);
            let counter = tables.counters.entry(counter.to_owned());
            // If two lines set a counter in different ways, its meaning is in doubt.
            counter
                .and_modify(|other| *other = other.clone().filter(|_| other == &tracked))
                .or_insert(tracked);
        }
        tables
    }

    /// Reads a test such as `src_conn_rate gt 20` or `sc0_conn_cur ge 20`. Returns `None` if the test is not a limit on
    /// the connections of a source.
    pub(super) fn limit(&self, words: &[String]) -> Option<Limit> {
        let [fetch, count @ ..] = words else { return None };
        let most = match count.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["gt", count] => count.parse::<u64>().ok(),
            ["ge", count] => count.parse::<u64>().ok()?.checked_sub(1),
            _ => None,
        };
        // A rule with the limit 0 refuses every connection, so it is not a limit.
        let most = most.filter(|most| *most > 0)?;
        let (name, argument) = match fetch.split_once('(') {
            Some((name, rest)) => (name, Some(rest.strip_suffix(')')?)),
            None => (fetch.as_str(), None),
        };
        let (counts, table) = match name {
            "src_conn_rate" => ("rate", argument.unwrap_or(&self.own).to_owned()),
            "src_conn_cur" => ("cur", argument.unwrap_or(&self.own).to_owned()),
            name => {
                let (counter, counts) = match (name.strip_prefix("sc_conn_"), argument) {
                    (Some(counts), Some(counter)) => (counter, counts),
                    (None, None) => name.strip_prefix("sc")?.split_once("_conn_")?,
                    _ => return None,
                };
                (counts, self.counters.get(counter)?.clone()?)
            }
        };
        match counts {
            "cur" => Some(Limit::Clients(most)),
            "rate" => Some(Limit::Connects(Rate { most, period: *self.rates.get(&table)? })),
            _ => None,
        }
    }
}

/// Returns the period of `conn_rate(10s)` in the list of values that a table stores.
fn period(stored: &str) -> Option<Period> {
    let rate = stored.split(',').find_map(|item| item.strip_prefix("conn_rate("));
    let rate = match rate {
        Some(rate) => rate.strip_suffix(')')?,
        None => return None,
    };
    let digits = rate.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = rate.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let unit = match unit {
        // HAProxy reads a number without a unit as milliseconds.
        "" | "ms" => Unit::Milliseconds,
        "s" => Unit::Seconds,
        "m" => Unit::Minutes,
        "h" => Unit::Hours,
        "d" => Unit::Days,
        _ => return None,
    };
    Some(Period { number, unit })
}

/// Adds a limit to the limits of a listener, whose section begins at `line`. Of several limits on connections at a time
/// the lowest applies. A listener has one rate: of several, the one with the fewest connections on average applies.
pub(super) fn add(limits: &mut draft::Limits, limit: &Limit, line: usize, notes: &mut Notes) {
    match limit {
        Limit::Clients(most) => {
            limits.source_clients = Some(limits.source_clients.map_or(*most, |other| other.min(*most)));
        }
        Limit::Connects(rate) => {
            let other = limits.source_connects.filter(|other| other != rate);
            if other.is_some() {
                let text = "it has several limits on the rate of connections, and the gate has one: the rate with the \
                            fewest connections on average is used";
                notes.remark(line, text);
            }
            limits.source_connects = Some(other.filter(|other| other.is_lower_than(*rate)).unwrap_or(*rate));
        }
    }
}
