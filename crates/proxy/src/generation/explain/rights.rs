//! Explains the decision about a user and a command, with the same plan that judges the commands of clients.

use portcullis_acl::command_rule::nearest;
use portcullis_acl::{CommandPlan, Judgement, Permit, UnixSeconds};
use portcullis_config::{Acl, Auth, Config, Listener};
use portcullis_resp::command::keys::{self, Frame};
use portcullis_resp::command::{CommandId, id, lookup, lookup_subcommand};
use portcullis_resp::{inline, reply, scan};
use serde_json::{Value, json};

use super::{AskedAddress, QuestionError, json_rule};
use crate::generation::logins::Logins;

/// The user and the command of a question; both are optional.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    user: Option<String>,
    command: Option<Command>,
}

/// A command of a question.
#[derive(Clone, Debug)]
struct Command {
    /// The command as the answer shows it, with secret arguments hidden.
    line: String,
    frame: Vec<u8>,
    arguments: u64,
    /// Whether the question has only the name of a subcommand, as the log and NOPERM print it: `config|get`.
    is_name: bool,
}

impl Question {
    /// Makes a question. `command` is written as for telnet, with quotes where needed.
    ///
    /// # Errors
    /// [`QuestionError::EmptyCommand`] or [`QuestionError::BadCommand`].
    pub(crate) fn new(user: Option<String>, command: Option<String>) -> Result<Self, QuestionError> {
        let read = |line: String| {
            let mut frame = Vec::new();
            let (line, is_name) = match with_subcommand(&line) {
                Some(words) => (words, !line.trim().contains(char::is_whitespace)),
                None => (line, false),
            };
            match inline::canonicalise(line.as_bytes(), &mut frame) {
                Ok(0) => Err(QuestionError::EmptyCommand),
                Ok(arguments) => Ok(Command { line: shown(&frame, arguments), frame, arguments, is_name }),
                Err(error) => Err(QuestionError::BadCommand(error)),
            }
        };
        Ok(Self { user, command: command.map(read).transpose()? })
    }
}

/// Returns the command with its subcommand as a word of its own: `config|get maxmemory` is `config get maxmemory`.
/// `None`: its first word does not name a subcommand.
fn with_subcommand(line: &str) -> Option<String> {
    let (name, subcommand) = line.split_whitespace().next()?.split_once('|')?;
    lookup_subcommand(lookup(name.as_bytes())?, subcommand.as_bytes())?;
    Some(line.replacen('|', " ", 1))
}

/// Renders a command with its name, keys and channels. Each other argument may be a password, so `***` hides it.
fn shown(frame: &[u8], arguments: u64) -> String {
    let args: Vec<&[u8]> = scan::arguments(frame).collect();
    let top = args.first().and_then(|name| lookup(name)).unwrap_or(CommandId::UNKNOWN);
    let subcommand = args.get(1).and_then(|name| lookup_subcommand(top, name));
    let id = subcommand.unwrap_or(top);
    let mut public = vec![0];
    public.extend(subcommand.map(|_| 1));
    let frame = Frame::new(frame, arguments);
    // If the keys cannot be found, they are hidden like the other arguments.
    let _ = keys::keys(id, &frame, |key| public.push(key.index));
    keys::channels(id, &frame, |channel| public.push(channel.index));
    let words = args.iter().enumerate().map(|(at, arg)| match public.contains(&at) {
        true => String::from_utf8_lossy(arg).into_owned(),
        false => "***".to_owned(),
    });
    let mut words: Vec<String> = words.collect();
    words.dedup_by(|next, last| next == "***" && last == "***");
    words.join(" ")
}

/// The decisions of one listener about the user and the command of a question.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    user: Option<UserRights>,
    command: Option<CommandRights>,
}

/// The side that decides about a client that has not logged in.
const BY_LOGIN: &str = "login";

#[derive(Clone, Debug)]
struct UserRights {
    name: String,
    allowed: bool,
    why: String,
    rule: Value,
}

#[derive(Clone, Debug)]
struct CommandRights {
    line: String,
    allowed: bool,
    why: String,
    /// The sides that decided: `listener`, `user` or both, or `login`. Empty if no rules of either side decided.
    by: Vec<&'static str>,
    /// The error reply that the client would get. `None` if the command is allowed.
    reply: Option<String>,
    /// What to say about a name that no known version of Redis has.
    unknown: Option<String>,
}

impl Rights {
    pub(super) fn of(
        config: &Config,
        listener: &Listener,
        logins: &Logins,
        source: &AskedAddress,
        question: &Question,
        now: UnixSeconds,
    ) -> Self {
        let named = question.user.as_deref();
        let user = named.map(|name| user_rights(config, listener, logins, name, source, now));
        // A command is not judged for a user that the listener does not know or does not admit.
        let judged = match (&user, listener.auth()) {
            (Some(_), Auth::Users) => logins.rules(named),
            _ => logins.rules(None),
        };
        let known = user.as_ref().is_none_or(|user| user.allowed);
        let command = question.command.as_ref().filter(|_| known).zip(judged);
        let command = command.map(|(command, plan)| {
            presented(listener, named, command)
                .unwrap_or_else(|| command_rights(config, listener, plan, named, command))
        });
        Self { user, command }
    }

    pub(super) fn is_allowed(&self) -> bool {
        self.user.as_ref().is_none_or(|user| user.allowed)
            && self.command.as_ref().is_none_or(|command| command.allowed)
    }

    /// Returns the decisions as lines of text, for the command line.
    pub(super) fn lines(&self, listener: &str) -> impl Iterator<Item = String> {
        let word = |allowed| if allowed { "allowed" } else { "refused" };
        let user = self.user.as_ref().map(|user| {
            format!("{listener}: user {} {}: {}", user.name.escape_debug(), word(user.allowed), user.why)
        });
        let command = self.command.as_ref().map(|command| {
            let advice = if command.by == [BY_LOGIN] { "; name the user with --user" } else { "" };
            let reply = command.reply.as_ref().map(|reply| format!(", reply: {reply}"));
            let unknown = command.unknown.as_ref().map(|unknown| format!("; {unknown}"));
            format!(
                "{listener}: {} {}: {}{advice}{}{}",
                command.line.escape_debug(),
                word(command.allowed),
                command.why,
                reply.unwrap_or_default(),
                unknown.unwrap_or_default()
            )
        });
        user.into_iter().chain(command)
    }

    pub(super) fn json(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let user = self.user.as_ref().map(|user| {
            let facts = json!({
                "name": user.name, "allowed": user.allowed, "reason": user.why, "rule": user.rule,
            });
            ("user", facts)
        });
        let command = self.command.as_ref().map(|command| {
            let facts = json!({
                "command": command.line, "allowed": command.allowed, "reason": command.why,
                "by": command.by, "reply": command.reply,
            });
            ("command", facts)
        });
        user.into_iter().chain(command)
    }
}

fn user_rights(
    config: &Config,
    listener: &Listener,
    logins: &Logins,
    name: &str,
    source: &AskedAddress,
    now: UnixSeconds,
) -> UserRights {
    let answer = |allowed, why: String, rule| UserRights { name: name.to_owned(), allowed, why, rule };
    if listener.auth() != Auth::Users {
        let why = format!("auth is {}, so the listener has no users", listener.auth().as_str());
        return answer(false, why, Value::Null);
    }
    if logins.plan(Some(name)).is_none() {
        let known = listener.users().join(", ");
        return answer(
            false,
            format!("the listener does not list this user; its users: {known}"),
            Value::Null,
        );
    }
    match logins.admits(Some(name), config.policy(), &source.from, now) {
        Ok(None) => answer(true, "from every address that the listener admits".to_owned(), Value::Null),
        Ok(Some(permit)) => {
            let rule = config.policy().rule(Permit::rule(&permit));
            let entry = rule.as_ref().map(|rule| {
                let group = rule.group.map(|group| format!(" of group {group}")).unwrap_or_default();
                let place = rule.file.map(|file| format!(", {file}:{}", rule.line)).unwrap_or_default();
                format!("from: {}{group}{place}", rule.entry())
            });
            answer(true, entry.unwrap_or_default(), rule.as_ref().map_or(Value::Null, json_rule))
        }
        Err(_) => {
            answer(false, "no entry of the user's from list matches the source".to_owned(), Value::Null)
        }
    }
}

/// Returns the decision on a command that the listener answers itself, in the name of the server that it presents
/// itself as. No rules apply to it. `None` for any other command.
fn presented(listener: &Listener, user: Option<&str>, command: &Command) -> Option<CommandRights> {
    let known = lookup(scan::arguments(&command.frame).next()?)?;
    let presentation = listener.presentation();
    let of_cluster = matches!(known, id::CLUSTER | id::READONLY | id::READWRITE | id::ASKING);
    let logged_in = listener.auth() != Auth::Users || user.is_some();
    let why = if presentation.is_sentinel_only() {
        "the listener answers every command itself, as a sentinel"
    } else if known == id::SENTINEL && presentation.is_sentinel() {
        "the listener answers it itself, as a sentinel"
    } else if of_cluster && presentation.is_cluster() && logged_in {
        "the listener answers it itself, as a cluster"
    } else {
        return None;
    };
    let (line, why) = (command.line.clone(), why.to_owned());
    Some(CommandRights { line, allowed: true, why, by: Vec::new(), reply: None, unknown: None })
}

fn command_rights(
    config: &Config,
    listener: &Listener,
    plan: &CommandPlan,
    user: Option<&str>,
    command: &Command,
) -> CommandRights {
    let name = scan::arguments(&command.frame).next().unwrap_or_default();
    let known = lookup(name).unwrap_or(CommandId::UNKNOWN);
    let unknown = (known == CommandId::UNKNOWN).then(|| about_unknown(name));
    let answer = |allowed, why: String, by: Vec<&'static str>, reply| CommandRights {
        line: command.line.clone(),
        allowed,
        why,
        by,
        reply,
        unknown: unknown.clone(),
    };
    let before_login = matches!(known, id::AUTH | id::HELLO | id::RESET | id::QUIT);
    if listener.auth() == Auth::Users && user.is_none() && !before_login {
        let why = "the client must log in first, and the question names no user".to_owned();
        return answer(false, why, vec![BY_LOGIN], Some(line_of(reply::NOAUTH)));
    }
    let args = Frame::new(&command.frame, command.arguments);
    let of_user = user.and_then(|name| config.users().iter().find(|user| user.name() == name));
    let of_user = of_user.and_then(|user| user.acl());
    let sides = [("listener", listener.acl()), ("user", of_user)];
    let costs = listener.limits().costs();
    let named = |acl: &Acl, side: &str| {
        let whose = if side == "user" { user.unwrap_or_default() } else { listener.name() };
        format!("acl \"{}\" of {side} {whose}", acl.text().join(" ").escape_debug())
    };
    let written = sides.into_iter().filter_map(|(side, acl)| Some((side, acl?)));
    match plan.judge(known, &args, true) {
        Judgement::Allow => {
            let (by, why): (Vec<_>, Vec<_>) = written.map(|(side, acl)| (side, named(acl, side))).unzip();
            let why = if why.is_empty() { "no rules apply".to_owned() } else { why.join(" and ") };
            answer(true, why, by, None)
        }
        Judgement::Refuse(refusal) => {
            let refuses = |(side, acl): &(&'static str, &Acl)| {
                let alone = CommandPlan::new(Some(acl.rules()), None).with_costs(costs);
                let refusal = alone.verdict(known, &args).err()?;
                Some((*side, format!("{}, {}", alone.deciding_rule(refusal).rule, named(acl, side))))
            };
            let (by, why): (Vec<_>, Vec<_>) = written.collect::<Vec<_>>().iter().filter_map(refuses).unzip();
            let why =
                if why.is_empty() { plan.deciding_rule(refusal).rule.to_owned() } else { why.join(" and ") };
            let mut said = Vec::new();
            // Like Redis, check the number of arguments before the permission.
            if command.is_name || refusal.command().info().takes(command.arguments) {
                refusal.write(&mut said, plan, user.unwrap_or(DEFAULT_USER).as_bytes(), name);
            } else {
                reply::wrong_arity(&mut said, refusal.command().name());
            }
            answer(false, why, by, Some(line_of(&said)))
        }
        Judgement::More => answer(false, "the command cannot be judged".to_owned(), Vec::new(), None),
    }
}

/// Says that no known version of Redis has a command, and which one was probably meant.
fn about_unknown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let meant = nearest(&name).map(|meant| format!(", did you mean {meant}?"));
    format!("no known version of Redis has this command{}", meant.unwrap_or_default())
}

/// The user name in refusals for a client without a user.
const DEFAULT_USER: &str = portcullis_acl::user::DEFAULT_USER;

fn line_of(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply).trim_end().to_owned()
}
