//! The form of an audit line.

use portcullis_acl::{ClientAddr, Rule};
use serde::Serialize;
use serde::ser::Serializer;

use crate::log::Timestamp;
use crate::metrics::{ClosedReason, DeniedReason, RefusedReason};

use super::{Subject, Totals};

/// One line. The fields are written in this order, and fields without a value are omitted.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    #[serde(serialize_with = "as_text")]
    time: Timestamp,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(serialize_with = "as_text")]
    source: LineSource,
    listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<LoginCheck>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<LoginResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(flatten)]
    denial: Option<DenialFacts<'a>>,
    #[serde(flatten)]
    rule: Option<RuleFacts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(flatten)]
    totals: Option<TotalFacts>,
}

impl<'a> Line<'a> {
    pub(super) fn accepted(
        id: u64,
        source: ClientAddr,
        listener: &'a str,
        rule: Option<&'a Rule<'a>>,
    ) -> Self {
        let rule = rule.map(RuleFacts::of);
        Self { id: Some(id), rule, ..Self::new("accepted", LineSource::One(source), listener) }
    }

    /// Returns the line of one refusal, or of several.
    pub(super) fn refused(
        source: LineSource,
        listener: &'a str,
        refusal: Refusal,
        rule: Option<RuleFacts<'a>>,
        count: u64,
    ) -> Self {
        let line = Self { rule, count: Some(count), ..Self::new(refusal.event(), source, listener) };
        match refusal {
            Refusal::Connection(reason) => Self { reason: Some(reason.as_str()), ..line },
            Refusal::Login(by) => Self { by: Some(by), result: Some(LoginResult::Failed), ..line },
            Refusal::Command(command, reason) => {
                Self { command: Some(command), reason: Some(reason.as_str()), ..line }
            }
        }
    }

    /// Returns the line of the first refusal, which names the client and the rule that decided.
    pub(super) fn first_refused(
        who: &Subject<'a>,
        refusal: Refusal,
        denial: Option<DenialFacts<'a>>,
    ) -> Self {
        let line = Self::refused(LineSource::One(who.source), who.listener, refusal, None, 1);
        Self { id: Some(who.id), user: who.user, denial, ..line }
    }

    /// Returns the line of a login that is not refused, or that ends the connection.
    pub(super) fn login(who: &Subject<'a>, by: LoginCheck, result: LoginResult) -> Self {
        let line = Self::new("login", LineSource::One(who.source), who.listener);
        Self { id: Some(who.id), user: who.user, by: Some(by), result: Some(result), ..line }
    }

    /// Returns the line of `count` commands with the same name.
    pub(super) fn command(
        who: &Subject<'a>,
        command: &'static str,
        keys: Option<&'a [String]>,
        count: u64,
    ) -> Self {
        let line = Self::new("command", LineSource::One(who.source), who.listener);
        Self { id: Some(who.id), user: who.user, command: Some(command), keys, count: Some(count), ..line }
    }

    pub(super) fn closed(who: &Subject<'a>, reason: ClosedReason, totals: &Totals) -> Self {
        Self {
            id: Some(who.id),
            user: who.user,
            reason: Some(reason.as_str()),
            rule: who.rule.map(RuleFacts::of),
            totals: Some(TotalFacts::of(totals)),
            ..Self::new("closed", LineSource::One(who.source), who.listener)
        }
    }

    fn new(event: &'static str, source: LineSource, listener: &'a str) -> Self {
        let time = Timestamp::now();
        Self {
            time,
            event,
            id: None,
            source,
            listener,
            user: None,
            by: None,
            result: None,
            command: None,
            keys: None,
            reason: None,
            denial: None,
            rule: None,
            count: None,
            totals: None,
        }
    }

    /// Returns the line with its newline. JSON escapes control characters, so the result is always a single line.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(USUAL_LINE);
        // Strings and numbers are serialized into memory, which cannot fail. An empty line would be the fallback.
        if serde_json::to_writer(&mut out, self).is_err() {
            out.clear();
        }
        out.push(b'\n');
        out
    }
}

/// A refusal, as far as others like it share a line with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Refusal {
    /// A connection.
    Connection(RefusedReason),
    /// A login with wrong credentials.
    Login(LoginCheck),
    /// A command with this name.
    Command(&'static str, DeniedReason),
}

impl Refusal {
    const fn event(self) -> &'static str {
        match self {
            Self::Connection(_) => "refused",
            Self::Login(_) => "login",
            Self::Command(..) => "denied",
        }
    }
}

/// The party that checks the credentials of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LoginCheck {
    /// The proxy, a password.
    Password,
    /// The proxy, a certificate that names the user.
    Certificate,
    /// The upstream.
    Upstream,
}

/// The result of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LoginResult {
    /// The client is logged in.
    Ok,
    /// The credentials are wrong.
    Failed,
    /// The source has failed too often, or the user is unknown at the upstream: the connection ends.
    Blocked,
}

/// The fields of a line about the command rule that decided.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DenialFacts<'a> {
    /// `listener` or `user`: the owner of the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acl: Option<&'static str>,
    /// The rule, as the configuration has it.
    #[serde(rename = "rule")]
    pub(super) text: &'a str,
}

/// The capacity for a `closed` line with names and notes of usual length, so that the buffer does not grow and move.
const USUAL_LINE: usize = 384;

/// Returns the line of an event that is not about a connection: the time, then `facts`.
pub(super) fn event(facts: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Event<'a, F> {
        #[serde(serialize_with = "as_text")]
        time: Timestamp,
        #[serde(flatten)]
        facts: &'a F,
    }
    // As in `to_json`, this cannot fail.
    let mut out = serde_json::to_vec(&Event { time: Timestamp::now(), facts }).unwrap_or_default();
    out.push(b'\n');
    out
}

/// The source of refused connections.
#[derive(Clone, Copy, Debug)]
pub(super) enum LineSource {
    One(ClientAddr),
    /// More sources than are counted separately within a second.
    Various,
}

impl std::fmt::Display for LineSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(addr) => addr.fmt(f),
            Self::Various => f.write_str("various"),
        }
    }
}

/// The fields of a line about the entry that decided.
#[derive(Serialize)]
pub(super) struct RuleFacts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<&'a str>,
    #[serde(serialize_with = "as_text")]
    pub(super) entry: Entry<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<u32>,
}

impl<'a> RuleFacts<'a> {
    pub(super) fn of(rule: &'a Rule<'a>) -> Self {
        Self {
            group: rule.group,
            entry: Entry::Rule(rule),
            note: rule.note,
            file: rule.file,
            line: rule.file.map(|_| rule.line),
        }
    }
}

pub(super) enum Entry<'a> {
    Rule(&'a Rule<'a>),
    Text(&'a str),
}

impl std::fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(rule) => rule.entry().fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[derive(Serialize)]
struct TotalFacts {
    bytes_from_client: u64,
    bytes_to_client: u64,
    commands: u64,
    denied: u64,
    seconds: f64,
}

impl TotalFacts {
    fn of(totals: &Totals) -> Self {
        Self {
            bytes_from_client: totals.bytes_from_client,
            bytes_to_client: totals.bytes_to_client,
            commands: totals.commands,
            denied: totals.denied,
            seconds: totals.seconds(),
        }
    }
}

fn as_text<S: Serializer>(value: &impl std::fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}
