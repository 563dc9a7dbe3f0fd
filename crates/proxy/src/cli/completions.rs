//! `portcullis completions`: a script that completes commands and options in a shell.

use std::process::ExitCode;

use clap_complete::{Shell, generate};

use super::{NAME, command, print};

/// Options of `completions`.
#[derive(clap::Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script to standard output. Exit 0; 1 when it cannot be written.
pub fn run(args: &CompletionsArgs) -> ExitCode {
    // Into memory first: the generator panics where a writer fails.
    let mut script = Vec::new();
    generate(args.shell, &mut command(), NAME, &mut script);
    print(&script)
}
