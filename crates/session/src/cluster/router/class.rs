//! The treatment of each command on a cluster, as far as its name decides it.

use std::sync::LazyLock;

use portcullis_resp::command::{CommandId, Flags, id};

use crate::cluster::{LearnedCommand, ServerFacts};
use crate::shape::Verb;

/// The treatment of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The node that owns the slot of the keys. Without keys: any node.
    Keyed,
    /// As [`Self::Keyed`], for a script or function. It can return any error, so a redirect is not believed as such.
    Script,
    /// Any node.
    Any,
    /// Any node, or the owner of the slot of a channel's name.
    Publish,
    /// A login or a database, which all legs repeat.
    Login,
    /// The end of all state of the session.
    Reset,
    /// A command about the connection, which the router answers itself.
    Connection,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    /// All masters. Their replies become one.
    AllMasters(Joined),
    /// SCAN, which goes through the slots.
    Scan,
    /// WAIT or WAITAOF: the nodes to which the client has written.
    Wait,
    /// INFO: one node, and the keys of all masters.
    Info,
    /// A command that subscribes or unsubscribes.
    Subscription(Verb),
    /// Refused.
    Refused(Refusal),
}

/// The way in which the replies of all masters become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// The numbers are added.
    Total,
    /// All must be equal.
    Same,
    /// The least of each element.
    Least,
    /// All elements.
    Union,
    /// Numbers by name, which are added.
    Counts,
    /// One that is not null.
    One,
}

impl Joined {
    /// Returns the way for a command that all masters run. `None`: the command is none of these.
    fn of(command: CommandId) -> Option<Self> {
        Some(match command {
            id::DBSIZE | id::PUBSUB_NUMPAT => Self::Total,
            id::FLUSHALL | id::FLUSHDB | id::SCRIPT_LOAD | id::SCRIPT_FLUSH => Self::Same,
            id::FUNCTION_LOAD | id::FUNCTION_DELETE | id::FUNCTION_FLUSH | id::FUNCTION_RESTORE => Self::Same,
            id::SCRIPT_EXISTS => Self::Least,
            id::KEYS | id::PUBSUB_CHANNELS | id::PUBSUB_SHARDCHANNELS => Self::Union,
            id::PUBSUB_NUMSUB | id::PUBSUB_SHARDNUMSUB => Self::Counts,
            id::RANDOMKEY => Self::One,
            _ => return None,
        })
    }
}

/// The reason why a command is refused on a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// One node would run it, and the others would not.
    OneNode,
    /// It concerns all nodes, and a transaction runs at one.
    InTransaction,
    /// The position of its keys is not known.
    Unknown,
}

impl Refusal {
    /// Returns the error line for the command with this name.
    pub(super) fn line(self, name: &str) -> Vec<u8> {
        let name = name.replace('|', " ");
        match self {
            Self::OneNode => format!("-ERR portcullis: '{name}' would concern one node of a cluster only\r\n"),
            Self::InTransaction => {
                format!("-ERR portcullis: '{name}' concerns all nodes of a cluster, and a transaction runs at one\r\n")
            }
            Self::Unknown => format!(
                "-ERR portcullis: the keys of '{name}' are not known, so it cannot be sent to a node of a cluster\r\n"
            ),
        }
        .into_bytes()
    }
}

impl Class {
    /// Returns the treatment of a command or subcommand.
    pub(super) fn of(command: CommandId) -> Self {
        static TABLE: LazyLock<Box<[Class]>> =
            LazyLock::new(|| CommandId::all().map(Class::decide).collect());
        TABLE.get(command.index()).copied().unwrap_or(Self::Refused(Refusal::Unknown))
    }

    /// Returns the treatment of a command that the table does not have, as the nodes describe it.
    pub(super) fn of_learned(command: &LearnedCommand) -> Self {
        match command.has_keys() {
            Some(true) => Self::Keyed,
            Some(false) => Self::Refused(Refusal::OneNode),
            None => Self::Refused(Refusal::Unknown),
        }
    }

    /// Returns the treatment of a command that neither the table nor the nodes have. A node says so in its own words.
    pub(super) const fn of_unknown(server: &ServerFacts) -> Self {
        if server.has_told_commands() { Self::Any } else { Self::Refused(Refusal::Unknown) }
    }

    fn decide(command: CommandId) -> Self {
        match command {
            CommandId::UNKNOWN => Self::Refused(Refusal::Unknown),
            id::MULTI => Self::Multi,
            id::EXEC => Self::Exec,
            id::DISCARD => Self::Discard,
            id::WATCH => Self::Watch,
            id::UNWATCH => Self::Unwatch,
            id::AUTH | id::HELLO | id::SELECT => Self::Login,
            id::RESET => Self::Reset,
            id::PUBLISH => Self::Publish,
            id::EVAL | id::EVALSHA | id::EVAL_RO | id::EVALSHA_RO | id::FCALL | id::FCALL_RO => Self::Script,
            id::READONLY | id::READWRITE | id::ASKING => Self::Connection,
            id::MIGRATE | id::MOVE => Self::Refused(Refusal::OneNode),
            id::SCAN => Self::Scan,
            id::WAIT | id::WAITAOF => Self::Wait,
            id::INFO => Self::Info,
            _ if is_of_any_node(command) => Self::Any,
            _ if command.top() == id::CLIENT => Self::Connection,
            _ if let Some(joined) = Joined::of(command) => Self::AllMasters(joined),
            _ => match Verb::of(command) {
                Some(verb) => Self::Subscription(verb),
                None if has_keys(command) => Self::Keyed,
                None => Self::Refused(Refusal::OneNode),
            },
        }
    }
}

fn has_keys(command: CommandId) -> bool {
    !command.info().keys.is_empty() || command.info().flags.contains(Flags::MOVABLEKEYS)
}

/// Returns whether any node gives the same answer, or one that is as good.
fn is_of_any_node(command: CommandId) -> bool {
    let asks = [
        id::PING,
        id::ECHO,
        id::TIME,
        id::LOLWUT,
        id::ROLE,
        id::FUNCTION_LIST,
        id::FUNCTION_DUMP,
        id::FUNCTION_STATS,
        id::CONFIG_GET,
        id::ACL_WHOAMI,
        id::ACL_CAT,
        id::ACL_GENPASS,
    ];
    asks.contains(&command) || command.top() == id::COMMAND || command.name().ends_with("|help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_each_class() {
        let of = |command| Class::of(command);
        for command in
            [id::GET, id::MSET, id::DEL, id::BLPOP, id::XREAD, id::SORT, id::SPUBLISH, id::MEMORY_USAGE]
        {
            assert_eq!(of(command), Class::Keyed, "{}", command.name());
        }
        for command in [id::PING, id::COMMAND_DOCS, id::OBJECT_HELP, id::FUNCTION_HELP] {
            assert_eq!(of(command), Class::Any, "{}", command.name());
        }
        for command in [id::DBSIZE, id::SCRIPT_LOAD, id::PUBSUB_NUMSUB, id::KEYS] {
            assert!(matches!(of(command), Class::AllMasters(_)), "{}", command.name());
        }
        for command in
            [id::MONITOR, id::CONFIG_SET, id::SHUTDOWN, id::MIGRATE, id::SYNC, id::SWAPDB, id::SCRIPT_KILL]
        {
            assert_eq!(of(command), Class::Refused(Refusal::OneNode), "{}", command.name());
        }
        assert_eq!(of(id::SSUBSCRIBE), Class::Subscription(Verb::Ssubscribe));
        assert_eq!(of(id::CLIENT_SETNAME), Class::Connection);
    }

    #[test]
    fn texts_of_refusals() {
        let line = Refusal::OneNode.line("monitor");
        assert_eq!(line, b"-ERR portcullis: 'monitor' would concern one node of a cluster only\r\n");
        assert!(Refusal::InTransaction.line("scan").starts_with(b"-ERR portcullis: 'scan' concerns"));
    }
}
