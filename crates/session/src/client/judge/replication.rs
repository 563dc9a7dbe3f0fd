//! Replicas: SYNC and PSYNC turn the connection into a stream that only the replica can read.
//!
//! The gate then passes on the upstream's bytes unchanged. It still judges the client's commands, because Redis also
//! runs commands of replicas. Only replication commands may pass, and none of them gets a reply.

use portcullis_resp::command::id;
use portcullis_resp::reply;

use super::Judge;
use crate::client::command::CommandFrame;
use crate::client::verdict::{Answer, Verdict};
use crate::observe::{Denied, Host};
use crate::pending::Local;

impl<H: Host> Judge<'_, H> {
    /// Judges a replication command that the command rules name explicitly.
    pub(super) fn replicate(&mut self) -> Verdict {
        if self.state.upstream.is_replica() {
            return Verdict::Raw;
        }
        if let Some(verdict) = self.state.excluded() {
            return verdict;
        }
        if self.command == id::REPLCONF {
            return replconf(self.frame, self.state.plan().held_command());
        }
        if !self.state.pending.is_empty() {
            return Verdict::UNTIL_SETTLED;
        }
        self.state.upstream.replicate();
        Verdict::Raw
    }

    /// Returns whether the command is not allowed on a replication stream. Its reply would become a part of the stream.
    pub(super) fn leaves_replication(&self) -> bool {
        self.state.upstream.is_replica()
            && (!matches!(self.command, id::SYNC | id::PSYNC | id::REPLCONF)
                || self.state.plan().cares_by_rule(self.command))
    }
}

/// Judges REPLCONF. Redis does not answer the options in `UNANSWERED`, so the gate would take the reply to a later
/// command for the missing one. A replica sends these options only after its stream has begun.
fn replconf(frame: &CommandFrame<'_>, held: usize) -> Verdict {
    const UNANSWERED: [&[u8]; 3] = [b"ack", b"fack", b"getack"];
    if !frame.is_whole_within(held) {
        return Verdict::NeedWhole;
    }
    let silent = |option: &&[u8]| UNANSWERED.iter().any(|word| option.eq_ignore_ascii_case(word));
    if frame.after_name().iter().any(silent) {
        return Verdict::Answer(Answer::Refusal(Local::Canned(reply::SYNTAX_ERROR), Denied::Command));
    }
    Verdict::plain()
}
