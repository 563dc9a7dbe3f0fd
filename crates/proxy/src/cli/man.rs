//! `portcullis man`: manual pages, made from the definitions of the commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap_mangen::{Man, generate_to};

use super::{BAD_USAGE, command, print, say};

/// Options of `man`.
#[derive(clap::Args, Clone, Debug)]
pub struct ManArgs {
    /// The subcommand, such as 'run' or 'groups add' [default: portcullis itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    of: Vec<String>,
    /// Write a page for each subcommand into this directory, such as /usr/local/share/man/man1
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

/// Prints one page, or writes all. Exit 0; 1 when they cannot be written; 64 for an unknown subcommand.
pub fn run(args: &ManArgs) -> ExitCode {
    if let Some(directory) = &args.dir {
        return match generate_to(command(), directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(format_args!("cannot write manual pages into {}: {error}", directory.display()));
                ExitCode::FAILURE
            }
        };
    }
    let mut tree = command();
    tree.build();
    let mut asked = &tree;
    for word in &args.of {
        let Some(found) = asked.find_subcommand(word) else {
            say(format_args!("there is no command '{}'; see 'portcullis --help'", args.of.join(" ")));
            return ExitCode::from(BAD_USAGE);
        };
        asked = found;
    }
    let mut page = Vec::new();
    match Man::new(asked.clone()).render(&mut page) {
        Ok(()) => print(&page),
        Err(error) => {
            say(format_args!("cannot make the manual page: {error}"));
            ExitCode::FAILURE
        }
    }
}
