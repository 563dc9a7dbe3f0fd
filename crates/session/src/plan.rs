//! What holds for the clients of one listener, compiled once for all of them.

use portcullis_resp::command::{CommandId, Flags, id};
use portcullis_resp::limits::RequestLimits;

use crate::inject::Preamble;
use crate::shape::Verb;

/// The policy that sessions of one listener share.
#[derive(Debug)]
pub struct Plan {
    auth: Auth,
    preamble: Option<Preamble>,
    upstream: String,
    limits: RequestLimits,
    held_command: usize,
    care: Box<[bool]>,
}

/// Who checks the client's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Redis does: AUTH and HELLO travel on.
    Passthrough,
    /// Nobody does: the allowlist is the credential, and the gate logs in upstream with its own.
    Trust,
}

impl Plan {
    /// Compiles the plan. `preamble` counts under [`Auth::Trust`] only; `held_command` is in bytes, the most that a
    /// frame may have of which all is needed before it can be judged.
    pub fn new(
        auth: Auth,
        preamble: Option<Preamble>,
        upstream: &str,
        limits: RequestLimits,
        held_command: usize,
    ) -> Self {
        let care = CommandId::all().map(|command| needs_care(auth, command)).collect();
        let preamble = preamble.filter(|_| auth == Auth::Trust);
        Self { auth, preamble, upstream: upstream.to_owned(), limits, held_command, care }
    }

    /// Who checks the client's credentials.
    pub const fn auth(&self) -> Auth {
        self.auth
    }

    /// What logs the gate in on a fresh upstream connection.
    pub const fn preamble(&self) -> Option<&Preamble> {
        self.preamble.as_ref()
    }

    /// The upstream's name, for error lines.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Limits of the request grammar.
    pub const fn limits(&self) -> RequestLimits {
        self.limits
    }

    pub(crate) const fn held_command(&self) -> usize {
        self.held_command
    }

    /// Whether a command is more to the session than bytes with one reply.
    pub(crate) fn cares(&self, command: CommandId) -> bool {
        self.care.get(command.index()).copied().unwrap_or(true)
    }
}

fn needs_care(auth: Auth, command: CommandId) -> bool {
    let stateful = [
        CommandId::UNKNOWN,
        id::QUIT,
        id::RESET,
        id::MULTI,
        id::EXEC,
        id::DISCARD,
        id::WATCH,
        id::HELLO,
        id::MONITOR,
        id::CLIENT,
        id::SYNC,
        id::PSYNC,
        id::REPLCONF,
    ];
    stateful.contains(&command)
        || Verb::of(command).is_some()
        || command.info().flags.contains(Flags::BLOCKING)
        || (auth == Auth::Trust && command == id::AUTH)
}
