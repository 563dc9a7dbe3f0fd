//! `portcullis import`: converts the rules of another program to a configuration.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use portcullis_config::Input;
use portcullis_import::{Format, Imported, MAX_BYTES, import, shown};

use super::{BAD_USAGE, say};
use crate::platform::portproxy_rules;

/// Convert the configuration of another program.
///
/// The result goes to standard output. Lines that cannot be converted go to standard error, with the reason. An address is
/// allowed only if that is certain.
#[derive(clap::Args, Clone, Debug)]
pub struct ImportArgs {
    /// Program that the file is from, or kind of list
    #[arg(value_parser = formats())]
    format: Format,
    /// The file, or - for standard input; on Windows, netsh without a file reads the rules of this machine
    file: Option<PathBuf>,
}

/// Prints the configuration to standard output and the omitted lines to standard error. Exit 0 when there is a
/// configuration; 1 when nothing could be imported, or the file cannot be read.
pub fn run(args: &ImportArgs) -> ExitCode {
    let (file, read) = match &args.file {
        Some(file) => (file.as_path(), read(file)),
        None if args.format == Format::Netsh => (Path::new("netsh"), portproxy_rules()),
        None => {
            say(format_args!(
                "FILE is missing: name the file of {}, or - for standard input",
                args.format.name()
            ));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => {
            say(format_args!("cannot read {}: {error}", shown(&file.display().to_string())));
            return ExitCode::FAILURE;
        }
    };
    let Imported { yaml, notes } = import(args.format, &bytes, file);
    let _ = io::stderr().lock().write_all(notes.as_bytes());
    let Some(yaml) = yaml else {
        say(format_args!("nothing in {} could be imported", shown(&file.display().to_string())));
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

fn formats() -> impl TypedValueParser<Value = Format> {
    let values = Format::ALL.map(|format| PossibleValue::new(format.name()).help(format.input()));
    PossibleValuesParser::new(values).try_map(|name| {
        let named = Format::ALL.into_iter().find(|format| format.name() == name);
        named.ok_or("unknown format")
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        Input::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}
