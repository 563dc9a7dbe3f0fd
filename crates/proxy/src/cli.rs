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

/// A gate for a private Redis: lets chosen networks in, and nobody else
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open the gate and keep it until SIGTERM or SIGINT
    Run(run::RunArgs),
    /// Say everything that is wrong with a configuration, and what a good one means
    Check(check::CheckArgs),
    /// Say whether a source may connect, and which entry decides
    Explain(explain::ExplainArgs),
    /// Show groups, and add and remove entries in the files themselves
    Groups(groups::GroupsArgs),
    /// Make a configuration from that of rinetd, netsh, nginx, HAProxy or ApsaraDB
    Import(import::ImportArgs),
    /// Print the SHA-256 digest of a password, for the configuration
    ///
    /// The password is asked for on a terminal, without echo, or read from standard input; never from an argument, which
    /// others can see. The digest serves as {sha256: DIGEST} in the configuration and as #DIGEST in Redis's ACL SETUSER.
    HashPassword(hash_password::HashPasswordArgs),
}

/// Does what the process was started for. The exit code is 0, [`BAD_USAGE`], [`BAD_CONFIG`], or 1 for what could not be
/// started or failed.
pub fn main() -> ExitCode {
    main_with(std::env::args_os())
}

fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Who closes the pipe has read enough.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(BAD_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    // All subcommands handle passwords: neither a core file nor another process of this user may have them.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        say(format_args!("cannot forbid core files: {error}"));
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

/// The configuration to read: the one that was named, else the first of the default ones that is there.
///
/// # Errors
/// None was named and none is there; the text names the places.
pub fn config_path(named: Option<&Path>) -> Result<PathBuf, String> {
    let path = named.map_or_else(default_path, Path::to_path_buf);
    if named.is_none() && !path.exists() {
        return Err(format!(
            "no configuration: neither ./portcullis.yaml nor {} exists; name one with --config FILE",
            path.display()
        ));
    }
    Ok(path)
}

/// One line on standard error, for what happens before there is a log.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "portcullis: error: {text}");
}
