//! `portcullis top`: the running proxy from second to second.

mod feed;
mod picture;
mod screen;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde_json::Value;

use super::admin_client::{AdminArgs, CallError, Endpoint, Next};
use super::{BAD_USAGE, hint, print, say};

use self::picture::Picture;

/// Options of `top`.
#[derive(clap::Args, Clone, Debug)]
pub struct TopArgs {
    /// Print the state once as text, and exit
    #[arg(long)]
    once: bool,
    /// Print each sample of /api/events as a line of JSON; with --once only one
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Shows the proxy until the user quits. Exit 0; 1 if the proxy does not answer; 64 for a wrong URL, or without a
/// terminal; 78 for a bad configuration.
pub fn run(args: &TopArgs) -> ExitCode {
    let is_live = !args.once && !args.json;
    if is_live && !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        say(format_args!("standard input and output are not a terminal"));
        hint("use --once for a text, or --json");
        return ExitCode::from(BAD_USAGE);
    }
    let endpoint = match args.admin.endpoint() {
        Ok(endpoint) => endpoint,
        Err(code) => return code,
    };
    let shown = if is_live {
        live(endpoint)
    } else if args.json {
        samples(&endpoint, args.once).map(|()| ExitCode::SUCCESS)
    } else {
        once(&endpoint).map(|text| print(text.as_bytes()))
    };
    shown.unwrap_or_else(|error| {
        error.report();
        ExitCode::FAILURE
    })
}

/// Shows the proxy on the terminal. The first answer comes before the terminal changes, so that an error stays readable.
fn live(endpoint: Endpoint) -> Result<ExitCode, CallError> {
    let mut picture = Picture::new(endpoint.to_string());
    picture.set_lists(feed::lists(&endpoint)?);
    let updates = match feed::start(endpoint) {
        Ok(updates) => updates,
        Err(error) => {
            say(format_args!("cannot start a thread: {error}"));
            return Ok(ExitCode::FAILURE);
        }
    };
    Ok(match screen::show(picture, &updates) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("cannot use the terminal: {error}"));
            ExitCode::FAILURE
        }
    })
}

fn once(endpoint: &Endpoint) -> Result<String, CallError> {
    let mut picture = Picture::new(endpoint.to_string());
    endpoint.events(|sample| {
        picture.set_sample(sample);
        Next::Stop
    })?;
    picture.set_lists(feed::lists(endpoint)?);
    Ok(picture.text())
}

/// Prints samples until the reader closes the pipe.
fn samples(endpoint: &Endpoint, once: bool) -> Result<(), CallError> {
    endpoint.events(|sample: Value| {
        let mut stdout = io::stdout().lock();
        let written = writeln!(stdout, "{sample}").and_then(|()| stdout.flush());
        if once || written.is_err() { Next::Stop } else { Next::More }
    })
}
