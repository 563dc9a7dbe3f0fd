//! `netsh interface portproxy add v4tov4 ...`, as `dump` prints it and as scripts for cmd and PowerShell contain it.

use std::iter::Peekable;
use std::str::Chars;

use portcullis_config::message::Message;

use super::{Families, Forward};
use crate::place::Bind;

/// Commands in scripts that change no forward.
const OTHERS: [&str; 24] = [
    "@echo",
    "echo",
    "rem",
    "@rem",
    "pushd",
    "popd",
    "exit",
    "setlocal",
    "endlocal",
    "cd",
    "pause",
    "title",
    "timeout",
    "cls",
    "write-host",
    "write-output",
    "sc",
    "net",
    "start-service",
    "set-service",
    "set-executionpolicy",
    "goto",
    "param(",
    "try",
];
/// The order in which netsh reads values without a name.
const ORDER: [&str; 5] = ["listenport", "connectaddress", "connectport", "listenaddress", "protocol"];

/// The effect of a command on the list of forwards.
pub(super) enum Command {
    Nothing,
    /// The commands `add` and `set`. They replace a forward that listens on the same address.
    Add(Forward),
    Delete(Bind),
    Reset,
}

/// Returns the lines of a script with their numbers. A line that ends in `^` or a backtick continues on the next line.
pub(super) fn lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, written) in (1..).zip(text.lines()) {
        let written = written.trim();
        let (part, next) = match written.strip_suffix(['^', '`']) {
            Some(part) => (part.trim_end(), true),
            None => (written, false),
        };
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, line)) => {
                line.push(' ');
                line.push_str(part);
            }
            None => lines.push((number, part.to_owned())),
        }
        goes_on = next;
    }
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

/// Returns the commands of a line, without redirections and without the programs that read their output from a pipe.
pub(super) fn parts(line: &str) -> Vec<String> {
    if line.starts_with(['#', ':']) {
        return Vec::new();
    }
    let mut reader = Reader { chars: line.chars().peekable(), quote: None };
    let mut parts = vec![String::new()];
    // True after `|` or `>`, until the next command.
    let mut skips = false;
    while let Some(c) = reader.next() {
        let outside = reader.quote.is_none();
        match c {
            ';' if outside => {
                parts.push(String::new());
                skips = false;
            }
            // `&` in `2>&1` is a part of the redirection. Before the first word, `&` calls a program in PowerShell.
            '&' if outside && !skips => parts.push(String::new()),
            '&' if outside && reader.chars.peek().is_some_and(|next| next.is_ascii_digit()) => {}
            '&' if outside => {
                parts.push(String::new());
                skips = false;
            }
            '|' | '>' if outside => {
                if let Some(part) = parts.last_mut().filter(|_| c == '>') {
                    let without = part.trim_end_matches(|c: char| c.is_ascii_digit() || c == '*').len();
                    // `2>nul` redirects the second stream. In `6379 >nul` the number is a value.
                    if part[..without].ends_with(' ') {
                        part.truncate(without);
                    }
                }
                skips = true;
            }
            c if !skips => {
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
            _ => {}
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// The characters of a line, and the quote that is open.
struct Reader<'l> {
    chars: Peekable<Chars<'l>>,
    quote: Option<char>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        match self.quote {
            None if c == '"' || c == '\'' => self.quote = Some(c),
            Some(open) if open == c => self.quote = None,
            _ => {}
        }
        Some(c)
    }
}

impl Command {
    /// Reads one command.
    ///
    /// # Errors
    /// The reason why the command cannot be carried over.
    pub(super) fn read(line: usize, written: &str) -> Result<Self, Message> {
        let plain: String = written.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
        let words: Vec<&str> = plain.split_whitespace().collect();
        let is = |word: &&str, name: &str| word.eq_ignore_ascii_case(name);
        let verbs = ["add", "set", "delete"];
        let at = words.iter().position(|word| verbs.iter().any(|verb| is(word, verb)));
        let Some(at) = at.filter(|at| words.get(at + 1).is_some_and(|word| !word.starts_with('-'))) else {
            return match words.as_slice() {
                [] => Ok(Self::Nothing),
                [.., last] if is(last, "reset") => Ok(Self::Reset),
                [first, ..] if first.starts_with(['#', '-', '$', '{', '}', ')']) => Ok(Self::Nothing),
                [first, ..] if OTHERS.iter().any(|other| is(first, other)) => Ok(Self::Nothing),
                _ => Err("not a line of 'show all' or 'dump'".into()),
            };
        };
        if words[..at].iter().any(|word| is(word, "firewall") || is(word, "advfirewall")) {
            return Err("a rule of the firewall: its remote addresses belong into allow".into());
        }
        let families = words.get(at + 1).and_then(|word| Families::of_word(word));
        let families = families.ok_or("not one of v4tov4, v4tov6, v6tov4 and v6tov6")?;
        let values = Values::read(&words[at + 2..])?;
        if is(&words[at], "delete") {
            let port = crate::place::port(values.need("listenport")?).ok_or("not a port to listen on")?;
            return Ok(Self::Delete(families.bind(values.get("listenaddress").unwrap_or("*"), port)?));
        }
        let (bind, to) = values.forward(families)?;
        let written = written.to_owned();
        Ok(Self::Add(Forward { line, written, bind, to, remark: None }))
    }
}

/// The values of a command, each with its name.
struct Values<'w>(Vec<(String, &'w str)>);

impl<'w> Values<'w> {
    fn read(words: &[&'w str]) -> Result<Self, Message> {
        let mut values = Vec::new();
        let mut order = ORDER.iter();
        for word in words {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), value),
                // netsh accepts named values in any order, and values without a name only in one order.
                None if values.len() == ORDER.len() - order.len() => {
                    (order.next().ok_or("more values than netsh takes")?.to_string(), *word)
                }
                None => return Err("not written as name=value".into()),
            };
            match key.as_str() {
                "protocol" if !value.eq_ignore_ascii_case("tcp") => {
                    return Err("the gate forwards TCP only".into());
                }
                key if !ORDER.contains(&key) => return Err("portproxy has no such parameter".into()),
                _ => {}
            }
            values.push((key, value));
        }
        Ok(Self(values))
    }

    fn get(&self, name: &str) -> Option<&'w str> {
        self.0.iter().rfind(|(key, _)| key == name).map(|(_, value)| *value)
    }

    fn need(&self, name: &str) -> Result<&'w str, Message> {
        self.get(name).ok_or_else(|| "there is no listenport".into())
    }

    /// Returns the forward. Uses the defaults of netsh for missing values.
    fn forward(&self, families: Families) -> Result<(Bind, String), Message> {
        let listen_port = self.need("listenport")?;
        let this_machine = if families.connect_v6 { "::1" } else { "127.0.0.1" };
        families.row(
            self.get("listenaddress").unwrap_or("*"),
            listen_port,
            self.get("connectaddress").unwrap_or(this_machine),
            self.get("connectport").unwrap_or(listen_port),
        )
    }
}
