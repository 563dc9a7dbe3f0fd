//! Rights that a session uses for longer than one command, and that a reload may take away.
//!
//! The gate judges such a use again by the frame that requested it. If the frame was too large to be kept, the gate
//! compares the old and the new rules. The session then continues only if the new rules certainly allow at least as
//! much.

use portcullis_acl::Judgement;
use portcullis_resp::command::keys::{self, Argv};
use portcullis_resp::command::{CommandId, id};
use portcullis_resp::scan::arguments;

use crate::link::Subscribed;
use crate::pending::{ReplyKind, Run};
use crate::plan::Plan;
use crate::shape::Verb;

/// New rules and the rules that they replace.
pub(super) struct Change<'p> {
    pub(super) old: &'p Plan,
    pub(super) new: &'p Plan,
}

impl Change<'_> {
    pub(super) fn allows<'b>(&self, command: CommandId, args: &(impl Argv<'b> + ?Sized)) -> bool {
        self.new.rules().judge(command, args, true) == Judgement::Allow
    }

    fn keeps(&self, command: CommandId) -> bool {
        self.new.rules().keeps(self.old.rules(), command)
    }

    /// Returns whether the new rules still allow a frame.
    fn allows_frame(&self, command: CommandId, frame: &[u8]) -> bool {
        let count = u64::try_from(arguments(frame).count()).unwrap_or(u64::MAX);
        self.allows(command, &keys::Frame::new(frame, count))
    }

    /// Returns whether the new rules still allow a frame. `None` means that the frame was not kept.
    fn allows_kept(&self, command: CommandId, frame: Option<&[u8]>) -> bool {
        frame.map_or_else(|| self.keeps(command), |frame| self.allows_frame(command, frame))
    }

    /// Returns whether all subscriptions are still allowed.
    pub(super) fn allows_subscribed(&self, subscribed: &Subscribed) -> bool {
        Verb::subscribing().all(|(verb, command)| {
            let names = || {
                subscribed.names(verb).all(|name| self.allows(command, &[command.name().as_bytes(), name]))
            };
            self.new.rules().class(command).is_free()
                || subscribed.counts().of(verb) == 0
                || (names() && (!subscribed.has_unnamed(verb) || self.keeps(command)))
        })
    }

    /// Returns whether a pending reply may still be passed on.
    pub(super) fn allows_run(&self, run: &Run) -> bool {
        match &run.kind {
            ReplyKind::Blocking(frame) => self.allows_kept(run.id, frame.as_deref()),
            ReplyKind::Confirmations { names: 1.., frame } => self.allows_kept(run.id, frame.as_deref()),
            ReplyKind::Tracking { on: true, frame } => self.allows_tracking(frame.as_deref()),
            ReplyKind::Monitor => self.allows(id::MONITOR, &[id::MONITOR.name().as_bytes()]),
            // The gate did not keep the names that a queued SUBSCRIBE contains.
            ReplyKind::EndOfTransaction { subscribes: 1.. } => {
                Verb::subscribing().all(|(_, command)| self.keeps(command))
            }
            _ => true,
        }
    }

    /// Returns whether CLIENT TRACKING is still allowed. Redis also reports keys that were read before the reload, and
    /// the gate does not know their names. With rules a client may REDIRECT only to itself. Without rules the gate did
    /// not record the target, so it cannot check the target now.
    pub(super) fn allows_tracking(&self, frame: Option<&[u8]>) -> bool {
        let is_redirect = |word: &[u8]| word.eq_ignore_ascii_case(b"redirect");
        let may_redirect = frame.is_none_or(|frame| arguments(frame).any(is_redirect));
        if may_redirect && self.new.rules().has_rules() && !self.old.rules().has_rules() {
            return false;
        }
        let call = match frame {
            Some(frame) => self.allows_frame(id::CLIENT, frame),
            None => self.keeps(id::CLIENT_TRACKING),
        };
        call && self.new.rules().keeps_keys(self.old.rules())
    }
}
