//! Commands that the gate sends by itself or in place of the client's bytes.

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::encode;

use super::continuity::{self, Again};
use super::identity::Deferred;
use super::profile::Unblock;
use super::reading::Reading;
use super::step::{Step, Until};
use super::verdict::Later;
use crate::link::{Preamble, Stage};
use crate::local::client_info;
use crate::local::hello::Greeting;
use crate::observe::Observer;
use crate::pending::ReplyKind;
use crate::plan::Plan;
use crate::shape::Shape;

impl<'s> Reading<'s> {
    /// Sends `bytes` in place of a command that occupies `skip` bytes of the buffer.
    pub(super) fn send_instead<O: Observer>(
        self,
        bytes: Vec<u8>,
        skip: usize,
        (shape, kind): (Shape, ReplyKind),
        id: CommandId,
        observer: &mut O,
    ) -> Step<'s> {
        observer.command(id, 1);
        let muted = self.state.mute.take();
        let to = self.state.upstream.route();
        let first = self.state.pending.push_reply(kind, &shape, id, self.now, muted);
        self.state.scratch = bytes;
        Step::Instead { to, bytes: &self.state.scratch, skip, first, shape }
    }

    /// Waits for an upstream connection of the client's own. The credentials for its login are fixed now.
    pub(super) fn wait_for_link(self) -> Step<'s> {
        self.state.identity.fix_key();
        Step::Wait(Until::Linked)
    }

    /// Takes the step that must come before a command is judged again.
    pub(super) fn prepare(self, later: Later) -> Step<'s> {
        match later {
            Later::Linked => self.wait_for_link(),
            Later::Pooled => Step::Wait(Until::Pooled),
            Later::Settled => {
                self.state.pending.hold();
                Step::Wait(Until::NothingPending)
            }
            Later::Selected => self.send_setup(Stage::Select),
            Later::IdLearned => self.ask_upstream_id(),
            Later::Discarded => {
                let to = self.state.upstream.route();
                let first =
                    self.state.pending.push_apart(ReplyKind::Abandoned, CommandId::UNKNOWN, self.now, false);
                self.state.scratch.clear();
                encode::command(&mut self.state.scratch, &[b"DISCARD"]);
                Step::Instead { to, bytes: &self.state.scratch, skip: 0, first, shape: Shape::Whole }
            }
        }
    }

    /// Sends one step of the connection's setup.
    pub(super) fn send_setup(self, stage: Stage) -> Step<'s> {
        let key = self.state.pool_key();
        let setup = continuity::setup(self.state, &key);
        let next = stage.next(&setup);
        // The credentials are not copied.
        let made = if stage == Stage::Auth { None } else { stage.command(&setup).map(Cow::into_owned) };
        self.state.upstream.send_setup(next);
        let to = self.state.upstream.route();
        let first =
            self.state.pending.push_apart(ReplyKind::Setup(stage), CommandId::UNKNOWN, self.now, false);
        let shape = stage.shape();
        let bytes = match stage {
            Stage::Auth => self.state.identity.key().map_or(&[][..], Preamble::bytes),
            _ => {
                self.state.scratch = made.unwrap_or_default();
                &self.state.scratch
            }
        };
        Step::Instead { to, bytes, skip: 0, first, shape }
    }

    /// Sends the gate's login as another user. The client's user changes only after the upstream has confirmed the
    /// login.
    pub(super) fn send_login(
        self,
        plan: Arc<Plan>,
        hello: Option<Greeting>,
        command: CommandId,
        skip: usize,
    ) -> Step<'s> {
        let muted = self.state.mute.take();
        let to = self.state.upstream.route();
        let first = self.state.pending.push_apart(ReplyKind::Identify, command, self.now, muted);
        self.state.pending.hold();
        let hello = hello.map(|greeting| Deferred { greeting, at: self.now, muted });
        let bytes = self.state.identity.begin_entering(plan, hello);
        Step::Instead { to, bytes, skip, first, shape: Shape::Whole }
    }

    /// Keeps a HELLO that must wait before it is sent.
    pub(super) fn defer(&mut self, greeting: Greeting) {
        let muted = self.state.mute.take();
        self.state.identity.defer(Deferred { greeting, at: self.now, muted });
    }

    /// Sends the HELLO whose credentials the gate has removed.
    pub(super) fn send_deferred(self, hello: Deferred) -> Step<'s> {
        let Deferred { greeting, at, muted } = hello;
        let (kind, shape) = if self.state.answers_client() || continuity::follows(self.state) {
            self.state.profile_mut().begin_naming(greeting.name.as_deref());
            (ReplyKind::Hello, Shape::WholeHello)
        } else {
            (ReplyKind::Untimed, Shape::Hello)
        };
        let to = self.state.upstream.route();
        let first = self.state.pending.push_apart(kind, id::HELLO, at, muted);
        self.state.scratch = greeting.bytes;
        Step::Instead { to, bytes: &self.state.scratch, skip: 0, first, shape }
    }

    /// Sends a blocking command again, which its former server did not execute.
    pub(super) fn send_again(self, again: Again) -> Step<'s> {
        let Again { frame, command, at, muted } = again;
        self.state.scratch = frame.to_vec();
        let to = self.state.upstream.route();
        let first = self.state.pending.push_apart(ReplyKind::Blocking(Some(frame)), command, at, muted);
        Step::Instead { to, bytes: &self.state.scratch, skip: 0, first, shape: Shape::One }
    }

    /// Sends CLIENT UNBLOCK to Redis for the client that was found.
    pub(super) fn send_unblock(self, unblock: &Unblock) -> Step<'s> {
        let (at, muted) = (unblock.question.at, unblock.question.muted);
        let to = self.state.upstream.route();
        let first = self.state.pending.push_apart(ReplyKind::Plain, id::CLIENT_UNBLOCK, at, muted);
        self.state.scratch = client_info::unblock_command(unblock.id, unblock.error);
        Step::Instead { to, bytes: &self.state.scratch, skip: 0, first, shape: Shape::Whole }
    }

    /// Asks Redis for the id of the upstream connection.
    fn ask_upstream_id(self) -> Step<'s> {
        self.state.profile_mut().ask_upstream_id();
        let to = self.state.upstream.route();
        let first = self.state.pending.push_apart(ReplyKind::UpstreamId, id::CLIENT_ID, self.now, false);
        self.state.scratch.clear();
        encode::command(&mut self.state.scratch, &[b"CLIENT", b"ID"]);
        Step::Instead { to, bytes: &self.state.scratch, skip: 0, first, shape: Shape::Whole }
    }
}
