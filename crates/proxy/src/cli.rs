//! The command line.

mod admin_client;
pub mod check;
pub mod clients;
pub mod completions;
pub mod explain;
pub mod export;
pub mod forward;
pub mod groups;
pub mod hash_password;
pub mod import;
pub mod init;
pub mod man;
mod password;
mod reachable;
pub mod ready;
mod resolve;
pub mod run;
pub mod schema;
pub mod service;
mod shown;
pub mod sources;
pub mod status;
mod table;
pub mod test_connection;
pub mod top;
pub mod version;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use portcullis_config::default_path;
use portcullis_config::message::{Masked, nearest};

use crate::platform::disable_core_dumps;

/// EX_USAGE of sysexits.h.
pub const BAD_USAGE: u8 = 64;
/// EX_CONFIG of sysexits.h.
pub const BAD_CONFIG: u8 = 78;

/// The name of the program.
const NAME: &str = "portcullis";

/// The variable that names the configuration file where `--config` does not.
const CONFIG_VARIABLE: &str = "PORTCULLIS_CONFIG";

/// The end of `--help`. A user may have the program and nothing else, and there is no published address yet: so first what the
/// program itself prints.
const AFTER_HELP: &str = "\
Environment:
  PORTCULLIS_CONFIG  The configuration file, unless --config names one

Documentation:
  portcullis help COMMAND  Explains a command and its options.
  portcullis man COMMAND   Prints the manual page of a command.
  portcullis schema        Prints every key of the configuration, with its meaning.
  README.md and docs/      All pages for operators, in the source and in packages.";

/// A proxy for a private Redis that admits only the networks you choose
#[derive(Debug, Parser)]
#[command(name = NAME, version = version::VERSION, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented configuration to start from
    ///
    /// On a terminal it asks for what it needs. With an option of the forward, or without a terminal, it does not ask. What is
    /// not given then has a default: --listen 0.0.0.0:6380 --to 127.0.0.1:6379 --allow 127.0.0.1
    Init(init::InitArgs),
    /// Run the proxy until SIGTERM or SIGINT
    ///
    /// The configuration is a file, or the options of one forward: portcullis run --listen 0.0.0.0:6380 --to redis:6379 --allow
    /// 203.0.113.0/24
    Run(run::RunArgs),
    /// Validate a configuration: report every problem, or a summary of what it does
    Check(check::CheckArgs),
    /// Ask the running proxy whether it serves clients: exit 0 if it does, 1 if not
    Ready(ready::ReadyArgs),
    /// Print the state of the running proxy: clients, listeners, upstreams, refusals
    Status(status::StatusArgs),
    /// Watch the running proxy on a terminal, from second to second
    Top(top::TopArgs),
    /// List the clients of the running proxy, or disconnect one
    Clients(clients::ClientsArgs),
    /// List the sources that the running proxy blocks, or unblock one
    Sources(sources::SourcesArgs),
    /// Explain whether a source may connect, and which entry decides
    Explain(explain::ExplainArgs),
    /// Test the connections to the upstreams, and to the running proxy as a client
    ///
    /// Prints each step with its time: names, TCP, TLS, login, PING and role. After a failure it says what to do. The last line
    /// says whether the configuration works.
    TestConnection(test_connection::TestConnectionArgs),
    /// List and show groups, and add or remove entries in the configuration files
    Groups(groups::GroupsArgs),
    /// Convert a configuration of rinetd, netsh, nginx, HAProxy or ApsaraDB, or a list of addresses
    Import(import::ImportArgs),
    /// Print the allowlist of listeners as rules for the kernel or for a cloud
    Export(export::ExportArgs),
    /// Install, start and stop the proxy as a service of Windows
    Service(service::ServiceArgs),
    /// Print the SHA-256 digest of a password
    ///
    /// The password is read from the terminal without echo, or from standard input. It is never an argument, which other
    /// users can see. Write the digest as {sha256: DIGEST} in the configuration, or as #DIGEST in ACL SETUSER of Redis.
    HashPassword(hash_password::HashPasswordArgs),
    /// Print the JSON Schema of the configuration, for editors
    Schema(schema::SchemaArgs),
    /// Print a script that completes subcommands and options in a shell
    ///
    /// For bash and one user: portcullis completions bash > ~/.local/share/bash-completion/completions/portcullis
    Completions(completions::CompletionsArgs),
    /// Print a manual page, or write all of them into a directory
    Man(man::ManArgs),
    /// Print version, commit and build
    Version(version::VersionArgs),
}

/// Runs the subcommand. The exit code is 0, [`BAD_USAGE`], [`BAD_CONFIG`], or 1 for a failure.
pub fn main() -> ExitCode {
    main_with(std::env::args_os())
}

fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that closes the pipe has read enough.
            let _ = error.print();
            if let Some(tip) = tip_for_file(&error).or_else(|| tip_for_command(&error)) {
                let _ = writeln!(io::stderr().lock(), "\n  tip: {tip}");
            }
            return if error.use_stderr() { ExitCode::from(BAD_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    // All subcommands handle passwords, which must not reach a core file or another process of this user.
    if let Err(error) = disable_core_dumps() {
        say(format_args!("cannot disable core dumps: {error}"));
        return ExitCode::FAILURE;
    }
    match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Ready(args) => ready::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Clients(args) => clients::run(&args),
        Command::Sources(args) => sources::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::TestConnection(args) => test_connection::run(&args),
        Command::Groups(args) => groups::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Service(args) => service::run(&args),
        Command::HashPassword(args) => hash_password::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Version(args) => version::run(&args),
    }
}

/// A tip for a configuration that is named without its option.
fn tip_for_file(error: &clap::Error) -> Option<String> {
    let word = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => word,
        _ => return None,
    };
    let is_file = word.ends_with(".yaml") || word.ends_with(".yml") || Path::new(word).is_file();
    is_file.then(|| format!("an option names the configuration: --config {}", shell_word(word)))
}

/// A tip for a misspelled command, where the parser has none of its own: behind `help`.
fn tip_for_command(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand || error.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let tree = command();
    let known: Vec<&str> = tree.get_subcommands().map(clap::Command::get_name).collect();
    nearest(word, &known).map(|meant| format!("did you mean 'portcullis help {meant}'?"))
}

/// The definition of all commands and options.
fn command() -> clap::Command {
    Cli::command()
}

/// The error where there is no configuration to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoConfiguration {
    /// No file was named, and none is at a default path.
    #[error(
        "no configuration: neither ./portcullis.yaml nor {} exists; 'portcullis init' writes one, --config FILE \
         or {CONFIG_VARIABLE} names another",
        .0.display()
    )]
    Nowhere(PathBuf),
    /// The variable names a file that is not there.
    #[error("{CONFIG_VARIABLE} names {}, which does not exist; correct it, or name a file with --config FILE", .0.display())]
    Absent(PathBuf),
}

/// Returns the configuration to read: the file that `--config` names, else the one of the variable `PORTCULLIS_CONFIG`,
/// else the first default path that exists.
///
/// # Errors
/// No configuration was named and none is at a default path, or the variable names a file that does not exist.
pub fn config_path(named: Option<&Path>) -> Result<PathBuf, NoConfiguration> {
    choose_path(named, config_variable())
}

/// The file that the environment names. An empty variable counts as unset, because compose files write it so.
fn config_variable() -> Option<PathBuf> {
    std::env::var_os(CONFIG_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn choose_path(named: Option<&Path>, variable: Option<PathBuf>) -> Result<PathBuf, NoConfiguration> {
    if let Some(named) = named {
        return Ok(named.to_path_buf());
    }
    if let Some(path) = variable {
        return if path.exists() { Ok(path) } else { Err(NoConfiguration::Absent(path)) };
    }
    let path = default_path();
    if path.exists() { Ok(path) } else { Err(NoConfiguration::Nowhere(path)) }
}

/// Prints to standard output. A reader that closes the pipe has read enough. Exit 0; 1 when it cannot be written.
fn print(text: &[u8]) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns the message with the word that the user typed in place of its mask: the user has just typed it, so the
/// terminal shows it already. A word that may hold a password, as a URL does, stays hidden.
fn naming(message: &str, word: &str) -> String {
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-:/[]*".contains(c));
    match is_plain {
        true => message.replace(&format!("'{}'", Masked::of(word)), &format!("'{word}'")),
        false => message.to_owned(),
    }
}

/// A path as a shell takes it for one word.
fn shell_word(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Prints what to do about an error, on the line below it.
fn hint(text: &str) {
    let _ = writeln!(io::stderr().lock(), "  hint: {text}");
}

/// Prints one line on standard error, before the log is started.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "portcullis: error: {text}");
}
