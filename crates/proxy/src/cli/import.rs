//! `portcullis import`: the rules of what ran before, as a configuration of the gate.

mod apsaradb;
mod draft;
mod express;
mod haproxy;
mod netsh;
mod nginx;
mod notes;
mod place;
mod rinetd;
mod sources;
mod text;
mod words;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use super::say;
use draft::Draft;
use notes::{Notes, shown};

/// A configuration file; longer lists stand in files of their own.
const MOST_BYTES: u64 = 32 << 20;

/// Prints a configuration made from that of another program, and on standard error each line that could not be
/// carried over and why. What is in doubt is never allowed.
#[derive(clap::Args, Clone, Debug)]
pub struct ImportArgs {
    /// What the file is from
    format: Format,
    /// The file, or - for standard input
    file: PathBuf,
}

/// Programs whose rules can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// rinetd.conf
    Rinetd,
    /// Output of 'netsh interface portproxy show all' or 'dump'
    Netsh,
    /// nginx.conf with a stream block, or a file that one includes
    Nginx,
    /// haproxy.cfg with frontends in mode tcp
    Haproxy,
    /// ApsaraDB's answer to DescribeSecurityIps, as JSON
    Apsaradb,
}

/// The configuration goes to standard output, what was left out to standard error. Exit 0 when there is a
/// configuration; 1 when nothing could be imported, or the file cannot be read.
pub fn run(args: &ImportArgs) -> ExitCode {
    let bytes = match read(&args.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            say(format_args!("cannot read {}: {error}", shown(&args.file.display().to_string())));
            return ExitCode::FAILURE;
        }
    };
    let (yaml, notes) = import(args.format, &text::decode(&bytes), &args.file);
    let _ = io::stderr().lock().write_all(notes.as_bytes());
    let Some(yaml) = yaml else {
        say(format_args!("nothing in {} could be imported", shown(&args.file.display().to_string())));
        return ExitCode::FAILURE;
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(yaml.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("cannot write the configuration: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The YAML, if there is anything to print, and the notes.
fn import(format: Format, text: &str, path: &Path) -> (Option<String>, String) {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let mut notes = Notes::of(&name);
    let mut draft =
        Draft::new(shown(&format!("Imported from {name} by: portcullis import {}", word(format))));
    let whole = match format {
        Format::Rinetd => {
            rinetd::import(text, &mut draft, &mut notes);
            Ok(())
        }
        Format::Netsh => {
            netsh::import(text, &mut draft, &mut notes);
            Ok(())
        }
        Format::Nginx => nginx::import(text, &mut draft, &mut notes),
        Format::Haproxy => {
            haproxy::import(text, path.parent().unwrap_or_else(|| Path::new("")), &mut draft, &mut notes);
            Ok(())
        }
        Format::Apsaradb => apsaradb::import(text, &mut draft, &mut notes).map_err(|why| (1, why)),
    };
    if let Err((line, why)) = whole {
        notes.left_out(line, "the file", why);
        return (None, notes.to_string());
    }
    ((!draft.is_empty()).then(|| draft.yaml()), notes.to_string())
}

fn word(format: Format) -> String {
    format.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it has more than {MOST_BYTES} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
