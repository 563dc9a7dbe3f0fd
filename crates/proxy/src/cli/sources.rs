//! `portcullis sources`: the sources that the running proxy blocks, and the order to end a block.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::admin_client::{AdminArgs, CallError, Endpoint};
use super::print;
use super::shown::{cell, items, span};
use super::status::table;

/// Options of `sources`.
#[derive(clap::Args, Clone, Debug)]
pub struct SourcesArgs {
    /// End the block of this source
    #[arg(long, value_name = "ADDRESS")]
    unblock: Option<String>,
    /// End the block on this listener only [default: all]
    #[arg(long, short, value_name = "NAME", requires = "unblock")]
    listener: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Lists the blocked sources, or unblocks one. Exit 0; 1 if the proxy does not answer or does not block this source; 64
/// for a wrong URL; 78 for a bad configuration.
pub fn run(args: &SourcesArgs) -> ExitCode {
    let endpoint = match args.admin.endpoint() {
        Ok(endpoint) => endpoint,
        Err(code) => return code,
    };
    let made = match &args.unblock {
        Some(source) => unblock(&endpoint, source, args),
        None => list(&endpoint, args.json),
    };
    match made {
        Ok(text) => print(text.as_bytes()),
        Err(error) => {
            error.report();
            ExitCode::FAILURE
        }
    }
}

fn unblock(endpoint: &Endpoint, source: &str, args: &SourcesArgs) -> Result<String, CallError> {
    let mut body = json!({"source": source});
    if let Some(listener) = &args.listener {
        body["listener"] = listener.as_str().into();
    }
    let answer = endpoint.post("/api/sources/unblock", &body)?;
    if args.json {
        return Ok(format!("{answer:#}\n"));
    }
    Ok(format!("{} is no longer blocked on {}\n", cell(&answer, "source"), cell(&answer, "listeners")))
}

fn list(endpoint: &Endpoint, json: bool) -> Result<String, CallError> {
    let answer = endpoint.get("/api/sources")?;
    if json {
        return Ok(format!("{answer:#}\n"));
    }
    let head = ["SOURCE", "LISTENER", "REASON", "TIME LEFT"];
    let row = |facts: &Value| {
        let [source, listener, reason] = ["source", "listener", "reason"].map(|key| cell(facts, key));
        [source, listener, reason, span(&facts["seconds_left"])]
    };
    let blocked = items(&answer, "blocked");
    let total = answer["total"].as_u64().unwrap_or_default();
    let shown = u64::try_from(blocked.len()).unwrap_or(u64::MAX);
    Ok(match total.saturating_sub(shown) {
        0 if blocked.is_empty() => "no source is blocked\n".to_owned(),
        0 => table(head, blocked, row),
        more => format!("{}and {more} more\n", table(head, blocked, row)),
    })
}
