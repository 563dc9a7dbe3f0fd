//! `portcullis man`: manual pages, made from the definitions of the commands.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::Command;
use clap_mangen::Man;

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
    let tree = without_help(command());
    if let Some(directory) = &args.dir {
        return match write_all(tree, directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(format_args!("cannot write manual pages into {}: {error}", directory.display()));
                ExitCode::FAILURE
            }
        };
    }
    let mut tree = tree;
    tree.build();
    let mut asked = &tree;
    for word in &args.of {
        let Some(found) = asked.find_subcommand(word) else {
            say(format_args!("there is no command '{}'; see 'portcullis --help'", args.of.join(" ")));
            return ExitCode::from(BAD_USAGE);
        };
        asked = found;
    }
    match page(asked) {
        Ok(page) => print(page.as_bytes()),
        Err(error) => {
            say(format_args!("cannot make the manual page: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The command without the subcommand 'help', which has no page.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

fn write_all(mut tree: Command, directory: &Path) -> io::Result<()> {
    tree.build();
    let mut open = vec![&tree];
    while let Some(command) = open.pop() {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        fs::write(directory.join(format!("{name}.1")), page(command)?)?;
        open.extend(command.get_subcommands());
    }
    Ok(())
}

/// The page of one command of a tree that is built.
fn page(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone())
        .source(concat!("portcullis ", env!("CARGO_PKG_VERSION")))
        .manual("Portcullis");
    let mut page = Vec::new();
    man.render(&mut page)?;
    let page = String::from_utf8_lossy(&page).into_owned();
    // Its own synopsis lists options without their values, and does not say what may be repeated.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().replace('-', "\\-");
    let synopsis = ".SH SYNOPSIS\n";
    let parts = page.split_once(synopsis).and_then(|(head, rest)| Some((head, rest.split_once(".SH ")?.1)));
    Ok(match parts {
        Some((head, rest)) => format!("{head}{synopsis}{usage}\n.SH {rest}"),
        None => page,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_usage_and_its_program() {
        let mut tree = without_help(command());
        tree.build();
        let add = tree.find_subcommand("groups").and_then(|groups| groups.find_subcommand("add")).unwrap();
        let add = page(add).unwrap();
        assert!(add.contains(concat!("\"portcullis ", env!("CARGO_PKG_VERSION"), "\" Portcullis")), "{add}");
        assert!(
            add.contains(
                ".SH SYNOPSIS\nportcullis groups add [OPTIONS] <GROUP> <CIDR>...\n.SH DESCRIPTION\n"
            ),
            "{add}"
        );
        let groups = page(tree.find_subcommand("groups").unwrap()).unwrap();
        assert!(groups.contains("groups\\-suggest(1)") && !groups.contains("help(1)"), "{groups}");
    }

    #[test]
    fn every_command_has_a_file() {
        let directory = tempfile::tempdir().unwrap();
        write_all(without_help(command()), directory.path()).unwrap();
        for name in ["portcullis.1", "portcullis-run.1", "portcullis-groups-add.1"] {
            assert!(directory.path().join(name).is_file(), "{name}");
        }
        assert!(!directory.path().join("portcullis-help.1").exists());
    }
}
