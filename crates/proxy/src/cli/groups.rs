//! `portcullis groups`: who is on which list, and changing that in the files themselves.

mod change;
mod show;
mod status;
mod suggest;
mod table;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use portcullis_config::edit::Written;
use portcullis_config::{LoadOptions, Loaded, Severity, load};
use serde_json::{Value, json};

use super::check::report;
use super::{BAD_CONFIG, config_path, say};

/// Shows the groups of a configuration, and adds and removes entries where they are written: comments, order and quoting
/// stay, and nothing is written that 'check' would refuse.
#[derive(clap::Args, Clone, Debug)]
pub struct GroupsArgs {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum GroupsCommand {
    /// Name all groups: entries, next expiry, who uses them
    List(show::ListArgs),
    /// Show the entries of a group, and where each is written
    Show(show::ShowArgs),
    /// Add an address or a network to a group
    Add(change::AddArgs),
    /// Take an address or a network out of a group
    Remove(change::RemoveArgs),
    /// Ask the running gate whom the shadow rules would refuse, and print them as a list
    Suggest(suggest::SuggestArgs),
}

/// Exit 0 when done; 1 when it was refused or failed; 64 for a group, listener or address that is none; 78 for a bad
/// configuration.
pub fn run(args: &GroupsArgs) -> ExitCode {
    match &args.command {
        GroupsCommand::List(args) => show::list(args),
        GroupsCommand::Show(args) => show::show(args),
        GroupsCommand::Add(args) => change::add(args),
        GroupsCommand::Remove(args) => change::remove(args),
        GroupsCommand::Suggest(args) => suggest::run(args),
    }
}

/// What every subcommand takes.
#[derive(clap::Args, Clone, Debug)]
struct Common {
    /// The configuration file [default: ./portcullis.yaml, then /etc/portcullis/portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

impl Common {
    fn path(&self) -> Result<PathBuf, ExitCode> {
        config_path(self.config.as_deref()).map_err(|error| {
            say(format_args!("{error}"));
            ExitCode::from(BAD_CONFIG)
        })
    }

    fn load(&self, options: &LoadOptions) -> Result<Loaded, ExitCode> {
        load(&self.path()?, options).map_err(|mut problems| {
            problems.retain(|problem| problem.severity() == Severity::Error);
            let _ = report(&mut io::stderr().lock(), &problems);
            ExitCode::from(BAD_CONFIG)
        })
    }
}

/// Who closes the pipe has read enough; the exit code still tells.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// One line on standard error that does not stop anything.
fn warn(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "portcullis: warning: {text}");
}

/// An error, and on a line of its own what to do.
fn fail(text: &str, hint: Option<&str>) {
    say(format_args!("{text}"));
    if let Some(hint) = hint {
        let _ = writeln!(io::stderr().lock(), "  hint: {hint}");
    }
}

fn json_entry(written: &Written) -> Value {
    json!({
        "entry": written.entry.to_string(),
        "group": written.group,
        "note": written.note,
        "owner": written.owner,
        "until": written.until.map(crate::generation::explain::moment),
        "file": written.file,
        "line": written.line,
    })
}

#[cfg(test)]
mod tests;
