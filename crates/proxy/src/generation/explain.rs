//! Explains the decision about a source, a user and a command, and names the entry and file that decided. Used by
//! `portcullis explain` and `/api/explain`.

mod rights;

use std::net::{IpAddr, SocketAddr};

use portcullis_acl::policy::UNIX_GROUP;
use portcullis_acl::{ClientAddr, Decision, List, Rule, UnixSeconds};
use portcullis_config::message::{Masked, known_names};
use portcullis_config::{Config, Listener};
use portcullis_resp::error::RequestError;
use serde_json::{Map, Value, json};
use time::UtcDateTime;

pub(crate) use self::rights::Question;
use self::rights::Rights;
use super::logins::Logins;

/// The key before a source in the log.
const LOGGED_SOURCE: &str = "source=";

/// The reason why a question cannot be answered. The text of the error names the right form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuestionError {
    /// The configuration has no listener of that name.
    #[error("unknown listener '{name}'; {hint}")]
    UnknownListener { name: Masked, hint: String },
    /// The source is a network.
    #[error("'{0}' is not an address: name one address of that network")]
    Network(Masked),
    /// The source is neither an address nor `unix`.
    #[error("'{0}' is not an address: write an address such as 203.0.113.9 or 2001:db8::1, or unix")]
    NotAnAddress(Masked),
    /// The command has no name.
    #[error("the command is empty: write --command 'GET report:1'")]
    EmptyCommand,
    /// The command cannot be parsed.
    #[error("--command is not a valid command: {0}")]
    BadCommand(RequestError),
}

/// Returns the listener with this name, or all listeners if `named` is `None`.
///
/// # Errors
/// [`QuestionError::UnknownListener`].
pub(crate) fn listeners<'c>(
    config: &'c Config,
    named: Option<&str>,
) -> Result<Vec<&'c Listener>, QuestionError> {
    let Some(name) = named else { return Ok(config.listeners().iter().map(AsRef::as_ref).collect()) };
    match config.listener(name) {
        Some(listener) => Ok(vec![listener]),
        None => {
            let known: Vec<&str> = config.listeners().iter().map(|listener| listener.name()).collect();
            let hint = known_names(name, &known, "listeners");
            Err(QuestionError::UnknownListener { name: Masked::near(name, &known), hint })
        }
    }
}

/// The source address of a question.
#[derive(Clone, Debug)]
pub(crate) struct AskedAddress {
    from: ClientAddr,
    /// The address as it was written, if another address is judged instead (IPv4 mapped into IPv6).
    folded: Option<IpAddr>,
}

impl AskedAddress {
    /// Parses an IP address, or the word `unix`. A port and `source=` are ignored: `source=203.0.113.9:50000` and
    /// `[2001:db8::1]:50000` stand in the log and the audit trail.
    ///
    /// # Errors
    /// [`QuestionError::Network`] or [`QuestionError::NotAnAddress`].
    pub(crate) fn parse(text: &str) -> Result<Self, QuestionError> {
        let text = text.strip_prefix(LOGGED_SOURCE).unwrap_or(text);
        if text == UNIX_GROUP {
            return Ok(Self { from: ClientAddr::unix(), folded: None });
        }
        let Ok(ip) = text.parse::<IpAddr>().or_else(|_| text.parse().map(without_port)) else {
            let shown = Masked::of(text);
            return Err(match text.parse::<portcullis_acl::Cidr>() {
                Ok(_) => QuestionError::Network(shown),
                Err(_) => QuestionError::NotAnAddress(shown),
            });
        };
        let from = ClientAddr::from_socket(SocketAddr::new(ip, 0));
        Ok(Self { folded: (from.ip() != Some(ip)).then_some(ip), from })
    }

    fn shown(&self) -> String {
        self.from.ip().map_or_else(|| self.from.to_string(), |ip| ip.to_string())
    }
}

fn without_port(socket: SocketAddr) -> IpAddr {
    match socket {
        SocketAddr::V4(socket) => IpAddr::V4(*socket.ip()),
        SocketAddr::V6(socket) => IpAddr::V6(*socket.ip()),
    }
}

/// The decision of one listener about the question.
#[derive(Clone, Debug)]
pub(crate) struct Answer<'c> {
    listener: &'c str,
    allowed: bool,
    reason: &'static str,
    rule: Option<Rule<'c>>,
    /// The time from which no entry admits the source. `None` if there is no such time, or if the source is refused.
    until: Option<UnixSeconds>,
    /// The number of entries of `allow`, with the addresses of its host names.
    entries: usize,
    /// The number of host names in `allow`.
    hosts: usize,
    /// The groups in `allow`, with those that they include.
    groups: Vec<&'c str>,
    /// The decisions about the user and the command.
    rights: Rights,
}

impl<'c> Answer<'c> {
    /// Answers for one listener of `config`, as of `now`. `logins` must be the logins of that listener.
    pub(crate) fn of(
        config: &'c Config,
        listener: &'c Listener,
        logins: &Logins,
        source: &AskedAddress,
        question: &Question,
        now: UnixSeconds,
    ) -> Self {
        let rights = Rights::of(config, listener, logins, source, question, now);
        let policy = config.policy();
        let (listener, index) = (listener.name(), listener.index());
        let entries = policy.allowed_entries(index);
        let hosts = config.allowed_hosts(index).count();
        let mut groups = policy.listed(index, List::Allow);
        groups.retain(|group| *group != UNIX_GROUP);
        match policy.judge(index, &source.from, now) {
            Decision::Allow(permit) => {
                let rule = policy.rule(permit.rule());
                Self {
                    listener,
                    allowed: true,
                    reason: "allowed",
                    rule,
                    until: permit.expires(),
                    entries,
                    hosts,
                    groups,
                    rights,
                }
            }
            Decision::Deny(denial) => {
                let rule = denial.rule().and_then(|rule| policy.rule(rule));
                Self {
                    listener,
                    allowed: false,
                    reason: denial.reason().as_str(),
                    rule,
                    until: None,
                    entries,
                    hosts,
                    groups,
                    rights,
                }
            }
        }
    }

    /// Returns whether the listener admits the source and, where the question names them, the user and the command.
    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed && self.rights.is_allowed()
    }

    fn text(&self, source: &str) -> String {
        let word = if self.allowed { "allowed" } else { "refused" };
        let head = format!("{}: {source} {word}", self.listener);
        let Some(rule) = &self.rule else {
            return match (self.entries, self.hosts) {
                (0, 0) => format!("{head}: its allow list is empty"),
                (0, 1) => format!("{head}: the only entry of allow is a host name, which has no address now"),
                (0, hosts) => {
                    format!("{head}: allow has only {hosts} host names, and none has an address now")
                }
                (1, _) => format!("{head}: the only entry of allow does not match"),
                (entries, _) => format!("{head}: none of the {entries} entries of allow matches"),
            };
        };
        let mut text = match self.reason {
            "denied" => format!("{head} by deny, "),
            "expired" => format!("{head}: expired entry "),
            _ => format!("{head} by "),
        };
        text += &rule.entry().to_string();
        text += &rule.host.map_or_else(String::new, |host| format!(" ({host})"));
        text += &rule.group.map_or_else(|| " (inline)".to_owned(), |group| format!(" of group {group}"));
        if let Some(file) = rule.file {
            text += &format!(", {file}:{}", rule.line);
        }
        let said = [("note", rule.note), ("owner", rule.owner)];
        for (key, value) in said.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            text += &format!(", {key}: {}", value.escape_debug());
        }
        match (self.until, rule.until) {
            (Some(until), _) => text += &format!(", until {}", moment(until)),
            (None, Some(until)) if !self.allowed => text += &format!(", until {}", moment(until)),
            _ => {}
        }
        text
    }

    /// The next step where the source is refused and an entry would admit it. `options` are further options of the command.
    fn remedy(&self, source: &str, options: &str) -> Option<String> {
        let add = |group: &str, entry: &str| format!("  to admit it: portcullis groups add {group} {entry}");
        match (self.reason, &self.rule, self.groups.as_slice()) {
            ("expired", Some(Rule { group: Some(group), cidr: Some(cidr), host: None, .. }), _) => {
                Some(format!("{} --until 8h{options}", add(group, &cidr.to_string())))
            }
            ("not_allowed", None, []) => {
                Some(format!("  to admit it: write {source} into allow of listener {}", self.listener))
            }
            ("not_allowed", None, [group]) if source != UNIX_GROUP => Some(add(group, source) + options),
            ("not_allowed", None, [group, others @ ..]) if source != UNIX_GROUP => {
                let others = others.join(", ");
                Some(format!("{}{options}    # or instead of {group}: {others}", add(group, source)))
            }
            _ => None,
        }
    }

    fn json(&self) -> Value {
        let mut answer = Map::new();
        answer.insert("listener".to_owned(), self.listener.into());
        answer.insert("allowed".to_owned(), self.allowed.into());
        answer.insert("reason".to_owned(), self.reason.into());
        answer.insert("rule".to_owned(), self.rule.as_ref().map_or(Value::Null, json_rule));
        answer.insert("until".to_owned(), self.until.map(moment).into());
        answer.extend(self.rights.json().map(|(key, facts)| (key.to_owned(), facts)));
        answer.into()
    }
}

/// Renders an entry as JSON. `host` is there where the entry is an address that a host name resolved to.
pub(crate) fn json_rule(rule: &Rule<'_>) -> Value {
    let mut facts = json!({
        "entry": rule.entry().to_string(),
        "group": rule.group,
        "file": rule.file,
        "line": (rule.line > 0).then_some(rule.line),
        "note": rule.note,
        "owner": rule.owner,
        "until": rule.until.map(moment),
    });
    if let Some(host) = rule.host {
        facts["host"] = host.into();
    }
    facts
}

/// Renders the answers as text: one line for the source, the user and the command of each listener. Below a source that
/// is refused stands the command that would admit it; `options` are its further options.
pub(crate) fn as_text(source: &AskedAddress, answers: &[Answer<'_>], options: &str) -> String {
    let shown = source.shown();
    let folded = source.folded.map(|written| format!("{written} is judged as {shown}"));
    folded
        .into_iter()
        .chain(answers.iter().flat_map(|answer| {
            let remedy = answer.remedy(&shown, options);
            std::iter::once(answer.text(&shown)).chain(remedy).chain(answer.rights.lines(answer.listener))
        }))
        .fold(String::new(), |text, line| text + &line + "\n")
}

/// Renders the answers as JSON.
pub(crate) fn as_json(source: &AskedAddress, answers: &[Answer<'_>]) -> Value {
    json!({
        "source": source.shown(),
        "folded_from": source.folded.map(|ip| ip.to_string()),
        "allowed": answers.iter().all(Answer::is_allowed),
        "listeners": answers.iter().map(Answer::json).collect::<Vec<_>>(),
    })
}

/// Renders a time as RFC 3339 in UTC, the form in which the configuration has `until`.
pub(crate) fn moment(at: UnixSeconds) -> String {
    let Ok(at) = UtcDateTime::from_unix_timestamp(at.0) else { return at.0.to_string() };
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.as_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

#[cfg(test)]
mod tests;
