//! Replicas: SYNC and PSYNC turn the connection into a stream that only the replica can read.
//!
//! What comes from upstream is passed on as it is from then on. The client's commands are judged as before, for Redis
//! runs commands of replicas too; but only those of replication may pass, and none of them is answered by a reply.

use portcullis_resp::command::id;
use portcullis_resp::reply;

use super::Judge;
use crate::client::command::Frame;
use crate::client::verdict::{Answer, Verdict};
use crate::observe::{Denied, Host};
use crate::pending::Local;

impl<H: Host> Judge<'_, H> {
    /// A command of replication that the rules name.
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

    /// Returns whether the command has no place on a replication stream: its reply would be a part of the stream.
    pub(super) fn leaves_replication(&self) -> bool {
        self.state.upstream.is_replica()
            && (!matches!(self.command, id::SYNC | id::PSYNC | id::REPLCONF)
                || self.state.plan().cares_by_rule(self.command))
    }
}

/// Redis does not answer these options, so that they cannot be told from commands that it is slow to answer. No replica
/// sends them before its stream has begun.
fn replconf(frame: &Frame<'_>, held: usize) -> Verdict {
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
