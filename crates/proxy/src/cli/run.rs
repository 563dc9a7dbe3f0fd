//! `portcullis run`: the proxy itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_config::{
    Config, ConfigFile, Document, LoadOptions, Loaded, Log, Origin, Problem, Reading, read, read_document,
};

use crate::app::RunOptions;
use crate::log::{Guard, LogError};
use crate::{app, log};

use super::check::report;
use super::forward::{Comments, ForwardArgs};
use super::{BAD_CONFIG, BAD_USAGE, CONFIG_VARIABLE, config_path, config_variable, print, say};

/// Options of `run`.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// The configuration file [default: PORTCULLIS_CONFIG, ./portcullis.yaml, /etc/portcullis/portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take the listening sockets over from the running process of this file, which then drains
    #[arg(long)]
    takeover: bool,
    /// Serve in a child process, which may drain after the parent has ended: for service managers
    #[arg(long, conflicts_with = "child")]
    in_child: bool,
    /// The option with which --in-child starts its child
    #[arg(long, hide = true)]
    child: bool,
    #[command(flatten)]
    forward: ForwardArgs,
    /// Print the configuration that these options stand for, and do not run
    #[arg(long, help_heading = "Forward")]
    print_config: bool,
}

/// Reads the configuration and runs until a signal stops it. Exit 0; 64 for bad options; 78 for a bad configuration; 1
/// when it cannot start, or a second signal stops it.
pub fn run(args: &RunArgs) -> ExitCode {
    if args.in_child {
        return app::run_in_child().unwrap_or_else(|error| {
            say(format_args!("{error}"));
            ExitCode::FAILURE
        });
    }
    if args.forward.is_given() || args.print_config {
        return run_forward(args);
    }
    let path = match config_path(args.config.as_deref()) {
        Ok(path) => path,
        Err(error) => {
            say(format_args!("{error}"));
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let options = RunOptions { takeover: args.takeover, is_child: args.child };
    run_file(&path, options, log::start, |problems| {
        let _ = report(&mut io::stderr().lock(), problems);
    })
}

/// Runs with a configuration file. `start_log` starts the log; `tell` gets the problems of a file that is not valid.
pub(super) fn run_file(
    path: &Path,
    options: RunOptions,
    start_log: impl FnOnce(&Log) -> Result<Guard, LogError>,
    tell: impl FnOnce(&[Problem]),
) -> ExitCode {
    let Reading { result, sources, .. } = read(path, &LoadOptions::new());
    match result {
        Ok(loaded) => run_loaded(loaded, sources, options, start_log),
        Err(problems) => {
            tell(&problems);
            ExitCode::from(BAD_CONFIG)
        }
    }
}

/// Why options do not describe a forward.
#[derive(Debug, thiserror::Error)]
enum BadForward {
    #[error(
        "--config cannot be combined with --listen, --to, --allow, --password-file, --admin and --print-config: these \
         options take the place of a file"
    )]
    WithFile,
    #[error(
        "{0} is missing: without a file the proxy needs --listen ADDRESS, --to REDIS and --allow CIDR, such as 'portcullis \
         run --listen 0.0.0.0:6380 --to redis:6379 --allow 203.0.113.0/24'"
    )]
    Missing(&'static str),
    #[error("--takeover needs a configuration file: it finds the running process by the path of the file")]
    Takeover,
    #[error("cannot read the current directory, which relative paths need: {0}")]
    Directory(#[from] io::Error),
}

/// Runs without a file, or prints the file that the options stand for.
fn run_forward(args: &RunArgs) -> ExitCode {
    let document = match forward(args) {
        Ok(document) => Arc::new(document),
        Err(error) => {
            say(format_args!("{error}"));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let options = LoadOptions::new();
    // Printing needs no secret; the password may be on another machine.
    let options = if args.print_config { options.without_secrets() } else { options };
    let Reading { result, sources, .. } = read_document(&document, &options);
    match result {
        Ok(loaded) if args.print_config => {
            let _ = report(&mut io::stderr().lock(), &loaded.warnings);
            print(document.text().as_bytes())
        }
        Ok(loaded) => {
            let options = RunOptions { takeover: false, is_child: args.child };
            run_loaded(loaded, sources, options, log::start)
        }
        Err(problems) => {
            let _ = report(&mut io::stderr().lock(), &problems);
            say(format_args!(
                "correct these options, or write a file with 'portcullis init', in which every key can be set"
            ));
            ExitCode::from(BAD_USAGE)
        }
    }
}

fn forward(args: &RunArgs) -> Result<Document, BadForward> {
    let forward = &args.forward;
    if args.config.is_some() {
        return Err(BadForward::WithFile);
    }
    if args.takeover {
        return Err(BadForward::Takeover);
    }
    let needed = [
        (forward.listen.is_empty(), "--listen"),
        (forward.to.is_none(), "--to"),
        (forward.allow.is_empty(), "--allow"),
    ];
    if let Some((_, name)) = needed.iter().find(|(is_missing, _)| *is_missing) {
        return Err(BadForward::Missing(name));
    }
    Ok(forward.document(Comments::Without)?)
}

fn run_loaded(
    loaded: Loaded,
    sources: Vec<ConfigFile>,
    options: RunOptions,
    start_log: impl FnOnce(&Log) -> Result<Guard, LogError>,
) -> ExitCode {
    let Loaded { config, warnings } = loaded;
    // Held to the end: dropping it writes what is still queued.
    let _log = match start_log(config.log()) {
        Ok(guard) => guard,
        Err(error) => {
            say(format_args!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    warnings.iter().for_each(Problem::log);
    if let (Origin::Document(_), Some(ignored)) = (config.origin(), config_variable()) {
        tracing::warn!(
            file = %ignored.display(),
            "{CONFIG_VARIABLE} is ignored: the options of the command line describe the configuration"
        );
    }
    run_app(config, sources, options)
}

fn run_app(config: Config, sources: Vec<ConfigFile>, options: RunOptions) -> ExitCode {
    match app::run(config, sources, options) {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
