//! What the upstream's replies mean for the client, and the replies that the gate gives itself.

use portcullis_resp::command::id;
use portcullis_resp::scan::{MessageChannel, arguments, message_channel};
use portcullis_resp::{encode, reply};

use super::{Delivery, ReplyAction, Session};
use crate::client::asked::{Login, Mute};
use crate::link::{Part, PushKind, Unavailable};
use crate::observe::Observer;
use crate::pending::{ReplyKind, ReplyMode};
use crate::plan::Auth;
use crate::tick::Tick;

/// Replies of the gate's own are rendered until this many bytes wait to be written, so that a client which never reads
/// cannot make them pile up. On shared connections `client_output_buffer` is the bound.
pub const MAX_RENDERED: usize = 64 * 1024;

impl Session {
    /// Says what becomes of a part of a reply.
    pub fn reply<O: Observer>(&mut self, part: &Part<'_>, now: Tick, observer: &mut O) -> ReplyAction {
        let Some(front) = self.pending.front() else { return ReplyAction::Desync };
        if part.ticket.session != self.key || part.ticket.seq != front.seq {
            return ReplyAction::Desync;
        }
        let is_error = part.head.kind == b'-';
        // Only the first piece of a line says what it is: the link hands out no less than its first kilobyte.
        if is_error
            && part.first
            && !self.confirmed.answered
            && let Some(why) = Unavailable::of_greeting(part.bytes)
        {
            return ReplyAction::Lost(why);
        }
        self.confirmed.answered |= part.ended > 0;
        self.confirmed.mid_reply = part.ended == 0;
        if is_error && part.first {
            // What is said of the gate's own credentials may repeat them.
            match front.kind {
                ReplyKind::Login
                | ReplyKind::Greeting
                | ReplyKind::Selecting
                | ReplyKind::Identify
                | ReplyKind::UpstreamId => {}
                _ => observer.error(part.bytes),
            }
        }
        let action = if front.muted { ReplyAction::Drop } else { ReplyAction::Pass };
        let of_setup = matches!(front.kind, ReplyKind::Login | ReplyKind::Greeting | ReplyKind::Selecting);
        let decided = match &front.kind {
            ReplyKind::Plain => return self.settle_plain(part.ended, action, now, observer),
            ReplyKind::Blocking(_) => action,
            // Confirmations are pushes: CLIENT REPLY OFF does not silence them.
            ReplyKind::Confirmations { .. } | ReplyKind::EndOfTransaction { .. } if part.confirmation => {
                ReplyAction::Pass
            }
            ReplyKind::Confirmations { .. } | ReplyKind::Untimed => action,
            ReplyKind::ClientLogin { known } => {
                let known = *known;
                self.client_logged_in(known, part, action)
            }
            ReplyKind::Tracking { on, .. } => {
                let on = *on;
                self.tracks(on, part.bytes);
                action
            }
            ReplyKind::Multi => {
                self.confirmed.in_transaction |= part.head.kind == b'+';
                action
            }
            ReplyKind::EndOfTransaction { .. } => {
                self.confirmed.in_transaction = false;
                // EXEC and DISCARD without MULTI end no WATCH.
                self.confirmed.watches &= is_error && !part.bytes.starts_with(b"-EXECABORT");
                action
            }
            ReplyKind::Watch => {
                self.confirmed.watches |= part.bytes == reply::OK;
                action
            }
            ReplyKind::NoEvict(on) => {
                if part.bytes == reply::OK {
                    self.confirmed.no_evict = *on;
                }
                action
            }
            ReplyKind::Unwatch => {
                self.confirmed.watches &= part.bytes != reply::OK;
                action
            }
            ReplyKind::Monitor => {
                self.confirmed.monitors |= part.bytes == reply::OK;
                action
            }
            ReplyKind::Reset => {
                self.confirmed.in_transaction = false;
                let done = part.bytes == reply::RESET;
                self.confirmed.monitors &= !done;
                self.tracking = self.tracking.take().filter(|_| !done);
                if done {
                    self.reset_about();
                }
                match self.plan.auth() {
                    Auth::Users if done => self.leave(),
                    Auth::Trust if done => self.login_due(),
                    _ => {}
                }
                action
            }
            // EXEC was sent as DISCARD: the client reads what EXEC would have said.
            ReplyKind::SpoiltExec => {
                self.confirmed.in_transaction = false;
                self.confirmed.watches = false;
                let done = action == ReplyAction::Pass && part.bytes == reply::OK;
                if done { ReplyAction::Replace(reply::EXECABORT) } else { action }
            }
            ReplyKind::Abandoned if part.bytes == reply::OK => {
                self.confirmed.in_transaction = false;
                self.confirmed.watches = false;
                ReplyAction::Drop
            }
            ReplyKind::ReplyMode(mode) => {
                let mode = *mode;
                self.reply_mode(mode, part.bytes, action)
            }
            ReplyKind::Selecting if is_error && Unavailable::of_setup(part.bytes).is_none() => {
                self.unselected(part.bytes);
                ReplyAction::Drop
            }
            ReplyKind::Login | ReplyKind::Greeting | ReplyKind::Selecting if is_error => {
                return ReplyAction::Lost(Unavailable::of_login(part.bytes));
            }
            ReplyKind::Login | ReplyKind::Selecting if part.bytes == reply::OK => ReplyAction::Drop,
            ReplyKind::Greeting if part.head.kind == b'%' => ReplyAction::Drop,
            ReplyKind::Select(db) => {
                let db = *db;
                self.selected(db, part.bytes);
                action
            }
            ReplyKind::Hello => self.greeted(part, action),
            ReplyKind::Permission => self.permitted(part.bytes, action),
            ReplyKind::UpstreamId => self.learned(part.bytes),
            ReplyKind::Told(text) => {
                let text = text.clone();
                self.told(text, part.bytes, action)
            }
            ReplyKind::Introduced(introduction) => {
                let introduction = (**introduction).clone();
                self.introduced(introduction, part.bytes);
                action
            }
            ReplyKind::Channels => self.channels(part, action),
            ReplyKind::Identify => self.identified(part.bytes, action),
            ReplyKind::Login
            | ReplyKind::Greeting
            | ReplyKind::Selecting
            | ReplyKind::Abandoned
            | ReplyKind::Local(_) => {
                return ReplyAction::Desync;
            }
        };
        if part.ended > 0 {
            self.pending.settle(part.ended);
        }
        self.keep_lease(now);
        if of_setup && self.asked.login == Login::Sent && self.pending.is_empty() {
            self.logged_in();
        }
        decided
    }

    /// Says what becomes of a push, a message or a monitor line, or of a piece of one; all as the link says. The rules of
    /// the moment when a message begins hold to its end.
    pub fn push(&mut self, kind: PushKind, bytes: &[u8], ended: bool) -> Delivery {
        let withheld = if self.confirmed.mid_push || self.confirmed.withholds {
            self.confirmed.withholds
        } else {
            kind == PushKind::Message && self.withholds(bytes)
        };
        self.confirmed.withholds = withheld && !ended;
        self.confirmed.mid_push = !withheld && !ended;
        if withheld { Delivery::Withhold } else { Delivery::Pass }
    }

    /// Whether the rules keep a message from the client that begins so.
    fn withholds(&self, message: &[u8]) -> bool {
        let rules = self.plan.rules();
        rules.withholds()
            && !match message_channel(message) {
                MessageChannel::Whole(channel) => rules.delivers(channel, true),
                MessageChannel::Cut(beginning) => rules.delivers(beginning, false),
                MessageChannel::Unknown => rules.delivers(&[], false),
            }
    }

    /// What the client reads of the answer to PUBSUB CHANNELS or SHARDCHANNELS: the channels that it may subscribe to.
    fn channels(&mut self, part: &Part<'_>, action: ReplyAction) -> ReplyAction {
        if action != ReplyAction::Pass || !part.first {
            return ReplyAction::Drop;
        }
        match part.head.kind {
            b'-' => return ReplyAction::Pass,
            b'*' if part.head.count >= 0 => {}
            _ => return ReplyAction::Desync,
        }
        if part.ended == 0 {
            return ReplyAction::Replace(reply::TOO_MANY_CHANNELS);
        }
        let listed: Vec<&[u8]> = arguments(part.bytes).collect();
        if i64::try_from(listed.len()) != Ok(part.head.count) {
            return ReplyAction::Desync;
        }
        let rules = self.plan.rules();
        let shown: Vec<&[u8]> = listed.into_iter().filter(|channel| rules.shows_channel(channel)).collect();
        self.scratch.clear();
        encode::command(&mut self.scratch, &shown);
        ReplyAction::Rewritten
    }

    /// Whether a reply of the gate's own comes next.
    pub fn has_local_reply(&self) -> bool {
        !self.confirmed.mid_push
            && matches!(self.pending.front(), Some(front) if matches!(front.kind, ReplyKind::Local(_)))
    }

    /// Appends the gate's own replies whose turn has come, until `out` holds `up_to` bytes.
    pub fn write_local_replies(&mut self, out: &mut Vec<u8>, up_to: usize) {
        while out.len() < up_to && self.has_local_reply() {
            let Some(front) = self.pending.front() else { return };
            let ReplyKind::Local(local) = &front.kind else { return };
            out.extend_from_slice(local.bytes());
            self.pending.settle(1);
        }
    }

    /// A run of plain replies may cover several runs of what is owed: other commands, other times.
    fn settle_plain<O: Observer>(
        &mut self,
        ended: u64,
        action: ReplyAction,
        now: Tick,
        observer: &mut O,
    ) -> ReplyAction {
        let mut left = ended;
        while left > 0 {
            let Some(front) = self.pending.front() else { return ReplyAction::Desync };
            let muted = if front.muted { ReplyAction::Drop } else { ReplyAction::Pass };
            if !front.kind.is_plain() || muted != action {
                return ReplyAction::Desync;
            }
            let n = left.min(front.n);
            observer.answered(front.id, n, now.since(front.at));
            self.pending.settle(n);
            left -= n;
        }
        action
    }

    fn reply_mode(&mut self, mode: ReplyMode, said: &[u8], action: ReplyAction) -> ReplyAction {
        if said != reply::OK {
            return action;
        }
        match mode {
            ReplyMode::On => self.asked.mute = Mute::No,
            ReplyMode::Off => self.asked.mute = Mute::All,
            ReplyMode::Skip if self.asked.mute != Mute::All => self.asked.mute = Mute::Next,
            ReplyMode::Skip => {}
        }
        if mode == ReplyMode::On { ReplyAction::Pass } else { ReplyAction::Drop }
    }

    /// Whether the client has the upstream shut down: then the end of the connection is the answer.
    pub(super) fn shuts_down(&self) -> bool {
        self.pending.front().is_some_and(|front| front.id == id::SHUTDOWN)
    }
}
