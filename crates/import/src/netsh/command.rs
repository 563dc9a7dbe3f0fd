//! `netsh interface portproxy add v4tov4 ...`, as `dump` prints it and as scripts for cmd and PowerShell contain it.

use portcullis_config::message::Message;

use super::script::{Part, begins_with_condition, first_word};
use super::{Families, Forward};
use crate::place::Bind;

/// Commands of netsh that change one forward.
const VERBS: [&str; 3] = ["add", "set", "delete"];
/// Words before netsh that run it.
const CALLERS: [&str; 17] = [
    "call",
    "cmd",
    "cmd.exe",
    "/c",
    "start",
    "/b",
    "/wait",
    "start-process",
    "-filepath",
    "-argumentlist",
    "-verb",
    "runas",
    "-wait",
    "-nonewwindow",
    "invoke-expression",
    "iex",
    "=",
];
/// Commands in scripts that change no forward.
const OTHERS: [&str; 26] = [
    "echo",
    "rem",
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
    "param",
    "try",
    "do",
    "finally",
    "begin",
    "process",
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

impl Command {
    /// Reads one command.
    ///
    /// # Errors
    /// The reason why the command cannot be carried over.
    pub(super) fn read(line: usize, part: &Part) -> Result<Self, Message> {
        let written = part.text.as_str();
        let plain: String = written.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
        let words: Vec<&str> = plain.split_whitespace().collect();
        let first = first_word(&plain);
        if part.is_conditional || begins_with_condition(&plain) {
            return match words.iter().any(|word| is_of_netsh(word)) {
                true => {
                    Err("it depends on a condition, so whether it changes the forwards is not known here"
                        .into())
                }
                false => Ok(Self::Nothing),
            };
        }
        if OTHERS.iter().any(|other| is(first, other)) {
            return Ok(Self::Nothing);
        }
        let head = words.iter().take_while(|word| is_head(word)).count();
        let verb = |word: &&str| VERBS.iter().any(|verb| is(word, verb));
        let at = words.iter().position(verb);
        let Some(at) = at.filter(|at| words.get(at + 1).is_some_and(|word| !word.starts_with('-'))) else {
            return Self::without_verb(&words, head);
        };
        if words[..at].iter().any(|word| is(word, "firewall") || is(word, "advfirewall")) {
            return Err("a rule of the firewall: its remote addresses belong into allow".into());
        }
        if head < at {
            return Err("not a command of portproxy, or the words before it are not known here".into());
        }
        let families = words.get(at + 1).and_then(|word| Families::of_word(word));
        let families = families.ok_or("not one of v4tov4, v4tov6, v6tov4 and v6tov6")?;
        let values = Values::read(&words[at + 2..])?;
        if is(words[at], "delete") {
            let port = crate::place::port(values.need("listenport")?).ok_or("not a port to listen on")?;
            return Ok(Self::Delete(families.bind(values.get("listenaddress").unwrap_or("*"), port)?));
        }
        let (bind, to) = values.forward(families)?;
        let written = written.to_owned();
        Ok(Self::Add(Forward { line, written, bind, to, remark: None }))
    }

    /// Reads a command without a verb and its argument. The first `head` words choose the context.
    fn without_verb(words: &[&str], head: usize) -> Result<Self, Message> {
        let shortened = |word: &&str| VERBS.iter().chain(&["reset"]).any(|verb| is_beginning(word, verb));
        let names_families = words.get(head + 1).is_some_and(|word| Families::of_word(word).is_some());
        match words {
            [] => Ok(Self::Nothing),
            [before @ .., last] if is(last, "reset") && head == before.len() => Ok(Self::Reset),
            words if words.get(head).is_some_and(shortened) && (head > 0 || names_families) => {
                let why = "netsh takes shortened words, and this import does not: write add, set, delete or reset in full";
                Err(why.into())
            }
            [first, ..] if first.starts_with(['#', '-', '$', '[']) => Ok(Self::Nothing),
            _ => Err("not a line of 'show all' or 'dump'".into()),
        }
    }
}

/// Compares words as cmd, PowerShell and netsh do.
fn is(word: &str, name: &str) -> bool {
    word.eq_ignore_ascii_case(name)
}

/// Returns whether a word can stand before the verb: it runs netsh, or chooses its context.
fn is_head(word: &str) -> bool {
    let word = word.trim_start_matches('@');
    let context = |name: &str| is_beginning(word, name);
    is_program(word)
        || CALLERS.iter().any(|caller| is(word, caller))
        || word.starts_with('$')
        || context("interface")
        || context("portproxy")
}

/// Returns whether a word is the name or the path of netsh.
fn is_program(word: &str) -> bool {
    let name = word.rsplit(['\\', '/']).next().unwrap_or_default();
    is(name, "netsh") || is(name, "netsh.exe")
}

/// Returns whether a word is the name, or a beginning of the name that netsh takes for it.
fn is_beginning(word: &str, name: &str) -> bool {
    !word.is_empty() && name.get(..word.len()).is_some_and(|beginning| is(beginning, word))
}

/// Returns whether the word shows that a command can change forwards.
fn is_of_netsh(word: &str) -> bool {
    is_program(word) || is(word, "portproxy") || Families::of_word(word).is_some()
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
