//! `portcullis groups`: shows groups, and changes them in the configuration files.

mod audited;
mod change;
mod hosts;
mod report;
mod show;
mod status;
mod suggest;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use portcullis_config::edit::Written;
use portcullis_config::{LoadOptions, Loaded, Severity, load};
use serde_json::{Value, json};

use super::check::report;
use super::{BAD_CONFIG, config_path, say};

/// List, show, create and delete groups, and add, change or remove entries in the configuration files.
///
/// Comments, order and quoting stay. A change that 'check' would refuse is not written.
#[derive(clap::Args, Clone, Debug)]
pub struct GroupsArgs {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum GroupsCommand {
    /// List all groups: number of entries, next expiry, listeners and users that use them
    ///
    /// Host names are counted, because the file has no addresses for them. 'groups show' asks the running proxy for these.
    List(show::ListArgs),
    /// Show the entries of a group with file and line
    Show(show::ShowArgs),
    /// Add addresses or networks to a group, or change the note, owner or end of those it has
    Add(change::AddArgs),
    /// Remove addresses or networks from a group
    Remove(change::RemoveArgs),
    /// Create a group without entries
    Create(change::CreateArgs),
    /// Delete a group that nothing uses
    Delete(change::DeleteArgs),
    /// Print the sources that the shadow rules of the running proxy would refuse
    Suggest(suggest::SuggestArgs),
}

/// Runs the subcommand. Exit 0 when done; 1 when it was refused or failed; 64 for a bad group, listener or address; 78 for
/// a bad configuration.
pub fn run(args: &GroupsArgs) -> ExitCode {
    match &args.command {
        GroupsCommand::List(args) => show::list(args),
        GroupsCommand::Show(args) => show::show(args),
        GroupsCommand::Add(args) => change::add(args),
        GroupsCommand::Remove(args) => change::remove(args),
        GroupsCommand::Create(args) => change::create(args),
        GroupsCommand::Delete(args) => change::delete(args),
        GroupsCommand::Suggest(args) => suggest::run(args),
    }
}

/// Options of every subcommand.
#[derive(clap::Args, Clone, Debug)]
struct Common {
    /// The configuration file [default: PORTCULLIS_CONFIG, ./portcullis.yaml, /etc/portcullis/portcullis.yaml]
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

/// Writes to standard output. A reader that closes the pipe has read enough; the exit code still tells the result.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints a warning on standard error.
fn warn(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "portcullis: warning: {text}");
}

/// Prints an error, and a hint on a line of its own.
fn fail(text: &str, hint: Option<&str>) {
    say(format_args!("{text}"));
    if let Some(text) = hint {
        super::hint(text);
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
