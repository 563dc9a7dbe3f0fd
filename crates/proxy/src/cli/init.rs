//! `portcullis init`: writes a commented configuration to start from.

mod ask;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_config::{Document, LoadOptions, Loaded, read_document};
use tempfile::Builder;

use super::check::report;
use super::forward::{Comments, ForwardArgs};
use super::{BAD_USAGE, config_variable, print, say, shell_word};
use crate::platform::private_file;

/// The file that `run` and `check` find without an option.
const FILE: &str = "portcullis.yaml";

/// The name for standard output.
const STDOUT: &str = "-";

/// Every IPv4 address, because the allowlist decides who is admitted. The port is not that of a Redis on this machine.
const LISTEN: &str = "0.0.0.0:6380";
/// A Redis with its default configuration.
const TO: &str = "127.0.0.1:6379";
/// This machine, so that the first file can be tried and admits no other client.
const ALLOW: &str = "127.0.0.1";

/// The file holds no password, and the user of the service must be able to read it. The umask may take bits away.
const MODE: u32 = 0o644;

/// Options of `init`.
#[derive(clap::Args, Clone, Debug)]
pub struct InitArgs {
    /// The file to write, or - for standard output [default: PORTCULLIS_CONFIG, ./portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    forward: ForwardArgs,
}

/// Writes the file, after the usual loader has accepted it. Exit 0; 1 when the file exists or cannot be written, or the
/// user ends the questions; 64 for bad options.
pub fn run(args: &InitArgs) -> ExitCode {
    let path = args.config.clone().or_else(config_variable).unwrap_or_else(|| FILE.into());
    if path != Path::new(STDOUT)
        && !args.force
        && let Err(error) = must_be_new(&path)
    {
        say(format_args!("{error}"));
        return ExitCode::FAILURE;
    }
    let interactive = io::stdin().is_terminal() && io::stderr().is_terminal();
    let forward = if interactive && !args.forward.is_given() {
        match ask::forward(&path) {
            Ok(forward) => forward,
            Err(error) => {
                say(format_args!("{error}; nothing was written"));
                return ExitCode::FAILURE;
            }
        }
    } else {
        with_defaults(args.forward.clone())
    };
    match checked(&forward) {
        Ok(document) => deliver(&document, &path, args.force),
        Err(code) => code,
    }
}

/// Returns the text of these options if it is a valid configuration; warnings and errors go to standard error.
fn checked(forward: &ForwardArgs) -> Result<Arc<Document>, ExitCode> {
    let document = forward.document(Comments::With).map(Arc::new).map_err(|error| {
        say(format_args!("cannot read the current directory, which relative paths need: {error}"));
        ExitCode::FAILURE
    })?;
    let (problems, code) = match read_document(&document, &LoadOptions::new()).result {
        Ok(Loaded { warnings, .. }) => (warnings, Ok(document)),
        Err(problems) => (problems, Err(ExitCode::from(BAD_USAGE))),
    };
    let _ = report(&mut io::stderr().lock(), &problems);
    code
}

fn deliver(document: &Document, path: &Path, replace: bool) -> ExitCode {
    if path == Path::new(STDOUT) {
        return print(document.text().as_bytes());
    }
    if let Err(error) = write(path, document.text(), replace) {
        say(format_args!("{error}"));
        return ExitCode::FAILURE;
    }
    let named = shell_word(&path.display().to_string());
    print(
        format!(
            "wrote {named}\nnext:\n  portcullis check --config {named}     # reports mistakes, or a summary\n  \
             portcullis run --config {named}       # the proxy; Ctrl-C stops it\n"
        )
        .as_bytes(),
    )
}

fn with_defaults(mut forward: ForwardArgs) -> ForwardArgs {
    if forward.listen.is_empty() {
        forward.listen.push(LISTEN.to_owned());
    }
    if forward.allow.is_empty() {
        forward.allow.push(ALLOW.to_owned());
    }
    forward.to.get_or_insert_with(|| TO.to_owned());
    forward
}

/// Why the file was not written.
#[derive(Debug, thiserror::Error)]
enum NotWritten {
    #[error("{} exists already: --force replaces it, --config FILE writes another file", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: there is no directory {}; create it first, or name another file with --config", .0.display(), .1.display())]
    NoDirectory(PathBuf, PathBuf),
    #[error("cannot write {}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
}

/// A link to nowhere counts as a file: what it names may be a mount that is missing.
fn must_be_new(path: &Path) -> Result<(), NotWritten> {
    match path.symlink_metadata() {
        Ok(_) => Err(NotWritten::Exists(path.to_owned())),
        Err(_) => Ok(()),
    }
}

/// Writes the whole file or nothing: a running proxy may watch it.
fn write(path: &Path, text: &str, replace: bool) -> Result<(), NotWritten> {
    let failed = |error| NotWritten::Io(path.to_owned(), error);
    // The file behind a link is replaced, not the link.
    let target =
        if replace { path.canonicalize().unwrap_or_else(|_| path.to_owned()) } else { path.to_owned() };
    let directory = match target.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(failed(io::ErrorKind::IsADirectory.into())),
    };
    if !directory.is_dir() {
        return Err(NotWritten::NoDirectory(path.to_owned(), directory.to_owned()));
    }
    let mut builder = Builder::new();
    let mut file = private_file(&mut builder, MODE).tempfile_in(directory).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    if !replace {
        return match file.persist_noclobber(&target) {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(NotWritten::Exists(path.to_owned()))
            }
            Err(error) => Err(failed(error.error)),
        };
    }
    if let Ok(before) = target.metadata() {
        file.as_file().set_permissions(before.permissions()).map_err(failed)?;
    }
    file.persist(&target).map(|_| ()).map_err(|error| failed(error.error))
}

#[cfg(test)]
mod tests;
