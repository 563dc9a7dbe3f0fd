//! `portcullis service`: the proxy as a service of Windows. Elsewhere the service manager of the system has a file for it.

#[cfg_attr(windows, path = "service/windows.rs")]
mod manager;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

/// Options of `service`.
#[derive(clap::Args, Clone, Debug)]
pub struct ServiceArgs {
    #[command(subcommand)]
    action: Action,
}

/// The action.
#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// Install the service: it starts with Windows, restarts after a failure, and runs as NT SERVICE\portcullis
    Install(Setup),
    /// Stop the service and remove it; files stay
    Uninstall,
    /// Start the service
    Start,
    /// Stop the service after pending commands are finished
    Stop,
    /// Print whether the service runs: exit 0 if it does, 1 if not
    Status,
    /// Serve as the service: only the service manager starts this
    #[command(hide = true)]
    Run(Setup),
}

/// The files of the service.
#[derive(clap::Args, Clone, Debug)]
struct Setup {
    /// The configuration file [default: %ProgramData%\portcullis\portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the log, with a file for each day [default: %ProgramData%\portcullis\log]
    #[arg(long, value_name = "DIRECTORY")]
    log: Option<PathBuf>,
}

/// Carries out the action. Exit 0; 1 when it failed, or the system is not Windows.
pub fn run(args: &ServiceArgs) -> ExitCode {
    manager::carry_out(&args.action)
}
