//! `portcullis explain`: the decision about a source, a user or a command, and the entry and file that decide.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_config::{Config, LoadOptions, Severity, load};

use super::check::report;
use super::resolve::Answers;
use super::{BAD_CONFIG, BAD_USAGE, config_path, naming, say, shell_word};
use crate::clock::wall_clock;
use crate::generation::explain::{Answer, AskedAddress, Question, as_json, as_text, listeners};
use crate::generation::logins::Logins;

/// Explain whether a source may connect, and which group, entry and line decide.
#[derive(clap::Args, Clone, Debug)]
pub struct ExplainArgs {
    /// An address, or 'unix' for a client on a unix socket
    #[arg(value_name = "IP")]
    source: String,
    /// Only this listener [default: all]
    #[arg(long, short, value_name = "NAME")]
    listener: Option<String>,
    /// Also explain whether this user may log in from the source
    #[arg(long, short, value_name = "NAME")]
    user: Option<String>,
    /// Also explain whether this command is allowed: 'GET report:1'
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// The configuration file [default: PORTCULLIS_CONFIG, ./portcullis.yaml, /etc/portcullis/portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the answer as one JSON object
    #[arg(long)]
    json: bool,
}

/// Judges the source as the proxy would now. Exit 0 when all requested listeners admit it, with the user and the command
/// if they are given; 1 when one refuses; 64 for a bad address, listener or command; 78 for a bad configuration.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let source = match AskedAddress::parse(&args.source) {
        Ok(source) => source,
        Err(why) => {
            say(format_args!("{}", naming(&why.to_string(), &args.source)));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let question = match Question::new(args.user.clone(), args.command.clone()) {
        Ok(question) => question,
        Err(why) => {
            say(format_args!("{why}"));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let Some(config) = read(args.config.as_deref()) else { return ExitCode::from(BAD_CONFIG) };
    let asked = match listeners(&config, args.listener.as_deref()) {
        Ok(asked) => asked,
        Err(why) => {
            let named = args.listener.as_deref().unwrap_or_default();
            say(format_args!("{}", naming(&why.to_string(), named)));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let now = wall_clock();
    let answers: Vec<Answer<'_>> = asked
        .into_iter()
        .map(|listener| {
            let logins = Logins::of(&config, listener, None);
            Answer::of(&config, listener, &logins, &source, &question, now)
        })
        .collect();
    let output = if args.json {
        format!("{:#}\n", as_json(&source, &answers))
    } else {
        as_text(&source, &answers, &options(args.config.as_deref()))
    };
    let mut stdout = io::stdout().lock();
    // A reader that closes the pipe has read enough; the exit code still tells the result.
    let _ = stdout.write_all(output.as_bytes()).and_then(|()| stdout.flush());
    if answers.iter().all(Answer::is_allowed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The options with which another command reads the same configuration. `config` is the file that `--config` names.
pub(super) fn options(config: Option<&Path>) -> String {
    let file = config.map(|file| shell_word(&file.display().to_string()));
    file.map(|file| format!(" --config {file}")).unwrap_or_default()
}

/// Reads the configuration without its secrets, with the addresses that its host names have now. `None`: the problems were
/// reported.
pub(super) fn read(config: Option<&Path>) -> Option<Config> {
    let path = config_path(config).map_err(|error| say(format_args!("{error}"))).ok()?;
    // The user of this command need not be allowed to read passwords.
    match load(&path, &LoadOptions::new().without_secrets()) {
        Ok(loaded) if loaded.config.hosts().is_empty() => Some(loaded.config),
        Ok(loaded) => {
            let answers = Answers::of(&loaded.config)?;
            let _ = report(&mut io::stderr().lock(), &answers.warnings(&loaded.config));
            Some(answers.apply(&loaded.config))
        }
        Err(mut problems) => {
            problems.retain(|problem| problem.severity() == Severity::Error);
            let _ = report(&mut io::stderr().lock(), &problems);
            None
        }
    }
}
