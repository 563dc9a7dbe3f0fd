//! Rights that a session uses for longer than one command: what it does at a reload that takes one of them away.
//!
//! What was asked for is judged again by the frame that asked for it. Where that was too large to be kept, the old rules and
//! the new are compared instead: the session goes on only if they certainly allow no less.

use std::collections::BTreeSet;

use portcullis_acl::Judgement;
use portcullis_resp::command::keys::{self, Argv};
use portcullis_resp::command::{CommandId, id};
use portcullis_resp::scan::arguments;
use portcullis_resp::{encode, reply};

use super::Session;
use super::command::Frame;
use super::judge::{Answer, Verdict};
use crate::client::asked::Login;
use crate::link::{Link, Subscribed};
use crate::observe::{Denied, Peer};
use crate::pending::{Kept, Local, ReplyKind, Run};
use crate::plan::Plan;
use crate::shape::{Shape, Verb};

/// The frames of one client's CLIENT TRACKING may take so much; each adds prefixes to those of the ones before.
const MAX_TRACKING: usize = 16 * 1024;

/// The frames that switched CLIENT TRACKING on, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    frames: Vec<Box<[u8]>>,
    held: usize,
    /// There were more.
    incomplete: bool,
}

impl Tracking {
    pub(super) const fn held(&self) -> usize {
        size_of::<Self>() + self.held
    }

    fn add(&mut self, frame: Kept) {
        let room = MAX_TRACKING - self.held;
        let cost = |frame: &[u8]| frame.len() + size_of::<Box<[u8]>>();
        match frame {
            Some(frame) if self.frames.contains(&frame) => {}
            Some(frame) if cost(&frame) <= room => {
                self.held += cost(&frame);
                self.frames.push(frame);
            }
            Some(_) | None => self.incomplete = true,
        }
    }
}

/// Rules that come in place of others.
struct Change<'p> {
    old: &'p Plan,
    new: &'p Plan,
}

impl Change<'_> {
    fn allows<'b>(&self, command: CommandId, args: &(impl Argv<'b> + ?Sized)) -> bool {
        self.new.rules().judge(command, args, true) == Judgement::Allow
    }

    fn keeps(&self, command: CommandId) -> bool {
        self.new.rules().keeps(self.old.rules(), command)
    }

    /// Whether a frame is still allowed.
    fn allows_frame(&self, command: CommandId, frame: &[u8]) -> bool {
        let count = u64::try_from(arguments(frame).count()).unwrap_or(u64::MAX);
        self.allows(command, &keys::Frame::new(frame, count))
    }

    /// The same where it may be lost.
    fn allows_kept(&self, command: CommandId, frame: Option<&[u8]>) -> bool {
        frame.map_or_else(|| self.keeps(command), |frame| self.allows_frame(command, frame))
    }

    /// Whether all that is subscribed to is still allowed.
    fn allows_subscribed(&self, subscribed: &Subscribed) -> bool {
        Verb::subscribing().all(|(verb, command)| {
            let names = || {
                subscribed.names(verb).all(|name| self.allows(command, &[command.name().as_bytes(), name]))
            };
            self.new.rules().class(command).is_free()
                || subscribed.counts().of(verb) == 0
                || (names() && (!subscribed.has_unnamed(verb) || self.keeps(command)))
        })
    }

    /// Whether what is still owed may come.
    fn allows_run(&self, run: &Run) -> bool {
        match &run.kind {
            ReplyKind::Blocking(frame) => self.allows_kept(run.id, frame.as_deref()),
            ReplyKind::Confirmations { names: 1.., frame } => self.allows_kept(run.id, frame.as_deref()),
            ReplyKind::Tracking { on: true, frame } => self.allows_tracking(frame.as_deref()),
            ReplyKind::Monitor => self.allows(id::MONITOR, &[id::MONITOR.name().as_bytes()]),
            // What a queued SUBSCRIBE names is not known any more.
            ReplyKind::EndOfTransaction { subscribes: 1.. } => {
                Verb::subscribing().all(|(_, command)| self.keeps(command))
            }
            _ => true,
        }
    }

    /// Keys that were read before the reload are still reported, and nobody knows which they are. Where there are rules,
    /// a client may REDIRECT to itself alone; without rules it was not asked where to.
    fn allows_tracking(&self, frame: Option<&[u8]>) -> bool {
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

impl Session {
    /// Whether it uses a right that a reload may take away while the client says nothing. It may say yes where that is
    /// over.
    pub fn uses_rights(&self, link: &Link) -> bool {
        self.asked.monitors
            || self.tracking.is_some()
            || self.asked.login == Login::Replica
            || self.pending.lasts()
            || link.streams()
    }

    /// Whether all that it is in the middle of is allowed by `plan` too.
    pub(super) fn may_go_on(&self, plan: &Plan, subscribed: &Subscribed) -> bool {
        if plan.shares_rules_with(&self.plan) {
            return true;
        }
        let change = Change { old: &self.plan, new: plan };
        let tracks = self.tracking.as_ref().is_none_or(|tracking| {
            tracking.frames.iter().all(|frame| change.allows_tracking(Some(frame)))
                && (!tracking.incomplete || change.allows_tracking(None))
        });
        let monitors =
            !self.confirmed.monitors || change.allows(id::MONITOR, &[id::MONITOR.name().as_bytes()]);
        tracks
            && monitors
            && change.allows_subscribed(subscribed)
            && self.pending.runs().all(|run| change.allows_run(run))
    }

    /// A frame that travels on whole, as long as there is room for it.
    pub(super) fn keep(&self, frame: &Frame<'_>) -> Kept {
        if frame.is_whole() { self.pending.keep(frame.bytes) } else { None }
    }

    pub(super) fn confirmations(&self, verb: Verb, frame: &Frame<'_>) -> ReplyKind {
        if verb.gives_up() {
            return ReplyKind::Confirmations { names: 0, frame: None };
        }
        let names = u32::try_from(frame.arguments.saturating_sub(1)).unwrap_or(u32::MAX);
        ReplyKind::Confirmations { names, frame: self.keep(frame) }
    }

    /// Refuses a command that would make the client hold more subscriptions than `@public` allows. Names count once, and
    /// only those that the client does not hold yet; what it holds is certain when no reply is pending.
    pub(super) fn too_many_subscriptions<P: Peer>(
        &self,
        verb: Verb,
        frame: &Frame<'_>,
        peer: &P,
    ) -> Option<Verdict> {
        let limit = self.plan.rules().costs().filter(|_| !verb.gives_up())?.subscriptions;
        let queued = self.asked.transaction.as_ref().map_or(0, |transaction| transaction.subscribing());
        let held = peer.subscriptions().total().saturating_add(u64::from(queued));
        let exceeds = |more: u64| held.saturating_add(more) > limit;
        let named = frame.arguments.saturating_sub(1);
        if !exceeds(self.pending.subscribing().saturating_add(named)) {
            return None;
        }
        if !self.pending.is_empty() {
            return Some(Verdict::WaitUntilPaid);
        }
        if !frame.is_whole_within(self.plan.held_command()) {
            return Some(Verdict::NeedWhole);
        }
        let names = arguments(frame.bytes).skip(1).filter(|name| !peer.is_subscribed(verb, name));
        let new = names.collect::<BTreeSet<_>>().len();
        if !exceeds(u64::try_from(new).unwrap_or(u64::MAX)) {
            return None;
        }
        let mut line = Vec::with_capacity(80);
        encode::error(
            &mut line,
            &format!("ERR portcullis: more than {limit} subscriptions are not allowed here"),
        );
        Some(Verdict::Answer(Answer::Refusal(Local::Made(line.into_boxed_slice()), Denied::Subscriptions)))
    }

    /// CLIENT TRACKING ON and OFF; others are errors.
    pub(super) fn client_tracking(&self, frame: &Frame<'_>) -> Verdict {
        let on = match frame.argument(2, self.plan.held_command()) {
            None => return Verdict::NeedWhole,
            Some(word) if word.eq_ignore_ascii_case(b"on") => true,
            Some(word) if word.eq_ignore_ascii_case(b"off") => false,
            Some(_) => return Verdict::plain(),
        };
        let frame = if on { self.keep(frame) } else { None };
        Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Tracking { on, frame } }
    }

    /// What the upstream says to that. What is queued in a transaction counts as switched on, and not as switched off.
    pub(super) fn tracks(&mut self, on: bool, said: &[u8]) {
        match (on, said) {
            (true, reply::OK | reply::QUEUED) => {
                let frame = self.pending.take_frame();
                self.tracking.get_or_insert_default().add(frame);
            }
            (false, reply::OK) => self.tracking = None,
            _ => {}
        }
    }
}
