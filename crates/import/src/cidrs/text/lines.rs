//! One line of a text: its addresses, and the other words.

use portcullis_config::message::message;

use super::{Found, Meaning, is_like_an_address};

/// A line, split into words.
pub(super) struct Line {
    number: usize,
    pub(super) indent: usize,
    /// The words without the addresses.
    pub(super) words: Vec<String>,
    pub(super) addresses: Vec<String>,
    /// Whether the line begins with a key and `=` or `:`.
    pub(super) has_key: bool,
    /// Whether the line is `[name]`.
    pub(super) is_section: bool,
    /// Whether a list begins at the end of the line.
    pub(super) opens_list: bool,
    /// Whether words refuse that are not in `words`: a negated address, or a target of iptables.
    refuses: bool,
    /// Whether the line has words that are not known, or a mask beside an address.
    doubt: bool,
}

impl Line {
    pub(super) fn of(number: usize, written: &str) -> Self {
        let trimmed = written.trim();
        let bare = trimmed.strip_prefix("- ").unwrap_or(trimmed).trim_start();
        let inner = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let ends = |ends: &[char]| trimmed.ends_with(ends);
        let mut line = Self {
            number,
            indent: written.len() - written.trim_start().len() + trimmed.len() - bare.len(),
            words: Vec::new(),
            addresses: Vec::new(),
            has_key: has_key(bare),
            is_section: false,
            opens_list: ends(&['[', '(', ':', '=']),
            refuses: false,
            doubt: false,
        };
        let split = |c: char| c.is_whitespace() || ",;\"'()[]{}|<>=".contains(c);
        for word in bare.split(split) {
            line.word(word.trim_end_matches(['.', ':']));
        }
        line.is_section = inner.is_some() && line.addresses.is_empty() && line.words.len() == 1;
        line.read_iptables();
        let is_mask = |word: &String| word.starts_with("255.") || word.starts_with("0.");
        line.doubt |= line.addresses.len() > 1 && line.addresses.iter().any(is_mask);
        line
    }

    fn word(&mut self, word: &str) {
        let plain = word.trim_start_matches('!');
        self.refuses |= plain.len() < word.len();
        if is_like_an_address(plain) {
            self.addresses.push(plain.to_owned());
        } else if plain.split(|c: char| !c.is_ascii_hexdigit() && !".:/".contains(c)).any(|part| {
            let part = part.trim_matches([':', '/', '.']);
            is_like_an_address(part) && part.contains('.')
        }) {
            // An address within another word, such as a URL.
            self.addresses.push(plain.to_owned());
            self.doubt = true;
        } else if plain.contains(char::is_alphanumeric) {
            self.words.push(plain.to_owned());
        } else if !["", "-", "*", "+"].contains(&plain) {
            self.doubt = true;
        }
    }

    /// Replaces the options of iptables by words of the same meaning.
    fn read_iptables(&mut self) {
        if !self
            .words
            .first()
            .is_some_and(|word| ["-A", "-I", "iptables", "ip6tables"].contains(&word.as_str()))
        {
            return;
        }
        let words = std::mem::take(&mut self.words);
        let mut words = words.iter().map(String::as_str);
        let mut accepts = false;
        while let Some(word) = words.next() {
            let value = match word {
                "iptables" | "ip6tables" | "-s" | "--source" => continue,
                "-d" | "--destination" => Some("destination"),
                "-A" | "-I" | "--append" | "--insert" => words.next(),
                "-p" | "-m" => {
                    words.next().map(|protocol| if protocol == "udp" { "0/udp" } else { protocol })
                }
                "--dport" | "--dports" | "--destination-port" => {
                    let port = words.next().map(|port| port.replace(':', "-"));
                    Some(if port.is_some_and(|port| super::has_ports(&port)) { "tcp" } else { "0/tcp" })
                }
                "-j" | "--jump" => {
                    let accept = words.next() == Some("ACCEPT");
                    accepts |= accept;
                    // Another target may refuse.
                    self.refuses |= !accept;
                    None
                }
                _ => {
                    self.doubt = true;
                    None
                }
            };
            self.words.extend(value.map(str::to_owned));
        }
        self.doubt |= !accepts;
    }

    /// Returns the meaning of the words in the line.
    pub(super) fn meaning(&self) -> Meaning {
        let words = Meaning::of_all(self.words.iter().map(String::as_str));
        let doubt = if self.doubt { Meaning::Unknown } else { Meaning::Admits };
        let refuses = if self.refuses { Meaning::Refuses } else { Meaning::Admits };
        words.max(doubt).max(refuses)
    }

    /// Returns the addresses of the line as admitted, refused or left out.
    pub(super) fn found(&self, meaning: Meaning) -> Vec<Found> {
        if meaning == Meaning::Refuses && self.doubt && self.addresses.len() > 1 {
            let what = message!("{} addresses", self.addresses.len());
            return vec![Found::Doubtful { line: self.number, what, why: meaning.reason().into() }];
        }
        if meaning == Meaning::Prose {
            return vec![Found::skipped(self.number, "an address", meaning.reason())];
        }
        let one = |word: &String| {
            Found::of(self.number, word, meaning)
                .unwrap_or_else(|| Found::skipped(self.number, "an address", Meaning::Unknown.reason()))
        };
        self.addresses.iter().map(one).collect()
    }
}

/// Returns whether the text begins with a key: one word, and then `=` or `:`.
fn has_key(text: &str) -> bool {
    let end = text.find(|c: char| !(c.is_alphanumeric() || "_-\"'.".contains(c))).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let separates = rest.starts_with('=') || rest == ":" || rest.starts_with(": ");
    !key.is_empty() && separates && !is_like_an_address(key)
}
