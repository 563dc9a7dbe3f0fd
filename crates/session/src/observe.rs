//! What a session reports while it works, for counters.

use portcullis_resp::command::CommandId;

/// Takes what happened. Called on the command path: implementations must be cheap and must not fail.
pub trait Observer {
    /// `n` commands were read and will be answered.
    fn command(&mut self, id: CommandId, n: u64);
    /// A command was refused by the gate itself.
    fn denied(&mut self, id: CommandId, reason: Denied);
    /// `n` commands were answered by the upstream, each `nanos` after the read that brought it.
    fn answered(&mut self, id: CommandId, n: u64, nanos: u64);
    /// An error reply went by; `line` starts with `-` and may be cut short.
    fn error(&mut self, line: &[u8]);
}

/// Why the gate refused a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The command itself is not allowed here.
    Command,
    /// The command is too large to be checked.
    Size,
}
