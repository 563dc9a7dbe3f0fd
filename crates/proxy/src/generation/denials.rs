//! Logs refused commands: at most one line a second for each command of a listener.

use std::time::Instant;

use portcullis_acl::{ClientAddr, RuleOwner};
use portcullis_resp::command::CommandId;
use portcullis_session::Denial;

use crate::log::LogThrottle;
use crate::metrics::{DeniedReason, command_label};

/// The log throttles of one listener, shared by all threads. They keep a client that is refused a million times from
/// filling the disk.
#[derive(Debug)]
pub(crate) struct Denials {
    /// One throttle for each command, at its [`CommandId::index`]. Subcommands use the throttle of their command.
    told: Box<[LogThrottle]>,
}

impl Default for Denials {
    fn default() -> Self {
        Self { told: (0..CommandId::COUNT).map(|_| LogThrottle::new()).collect() }
    }
}

impl Denials {
    /// Logs the refusal, or counts it for the next line if this command was logged less than a second ago. The line
    /// contains no argument, no key and no name that the client chose.
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
