//! `portcullis run`: the proxy itself.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_config::{Config, ConfigFile, LoadOptions, Loaded, Problem, Reading, read};

use crate::{app, log};

use super::check::report;
use super::{BAD_CONFIG, config_path, say};

/// Options of `run`.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// The configuration file [default: PORTCULLIS_CONFIG, ./portcullis.yaml, /etc/portcullis/portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Reads the configuration and runs until a signal stops it. Exit 0; 78 for a bad configuration; 1 when it cannot start,
/// or a second signal stops it.
pub fn run(args: &RunArgs) -> ExitCode {
    let path = match config_path(args.config.as_deref()) {
        Ok(path) => path,
        Err(error) => {
            say(format_args!("{error}"));
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let Reading { result, sources, .. } = read(&path, &LoadOptions::new());
    match result {
        Ok(loaded) => run_loaded(loaded, sources),
        Err(problems) => {
            let _ = report(&mut io::stderr().lock(), &problems);
            ExitCode::from(BAD_CONFIG)
        }
    }
}

fn run_loaded(loaded: Loaded, sources: Vec<ConfigFile>) -> ExitCode {
    let Loaded { config, warnings } = loaded;
    // Held to the end: dropping it writes what is still queued.
    let _log = match log::start(config.log()) {
        Ok(guard) => guard,
        Err(error) => {
            say(format_args!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    warnings.iter().for_each(Problem::log);
    run_app(config, sources)
}

fn run_app(config: Config, sources: Vec<ConfigFile>) -> ExitCode {
    match app::run(config, sources) {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
