//! Commands whose answers show which server a client is connected to: CLUSTER, SENTINEL, INFO, ROLE and CONFIG.
//!
//! The gate answers them in the name of the server that the listener presents itself as. Where the answer needs facts of
//! the upstream, the gate sends the command and rewrites the reply.

use std::sync::Arc;

use portcullis_resp::command::{id, lookup_subcommand};

use super::sentinel::ForSentinel;
use super::{Judge, rules};
use crate::client::verdict::{Answer, Verdict};
use crate::face::Face;
use crate::face::{self, Answered};
use crate::local::client_info;
use crate::local::rewrite::{Rewrite, Rewritten};
use crate::observe::{Denied, Host};
use crate::pending::{Local, ReplyKind};
use crate::shape::Shape;

/// The number of bytes of undelivered local replies from which on another question waits. A question of a dozen bytes
/// can have a reply of a kilobyte.
pub(super) const MAX_PRESENTED: usize = 64 * 1024;

impl<H: Host> Judge<'_, H> {
    /// Judges a command that the gate answers in the name of the server that the listener presents itself as. Command
    /// rules do not apply to such a command, because its answer only repeats what the configuration announces. Returns
    /// `None` for any other command.
    pub(super) fn presented(&mut self) -> Option<Verdict> {
        let face = Arc::clone(self.state.plan().face()?);
        if face.is_sentinel_only() {
            return Some(ForSentinel::of(self).judge(&face));
        }
        let known = match self.command {
            // Clients ask sentinels without a login.
            id::SENTINEL => face.is_sentinel(),
            id::CLUSTER | id::READONLY | id::READWRITE | id::ASKING => {
                !self.state.plan().is_anonymous() && (face.is_cluster() || !self.is_refused())
            }
            _ => false,
        };
        known.then(|| self.answer_as(&face))
    }

    /// Returns whether the command rules refuse the command, or must see more of it.
    fn is_refused(&self) -> bool {
        rules::refusal(self.state.plan(), self.command, self.frame).is_some()
    }

    fn answer_as(&mut self, face: &Face) -> Verdict {
        if let Some(verdict) = self.before_answer() {
            return verdict;
        }
        let resp3 = self.state.view(&*self.host).resp3;
        let arguments = self.frame.arguments;
        if matches!(self.command, id::READONLY | id::READWRITE | id::ASKING) {
            return verdict_of(face.cluster_mode(self.command, arguments));
        }
        let args = self.frame.after_name();
        let Some(here) = face.place(self.host.reached_at()) else { return verdict_of(face::no_address()) };
        verdict_of(match self.command {
            id::CLUSTER => face.cluster(&here, &args, resp3),
            _ => face.sentinel(&here, &args, resp3),
        })
    }

    /// Returns the verdict on a command that cannot be answered now, or not at all. Returns `None` if the gate may
    /// answer it.
    fn before_answer(&mut self) -> Option<Verdict> {
        self.state.transaction.forget_refused(&self.state.pending);
        if let Some(verdict) = self.state.excluded() {
            return Some(verdict);
        }
        if !self.frame.is_whole_within(self.state.plan().held_command()) {
            return Some(Verdict::NeedWhole);
        }
        let pending = &self.state.pending;
        // A pending reply may change the RESP version. Answers must not accumulate either.
        if (pending.turns() || pending.made() >= MAX_PRESENTED) && !pending.is_empty() {
            return Some(Verdict::UNTIL_SETTLED);
        }
        let view = self.state.view(&*self.host);
        (view.subscriptions.active() && !view.resp3)
            .then(|| Verdict::error(client_info::not_while_subscribed(self.command)))
    }

    /// Judges INFO, ROLE and CONFIG. Inside MULTI the reply would be a part of EXEC's reply, which the gate does not
    /// rewrite: the command is refused with a text that says so.
    pub(super) fn rewritten(&mut self) -> Verdict {
        let of = match self.command {
            id::INFO => Rewritten::Info,
            id::ROLE => Rewritten::Role,
            _ => match self.is_config_get() {
                Ok(true) => Rewritten::ConfigGet,
                Ok(false) => return Verdict::plain(),
                Err(verdict) => return verdict,
            },
        };
        match self.state.excluded() {
            Some(Verdict::Answer(Answer::Refusal(_, denied))) => {
                let line = Local::Canned(of.not_in_transaction());
                return Verdict::Answer(Answer::Refusal(line, denied));
            }
            Some(verdict) => return verdict,
            None => {}
        }
        let Some(face) = self.state.plan().face() else { return Verdict::plain() };
        let port = face.place(self.host.reached_at()).map(|here| here.port());
        let rewrite = Rewrite { of, mode: face.mode(), port };
        Verdict::Send { shape: Shape::Listed, kind: ReplyKind::Presented(rewrite) }
    }

    fn is_config_get(&self) -> Result<bool, Verdict> {
        if self.frame.arguments < 2 {
            return Ok(false);
        }
        let held = self.state.plan().held_command();
        let subcommand = self.frame.argument(1, held).ok_or(Verdict::NeedWhole)?;
        Ok(lookup_subcommand(id::CONFIG, subcommand) == Some(id::CONFIG_GET))
    }
}

/// Returns the verdict that gives the client this answer.
pub(super) fn verdict_of(answered: Answered) -> Verdict {
    match answered {
        Answered::Reply(bytes) => Verdict::Answer(Answer::Reply(Local::Made(bytes.into_boxed_slice()))),
        Answered::Error(line) => Verdict::error(line),
        Answered::Refused(line) => Verdict::Answer(Answer::Refusal(Local::Canned(line), Denied::Command)),
    }
}
