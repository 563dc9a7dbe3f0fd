//! `portcullis explain`: what the policy says of a source, and which entry of which file decides.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_acl::{ClientAddr, Decision, Rule, UnixSeconds};
use serde_json::{Map, Value, json};
use time::UtcDateTime;

use super::check::report;
use super::{BAD_CONFIG, BAD_USAGE, config_path, say};
use crate::config::{Config, LoadOptions, Severity, load};

/// Says whether a source may connect, and which group, entry and line decide, or which absence.
#[derive(clap::Args, Clone, Debug)]
pub struct ExplainArgs {
    /// An address, or 'unix' for a peer on a unix socket
    #[arg(value_name = "IP")]
    source: String,
    /// Only this listener [default: all]
    #[arg(long, short, value_name = "NAME")]
    listener: Option<String>,
    /// The configuration file [default: ./portcullis.yaml, then /etc/portcullis/portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the answer as one JSON object
    #[arg(long)]
    json: bool,
}

/// Judges the source as the gate would at this moment. Exit 0 when all listeners asked about admit it; 1 when one
/// refuses it; 64 for what is no address or no listener; 78 for a bad configuration.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let source = match Source::parse(&args.source) {
        Ok(source) => source,
        Err(why) => {
            say(format_args!("{why}"));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let Some(config) = read(args) else { return ExitCode::from(BAD_CONFIG) };
    let asked = match listeners(&config, args.listener.as_deref()) {
        Ok(asked) => asked,
        Err(why) => {
            say(format_args!("{why}"));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let now = now();
    let answers: Vec<Answer<'_>> =
        asked.into_iter().map(|index| Answer::of(&config, index, &source, now)).collect();
    let output =
        if args.json { format!("{:#}\n", as_json(&source, &answers)) } else { as_text(&source, &answers) };
    let mut stdout = io::stdout().lock();
    // Who closes the pipe has read enough; the exit code still tells.
    let _ = stdout.write_all(output.as_bytes()).and_then(|()| stdout.flush());
    if answers.iter().all(|answer| answer.allowed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(args: &ExplainArgs) -> Option<Config> {
    let path = config_path(args.config.as_deref()).map_err(|error| say(format_args!("{error}"))).ok()?;
    // Who asks needs no right to read passwords.
    match load(&path, &LoadOptions::new().without_secrets()) {
        Ok(loaded) => Some(loaded.config),
        Err(mut problems) => {
            problems.retain(|problem| problem.severity() == Severity::Error);
            let _ = report(&mut io::stderr().lock(), &problems);
            None
        }
    }
}

fn listeners(config: &Config, named: Option<&str>) -> Result<Vec<usize>, String> {
    let Some(name) = named else { return Ok((0..config.listeners().len()).collect()) };
    let names = || config.listeners().iter().map(|listener| listener.name());
    match names().position(|known| known == name) {
        Some(index) => Ok(vec![index]),
        None => {
            let known: Vec<&str> = names().collect();
            Err(format!("no listener '{}', there is {}", name.escape_debug(), known.join(", ")))
        }
    }
}

fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Whom the question is about.
#[derive(Clone, Debug)]
struct Source {
    from: ClientAddr,
    /// What was written, where that was folded.
    folded: Option<IpAddr>,
}

impl Source {
    fn parse(text: &str) -> Result<Self, String> {
        if text == portcullis_acl::policy::UNIX_GROUP {
            return Ok(Self { from: ClientAddr::unix(), folded: None });
        }
        let Ok(ip) = text.parse::<IpAddr>() else {
            let shown = text.escape_debug();
            let hint = match text.parse::<portcullis_acl::Cidr>() {
                Ok(_) => "name one address of that network",
                Err(_) => "write an address such as 203.0.113.9 or 2001:db8::1, or unix",
            };
            return Err(format!("'{shown}' is no address: {hint}"));
        };
        let from = ClientAddr::from_socket(SocketAddr::new(ip, 0));
        Ok(Self { folded: (from.ip() != Some(ip)).then_some(ip), from })
    }

    fn shown(&self) -> String {
        self.from.ip().map_or_else(|| self.from.to_string(), |ip| ip.to_string())
    }
}

/// What one listener does with the source.
#[derive(Clone, Debug)]
struct Answer<'c> {
    listener: &'c str,
    allowed: bool,
    reason: &'static str,
    rule: Option<Rule<'c>>,
    /// When no entry will admit it any more.
    until: Option<UnixSeconds>,
    /// How many entries `allow` has.
    entries: usize,
}

impl<'c> Answer<'c> {
    fn of(config: &'c Config, index: usize, source: &Source, now: UnixSeconds) -> Self {
        let policy = config.policy();
        let entries = policy.allowed_entries(index);
        let listener = config.listeners().get(index).map_or("", |listener| listener.name());
        match policy.judge(index, &source.from, now) {
            Decision::Allow(permit) => {
                let rule = policy.rule(permit.rule());
                Self { listener, allowed: true, reason: "allowed", rule, until: permit.expires(), entries }
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
                }
            }
        }
    }

    fn text(&self, source: &str) -> String {
        let word = if self.allowed { "allowed" } else { "refused" };
        let head = format!("{}: {source} {word}", self.listener);
        let Some(rule) = &self.rule else {
            return match self.entries {
                0 => format!("{head}: its allow list is empty"),
                1 => format!("{head}: the one entry of allow does not cover it"),
                entries => format!("{head}: none of the {entries} entries of allow covers it"),
            };
        };
        let mut text = match self.reason {
            "denied" => format!("{head} by deny, "),
            "expired" => format!("{head}: expired is "),
            _ => format!("{head} by "),
        };
        text += &rule.entry().to_string();
        text += &rule
            .group
            .map_or_else(|| " (written in place)".to_owned(), |group| format!(" of group {group}"));
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

    fn json(&self) -> Value {
        let mut answer = Map::new();
        answer.insert("listener".to_owned(), self.listener.into());
        answer.insert("allowed".to_owned(), self.allowed.into());
        answer.insert("reason".to_owned(), self.reason.into());
        answer.insert("rule".to_owned(), self.rule.as_ref().map_or(Value::Null, json_rule));
        answer.insert("until".to_owned(), self.until.map(moment).into());
        answer.into()
    }
}

fn json_rule(rule: &Rule<'_>) -> Value {
    json!({
        "entry": rule.entry().to_string(),
        "group": rule.group,
        "file": rule.file,
        "line": (rule.line > 0).then_some(rule.line),
        "note": rule.note,
        "owner": rule.owner,
        "until": rule.until.map(moment),
    })
}

fn as_text(source: &Source, answers: &[Answer<'_>]) -> String {
    let shown = source.shown();
    let folded = source.folded.map(|written| format!("{written} is judged as {shown}"));
    folded
        .into_iter()
        .chain(answers.iter().map(|answer| answer.text(&shown)))
        .fold(String::new(), |text, line| text + &line + "\n")
}

fn as_json(source: &Source, answers: &[Answer<'_>]) -> Value {
    json!({
        "source": source.shown(),
        "folded_from": source.folded.map(|ip| ip.to_string()),
        "allowed": answers.iter().all(|answer| answer.allowed),
        "listeners": answers.iter().map(Answer::json).collect::<Vec<_>>(),
    })
}

/// RFC 3339 in UTC, as `until` is written.
fn moment(at: UnixSeconds) -> String {
    let Ok(at) = UtcDateTime::from_unix_timestamp(at.0) else { return at.0.to_string() };
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.as_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

#[cfg(test)]
mod tests;
