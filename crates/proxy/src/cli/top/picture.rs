//! The content of the view: the same as text and on the terminal.

use serde_json::Value;

use super::feed::{Lists, Update};
use crate::cli::clients;
use crate::cli::shown::{byte_rate, cell, items, milliseconds, moment, total, upstream_state};
use crate::cli::status::{connections, refused_source};
use crate::cli::table::aligned;

/// The refused sources that are shown, the latest first.
const MOST_SOURCES: usize = 5;

/// The newest answers of the proxy.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    endpoint: String,
    sample: Value,
    lists: Lists,
    offline: Option<String>,
}

/// A table with its title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Picture {
    /// Returns a view without answers. `endpoint` is shown as its address.
    pub(super) fn new(endpoint: String) -> Self {
        Self { endpoint, sample: Value::Null, lists: Lists::default(), offline: None }
    }

    /// Takes an update.
    pub(super) fn apply(&mut self, update: Update) {
        match update {
            Update::Sample(sample) => self.set_sample(sample),
            Update::Lists(lists) => self.set_lists(lists),
            Update::Offline(why) => self.offline = Some(why),
        }
    }

    pub(super) fn set_sample(&mut self, sample: Value) {
        self.sample = sample;
        self.offline = None;
    }

    pub(super) fn set_lists(&mut self, lists: Lists) {
        self.lists = lists;
    }

    /// Returns the reason why the values are old; `None` if they are not.
    pub(super) fn offline(&self) -> Option<&str> {
        self.offline.as_deref()
    }

    /// Returns the lines above the tables. They fit a terminal of 80 columns.
    pub(super) fn headline(&self) -> [String; 3] {
        let (sample, status) = (&self.sample, &self.lists.status);
        let draining = if sample["draining"] == true { "  draining" } else { "" };
        let first = format!(
            "portcullis {} on {}  {}  generation {}{draining}",
            cell(status, "version"),
            self.endpoint,
            moment(&sample["time"]),
            cell(sample, "generation"),
        );
        let second = format!(
            "clients {}/{}  commands/s {}  p50 {}  p99 {}",
            cell(sample, "clients"),
            cell(status, "limit_clients"),
            cell(sample, "commands_per_second"),
            milliseconds(&sample["p50_seconds"]),
            milliseconds(&sample["p99_seconds"]),
        );
        let third = format!(
            "refused/s {}  denied/s {}  in {}  out {}",
            cell(sample, "refused_per_second"),
            cell(sample, "denied_per_second"),
            byte_rate(&sample["bytes_from_clients_per_second"]),
            byte_rate(&sample["bytes_to_clients_per_second"]),
        );
        [first, second, third]
    }

    /// Returns the listeners.
    pub(super) fn listeners(&self) -> Section {
        let row = |facts: &Value| {
            vec![
                cell(facts, "name"),
                cell(facts, "clients"),
                cell(facts, "commands_per_second"),
                milliseconds(&facts["p50_seconds"]),
                milliseconds(&facts["p99_seconds"]),
                cell(facts, "denied_per_second"),
                cell(facts, "refused_per_second"),
                cell(facts, "refused_total"),
            ]
        };
        Section {
            title: "Listeners".to_owned(),
            head: vec!["NAME", "CLIENTS", "COMMANDS/S", "P50", "P99", "DENIED/S", "REFUSED/S", "REFUSED"],
            rows: items(&self.sample, "listeners").iter().map(row).collect(),
        }
    }

    /// Returns the upstreams. Failovers have a column where one of them has sentinels or is a cluster.
    pub(super) fn upstreams(&self) -> Section {
        let upstreams = items(&self.sample, "upstreams");
        let may_move = upstreams.iter().any(|facts| facts["failovers"].is_u64());
        let row = |facts: &Value| {
            let errors = total(facts, "errors").to_string();
            let mut row = vec![
                cell(facts, "name"),
                upstream_state(facts),
                moment(&facts["since"]),
                connections(facts),
                errors,
            ];
            row.extend(may_move.then(|| cell(facts, "failovers")));
            row
        };
        let mut head = vec!["NAME", "STATE", "SINCE", "CONNECTIONS", "ERRORS"];
        head.extend(may_move.then_some("FAILOVERS"));
        Section { title: "Upstreams".to_owned(), head, rows: upstreams.iter().map(row).collect() }
    }

    /// Returns the sources that were refused last.
    pub(super) fn refused(&self) -> Section {
        let sources = items(&self.lists.status, "refused_sources");
        let shown = sources.get(..MOST_SOURCES).unwrap_or(sources);
        Section {
            title: "Refused sources".to_owned(),
            head: vec!["SOURCE", "LISTENER", "REASON", "COUNT", "LAST"],
            rows: shown.iter().map(|facts| refused_source(facts).to_vec()).collect(),
        }
    }

    /// Returns the clients.
    pub(super) fn clients(&self) -> Section {
        let rows: Vec<_> =
            items(&self.lists.clients, "clients").iter().map(|facts| clients::row(facts).to_vec()).collect();
        let matched = self.lists.clients["matched"].as_u64().unwrap_or_default();
        let title = if usize::try_from(matched).is_ok_and(|all| all > rows.len()) {
            format!("Clients (the first {} of {matched})", rows.len())
        } else {
            "Clients".to_owned()
        };
        Section { title, head: clients::HEAD.to_vec(), rows }
    }

    /// Returns the view as text.
    pub(super) fn text(&self) -> String {
        let mut text = self.headline().join("\n") + "\n";
        let sections = [self.listeners(), self.upstreams(), self.refused(), self.clients()];
        for section in sections.iter().filter(|section| !section.rows.is_empty()) {
            text += &format!("\n{}\n{}", section.title, section.text());
        }
        text
    }
}

impl Section {
    /// Returns the width of each column.
    pub(super) fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            let head = self.head.get(column).map_or(0, |head| head.len());
            cells.fold(head, usize::max)
        };
        (0..self.head.len()).map(width).collect()
    }

    fn text(&self) -> String {
        /// More than the widest table has.
        const COLUMNS: usize = 8;
        let fixed = |cells: Vec<String>| {
            let mut cells = cells.into_iter();
            std::array::from_fn::<String, COLUMNS, _>(|_| cells.next().unwrap_or_default())
        };
        let head = self.head.iter().map(|head| (*head).to_owned()).collect();
        let rows: Vec<_> = std::iter::once(head).chain(self.rows.clone()).map(fixed).collect();
        aligned(&rows)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn picture() -> Picture {
        let mut picture = Picture::new("127.0.0.1:9377".to_owned());
        picture.set_sample(json!({
            "time": "2026-11-30T07:42:10.118231Z", "clients": 2, "generation": 3, "commands_per_second": 1200.5,
            "p50_seconds": 0.000_08, "p99_seconds": null, "bytes_from_clients_per_second": 2048.0, "draining": true,
            "listeners": [{"name": "public", "clients": 2, "refused_total": 1}],
            "upstreams": [{"name": "main", "up": false, "kind": "refused", "connections": {"idle": 0}, "errors": {"refused": 4}}],
        }));
        let clients =
            json!({"matched": 900, "clients": [{"id": 7, "address": "203.0.113.9:4711", "name": "a\u{7}b"}]});
        picture.set_lists(Lists { status: json!({"version": "1", "limit_clients": 10000}), clients });
        picture
    }

    #[test]
    fn a_picture_as_text() {
        let text = picture().text();
        for part in [
            "portcullis 1 on 127.0.0.1:9377  2026-11-30T07:42:10Z  generation 3  draining\n",
            "clients 2/10000  commands/s 1200.5  p50 0.080 ms  p99 -\n",
            "refused/s -  denied/s -  in 2.0 KiB/s  out 0 B/s\n",
            "main  down (refused)  -      0            4\n",
            "Clients (the first 1 of 900)\n",
            "7   203.0.113.9:4711  -         -     a\\x07b",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("Refused sources") && !text.contains("FAILOVERS"), "{text}");
    }

    #[test]
    fn failovers_are_shown_where_masters_move() {
        let mut picture = picture();
        picture.set_sample(json!({"upstreams": [
            {"name": "main", "up": true, "failovers": 3}, {"name": "plain", "up": true, "failovers": null},
        ]}));
        let shown = picture.upstreams();
        assert_eq!(shown.head.last(), Some(&"FAILOVERS"));
        let last: Vec<_> = shown.rows.iter().map(|row| row.last().map(String::as_str)).collect();
        assert_eq!(last, [Some("3"), Some("-")]);
    }

    #[test]
    fn old_values_stay_while_the_proxy_is_away() {
        let mut picture = picture();
        picture.apply(Update::Offline("no proxy answers".to_owned()));
        assert_eq!(picture.offline(), Some("no proxy answers"));
        assert_eq!(picture.listeners().rows.len(), 1);
        picture.apply(Update::Sample(json!({})));
        assert_eq!(picture.offline(), None);
    }
}
