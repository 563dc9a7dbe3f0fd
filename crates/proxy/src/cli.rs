//! The command line.

pub mod check;
pub mod explain;
pub mod groups;
pub mod hash_password;
pub mod import;
pub mod run;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portcullis_config::default_path;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// EX_USAGE of sysexits.h.
pub const BAD_USAGE: u8 = 64;
/// EX_CONFIG of sysexits.h.
pub const BAD_CONFIG: u8 = 78;

/// A proxy for a private Redis that admits only the networks you choose
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy until SIGTERM or SIGINT
    Run(run::RunArgs),
    /// Validate a configuration: report every problem, or a summary of what it does
    Check(check::CheckArgs),
    /// Explain whether a source may connect, and which entry decides
    Explain(explain::ExplainArgs),
    /// List and show groups, and add or remove entries in the configuration files
    Groups(groups::GroupsArgs),
    /// Convert a configuration of rinetd, netsh, nginx, HAProxy or ApsaraDB
    Import(import::ImportArgs),
    /// Print the SHA-256 digest of a password
    ///
    /// The password is read from the terminal without echo, or from standard input. It is never an argument, which other
    /// users can see. Write the digest as {sha256: DIGEST} in the configuration, or as #DIGEST in ACL SETUSER of Redis.
    HashPassword(hash_password::HashPasswordArgs),
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
            return if error.use_stderr() { ExitCode::from(BAD_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    // All subcommands handle passwords, which must not reach a core file or another process of this user.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        say(format_args!("cannot disable core dumps: {error}"));
        return ExitCode::FAILURE;
    }
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Groups(args) => groups::run(&args),
        Command::Import(args) => import::run(&args),
        Command::HashPassword(args) => hash_password::run(&args),
    }
}

/// The error where no configuration was named and none is at a default path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no configuration: neither ./portcullis.yaml nor {} exists; name one with --config FILE", .default.display())]
pub struct NoConfiguration {
    default: PathBuf,
}

/// Returns the configuration to read: the named one, or the first default path that exists.
///
/// # Errors
/// No configuration was named, and there is none at a default path.
pub fn config_path(named: Option<&Path>) -> Result<PathBuf, NoConfiguration> {
    let path = named.map_or_else(default_path, Path::to_path_buf);
    if named.is_none() && !path.exists() {
        return Err(NoConfiguration { default: path });
    }
    Ok(path)
}

/// Prints one line on standard error, before the log is started.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "portcullis: error: {text}");
}
