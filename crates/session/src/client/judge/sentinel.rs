//! Judges the commands of a listener that is only a sentinel. The gate answers all of them, as a sentinel does.

use portcullis_resp::command::{CommandId, id, is_cross_protocol, lookup_subcommand};
use portcullis_resp::{encode, reply};

use super::Judge;
use super::presented::{MAX_PRESENTED, verdict_of};
use crate::client::command::CommandFrame;
use crate::client::state::State;
use crate::client::verdict::{Answer, Verdict};
use crate::face;
use crate::face::Face;
use crate::local::client_info::{self, Said};
use crate::local::hello::Hello;
use crate::observe::Host;
use crate::pending::Local;
use crate::shape::Verb;

/// Commands that a sentinel allows in subscriber mode in RESP2.
const WHILE_SUBSCRIBED: [CommandId; 5] =
    [id::SUBSCRIBE, id::PSUBSCRIBE, id::UNSUBSCRIBE, id::PUNSUBSCRIBE, id::PING];

/// A command for a sentinel.
pub(super) struct ForSentinel<'j, H> {
    state: &'j mut State,
    command: CommandId,
    frame: &'j CommandFrame<'j>,
    host: &'j mut H,
}

impl<'j, H: Host> ForSentinel<'j, H> {
    /// Takes the command of a judge.
    pub(super) const fn of(judge: &'j mut Judge<'_, H>) -> Self {
        Self { state: judge.state, command: judge.command, frame: judge.frame, host: judge.host }
    }

    /// Judges a command in the name of a sentinel.
    pub(super) fn judge(mut self, face: &Face) -> Verdict {
        let held = self.state.plan().held_command();
        match self.command {
            CommandId::UNKNOWN if is_cross_protocol(self.frame.name()) => {
                return Verdict::Answer(Answer::Silence);
            }
            id::QUIT => return Verdict::Answer(Answer::Quit(Local::Canned(reply::OK))),
            id::SENTINEL
            | id::PING
            | id::HELLO
            | id::AUTH
            | id::CLIENT
            | id::ROLE
            | id::INFO
            | id::COMMAND => {}
            id::SUBSCRIBE | id::PSUBSCRIBE | id::UNSUBSCRIBE | id::PUNSUBSCRIBE => {}
            _ => return self.frame.unknown(held),
        }
        if !self.command.info().takes(self.frame.arguments) {
            return Verdict::wrong_arity(self.command);
        }
        if !self.frame.is_whole_within(held) {
            return Verdict::NeedWhole;
        }
        if self.state.pending.made() >= MAX_PRESENTED {
            return Verdict::UNTIL_SETTLED;
        }
        let view = self.state.view(&*self.host);
        let subscribed = view.subscriptions.active() && !view.resp3;
        if subscribed && !WHILE_SUBSCRIBED.contains(&self.command) {
            return Verdict::error(client_info::not_while_subscribed(self.command));
        }
        self.answer_as_sentinel(face, subscribed, view.resp3)
    }

    fn answer_as_sentinel(&mut self, face: &Face, subscribed: bool, resp3: bool) -> Verdict {
        let args = self.frame.after_name();
        match self.command {
            id::PING => reply_of(pong(&args, subscribed)),
            id::HELLO => self.sentinel_hello(&args, resp3),
            id::AUTH if args.len() > 2 => Verdict::canned_error(reply::SYNTAX_ERROR),
            // The allowlist takes the place of a password: the answers are the same for every client.
            id::AUTH => Verdict::canned_reply(reply::OK),
            id::CLIENT => self.sentinel_client(&args),
            id::ROLE => reply_of(face.sentinel_role()),
            id::COMMAND => reply_of(no_commands(&args, resp3)),
            _ => match (Verb::of(self.command), face.place(self.host.reached_at())) {
                (Some(verb), _) => self.listen(verb, &args),
                (None, None) => verdict_of(face::no_address()),
                (None, Some(here)) if self.command == id::INFO => reply_of(face.sentinel_info(&here, resp3)),
                (None, Some(here)) => verdict_of(face.sentinel(&here, &args, resp3)),
            },
        }
    }

    fn sentinel_hello(&mut self, args: &[&[u8]], resp3: bool) -> Verdict {
        let hello = match Hello::read(args) {
            Ok(hello) => hello,
            Err(line) => return Verdict::error(line),
        };
        let name = hello.name;
        let resp3 = hello.asks_for_resp3().unwrap_or(resp3);
        if let Some(name) = name {
            let mut info = self.state.profile_mut().take_info();
            let set = info.set_name(name);
            self.state.profile_mut().set_info(info);
            if let Err(line) = set {
                return Verdict::canned_error(line);
            }
        }
        self.state.profile_mut().listening_mut().set_resp3(resp3);
        reply_of(face::sentinel_hello(self.host.id(), resp3))
    }

    /// Answers CLIENT, as far as it concerns only the client itself.
    fn sentinel_client(&mut self, args: &[&[u8]]) -> Verdict {
        let exact = args.first().and_then(|word| lookup_subcommand(id::CLIENT, word));
        let (exact, args) = match exact {
            Some(id::CLIENT_CAPA) => return Verdict::canned_reply(reply::OK),
            Some(
                known @ (id::CLIENT_ID
                | id::CLIENT_GETNAME
                | id::CLIENT_SETNAME
                | id::CLIENT_SETINFO
                | id::CLIENT_INFO),
            ) => (known, args.get(1..).unwrap_or_default()),
            _ => (id::CLIENT, args),
        };
        let mut info = self.state.profile_mut().take_info();
        let said = info.client(exact, args, &self.state.view(&*self.host));
        self.state.profile_mut().set_info(info);
        match said {
            Said::Reply(bytes) => reply_of(bytes),
            Said::Error(line) => Verdict::error(line),
            Said::Ask(..) => Verdict::canned_error(reply::SYNTAX_ERROR),
        }
    }

    fn listen(&mut self, verb: Verb, names: &[&[u8]]) -> Verdict {
        match self.state.profile_mut().listening_mut().apply(verb, names) {
            Some(confirmations) => reply_of(confirmations),
            None => Verdict::canned_error(TOO_MANY),
        }
    }
}

fn reply_of(bytes: Vec<u8>) -> Verdict {
    Verdict::Answer(Answer::Reply(Local::Made(bytes.into_boxed_slice())))
}

fn pong(args: &[&[u8]], subscribed: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    match (args.first(), subscribed) {
        (text, true) => encode::command(&mut out, &[b"pong", text.copied().unwrap_or_default()]),
        (Some(text), false) => encode::bulk(&mut out, text),
        (None, false) => out.extend_from_slice(reply::PONG),
    }
    out
}

/// Returns the reply to COMMAND. The gate describes no commands, so that clients use what they know of a sentinel.
fn no_commands(args: &[&[u8]], resp3: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(8);
    let is = |word: &[u8]| args.first().is_some_and(|first| first.eq_ignore_ascii_case(word));
    if is(b"count") {
        encode::integer(&mut out, 0);
    } else if is(b"docs") {
        encode::map(&mut out, 0, resp3);
    } else {
        encode::array(&mut out, 0);
    }
    out
}

const TOO_MANY: &[u8] = b"-ERR portcullis: the names of the subscriptions are too long here\r\n";
