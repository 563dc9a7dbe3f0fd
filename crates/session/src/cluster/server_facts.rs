//! What a node says about its server: the commands that the table of this program does not have, and whether it has
//! several databases.

use std::collections::HashMap;

use portcullis_resp::command::keys::{Argv, KeyRef, KeysUnknown, specified_keys};
use portcullis_resp::command::{Access, Begin, Find, KeySpec, lookup, lookup_subcommand};
use portcullis_resp::value::{Value, decode};

/// The most commands that are remembered. A server with all modules of Redis has fewer than 300.
const MAX_COMMANDS: usize = 4096;

/// The longest name that is remembered.
const MAX_NAME: usize = 64;

/// The most key specifications of a command that are used. Redis itself keeps four without more memory.
const MAX_SPECS: usize = 16;

/// The places of the fields of one command in the reply to COMMAND.
mod field {
    pub(super) const NAME: usize = 0;
    pub(super) const FLAGS: usize = 2;
    pub(super) const FIRST: usize = 3;
    pub(super) const LAST: usize = 4;
    pub(super) const STEP: usize = 5;
    pub(super) const SPECS: usize = 8;
    pub(super) const SUBCOMMANDS: usize = 9;
}

/// Facts about the servers of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// The commands that the table does not have.
    commands: HashMap<Box<str>, LearnedCommand>,
    has_told_commands: bool,
    has_one_database: bool,
}

/// A command of a module, or of a server that is newer than the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedCommand {
    /// `None`: only the server can find the keys.
    keys: Option<Box<[KeySpec]>>,
    /// Whether the command changes nothing.
    pub is_readonly: bool,
    /// Whether the server may reply only after an event.
    pub may_block: bool,
}

impl LearnedCommand {
    /// Returns whether the command has keys. `None`: only the server can find them.
    pub fn has_keys(&self) -> Option<bool> {
        self.keys.as_deref().map(|keys| !keys.is_empty())
    }

    /// Calls `each` with every key of the command.
    ///
    /// # Errors
    /// [`KeysUnknown::Arguments`] if the keys cannot be found.
    pub fn keys<'b>(
        &self,
        args: &(impl Argv<'b> + ?Sized),
        each: impl FnMut(KeyRef<'b>),
    ) -> Result<(), KeysUnknown> {
        specified_keys(self.keys.as_deref().ok_or(KeysUnknown::Arguments)?, args, each)
    }

    /// Reads the fields of a command. Servers before Redis 7.0 have no key specifications.
    fn read(fields: &[Value]) -> Option<Self> {
        let flags = words(fields.get(field::FLAGS)?);
        let has = |flag: &str| flags.contains(&flag);
        let keys = match fields.get(field::SPECS) {
            Some(Value::Array(specs)) if !specs.is_empty() => read_specs(specs),
            _ if has("movablekeys") => None,
            _ => read_range(fields).map(Into::into),
        };
        Some(Self { keys, is_readonly: has("readonly"), may_block: has("blocking") })
    }
}

impl ServerFacts {
    /// Reads the reply to COMMAND. `None`: it is none.
    pub fn read_commands(frame: &[u8]) -> Option<Self> {
        let Ok(Value::Array(all)) = decode(frame) else { return None };
        let mut facts = Self { has_told_commands: true, ..Self::default() };
        all.iter().for_each(|command| facts.add(command));
        Some(facts)
    }

    /// Returns whether a server has one database because it is a node of a cluster. `reply` is its reply to SELECT 1.
    pub fn refuses_databases(reply: &[u8]) -> bool {
        reply.starts_with(b"-ERR SELECT is not allowed in cluster mode")
    }

    /// Returns the facts with the number of databases.
    #[must_use]
    pub fn with_one_database(self, has_one_database: bool) -> Self {
        Self { has_one_database, ..self }
    }

    /// Returns whether the servers refuse every database but the first.
    pub const fn has_one_database(&self) -> bool {
        self.has_one_database
    }

    /// Adds the commands of another node. The newer facts count.
    pub fn merge(&mut self, newer: Self) {
        self.has_told_commands |= newer.has_told_commands;
        for (name, command) in newer.commands {
            if self.commands.len() < MAX_COMMANDS || self.commands.contains_key(&name) {
                self.commands.insert(name, command);
            }
        }
    }

    /// Returns the command with this name, or the subcommand if it is a container. `None`: the nodes have not told of
    /// it, or the table has it.
    pub fn command(&self, name: &[u8], subcommand: Option<&[u8]>) -> Option<&LearnedCommand> {
        if self.commands.is_empty() || name.len() > MAX_NAME {
            return None;
        }
        let name = lowercase(name)?;
        let sub = subcommand.filter(|sub| sub.len() <= MAX_NAME).and_then(lowercase);
        let of_container = sub.and_then(|sub| self.commands.get(format!("{name}|{sub}").as_str()));
        of_container.or_else(|| self.commands.get(name.as_str()))
    }

    /// Returns whether a node has told its commands.
    pub const fn has_told_commands(&self) -> bool {
        self.has_told_commands
    }

    /// Returns the number of commands that the table does not have.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Returns whether the table has all commands of the nodes.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    fn add(&mut self, command: &Value) {
        let Value::Array(fields) = command else { return };
        let name = fields.get(field::NAME).and_then(Value::as_bytes).and_then(lowercase);
        let Some(name) = name.filter(|name| name.len() <= 2 * MAX_NAME && !is_in_table(name)) else {
            return;
        };
        if let Some(command) = LearnedCommand::read(fields)
            && self.commands.len() < MAX_COMMANDS
        {
            self.commands.insert(name.into(), command);
        }
        if let Some(Value::Array(subcommands)) = fields.get(field::SUBCOMMANDS) {
            for fields in subcommands {
                self.add_subcommand(fields);
            }
        }
    }

    /// Adds a subcommand, which has no subcommands of its own.
    fn add_subcommand(&mut self, command: &Value) {
        if let Value::Array(fields) = command {
            let own = fields.get(..field::SUBCOMMANDS).unwrap_or(fields);
            self.add(&Value::Array(own.to_vec()));
        }
    }
}

/// Returns whether the table has a command. A subcommand of the table's containers counts as known only if it is there.
fn is_in_table(name: &str) -> bool {
    match name.split_once('|') {
        Some((top, sub)) => {
            lookup(top.as_bytes()).is_some_and(|top| lookup_subcommand(top, sub.as_bytes()).is_some())
        }
        None => lookup(name.as_bytes()).is_some(),
    }
}

fn lowercase(name: &[u8]) -> Option<String> {
    Some(std::str::from_utf8(name).ok()?.to_ascii_lowercase())
}

/// Returns the words of an array or a set.
fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap_or_default().iter().filter_map(Value::as_str).collect()
}

/// Reads the first key, the last key and the step. Without keys, there is no specification.
fn read_range(fields: &[Value]) -> Option<Vec<KeySpec>> {
    let number = |field: usize| fields.get(field).and_then(Value::as_integer);
    let (first, last, step) = (number(field::FIRST)?, number(field::LAST)?, number(field::STEP)?);
    if first <= 0 {
        return Some(Vec::new());
    }
    // Here the last key counts from the first one, unless it counts from the end.
    let last = if last < 0 { last } else { last.checked_sub(first).filter(|last| *last >= 0)? };
    let find = Find::Range { last: i16::try_from(last).ok()?, step: u16::try_from(step).ok()?, limit: 0 };
    Some(vec![KeySpec { begin: Begin::Index(u16::try_from(first).ok()?), find, access: Access::NONE }])
}

/// Reads all key specifications of a command. `None`: they do not tell all keys.
fn read_specs(specs: &[Value]) -> Option<Box<[KeySpec]>> {
    if specs.len() > MAX_SPECS {
        return None;
    }
    specs.iter().map(read_spec).collect()
}

fn read_spec(spec: &Value) -> Option<KeySpec> {
    if words(spec.field("flags")?).contains(&"incomplete") {
        return None;
    }
    let (begin, find) = (spec.field("begin_search")?, spec.field("find_keys")?);
    let begin = match begin.field("type")?.as_str()? {
        "index" => Begin::Index(number(begin, "index")?),
        _ => return None,
    };
    let find = match find.field("type")?.as_str()? {
        "range" => Find::Range {
            last: number(find, "lastkey")?,
            step: number(find, "keystep")?,
            limit: number(find, "limit")?,
        },
        "keynum" => Find::KeyNum {
            count: number(find, "keynumidx")?,
            first: number(find, "firstkey")?,
            step: number(find, "keystep")?,
        },
        _ => return None,
    };
    Some(KeySpec { begin, find, access: Access::NONE })
}

/// Returns a number of the part `spec` of a key specification.
fn number<N: TryFrom<i64>>(part: &Value, name: &str) -> Option<N> {
    N::try_from(part.field("spec")?.field(name)?.as_integer()?).ok()
}

#[cfg(test)]
mod tests;
