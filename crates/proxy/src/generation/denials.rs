//! Refused commands in the log: for each command of a listener at most one line a second.

use std::time::Instant;

use portcullis_acl::{ClientAddr, RuleOwner};
use portcullis_resp::command::CommandId;
use portcullis_session::Denial;

use crate::log::LogThrottle;
use crate::metrics::{DeniedReason, command_label};

/// The throttles of one listener, shared by all threads. A client that is refused a million times fills no disk.
#[derive(Debug)]
pub(crate) struct Denials {
    /// By the [`CommandId::index`] of commands, not of subcommands.
    told: Box<[LogThrottle]>,
}

impl Default for Denials {
    fn default() -> Self {
        Self { told: (0..CommandId::COUNT).map(|_| LogThrottle::new()).collect() }
    }
}

impl Denials {
    /// Writes a line, or counts the refusal among those left out. The line has no argument, no key and no name that a
    /// client made up.
    pub(crate) fn log(&self, id: u64, source: ClientAddr, listener: &str, denial: &Denial<'_>) {
        let Some(left_out) = self.due(denial.command(), Instant::now()) else { return };
        let decided = denial.rule();
        let acl = decided.owner.map(|owner| match owner {
            RuleOwner::Listener => "listener",
            RuleOwner::User => "user",
        });
        tracing::info!(
            id,
            source = %source,
            listener = %listener,
            user = denial.user().map(tracing::field::display),
            command = %command_label(denial.command()),
            reason = %DeniedReason::from(denial.reason()),
            acl = acl.map(tracing::field::display),
            rule = decided.rule,
            left_out,
            "command refused"
        );
    }

    fn due(&self, command: CommandId, now: Instant) -> Option<u64> {
        self.told.get(command.top().index()).and_then(|told| told.tell(now))
    }
}

#[cfg(test)]
mod tests;
