//! `portcullis clients`: the connected clients of the running proxy, and the order to disconnect one.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::admin_client::{AdminArgs, CallError, Endpoint};
use super::shown::{cell, items, span};
use super::status::table;
use super::{print, say};

/// The clients of one answer, the most that the endpoint gives.
const PAGE: usize = 1000;

/// The clients that are listed at most. A longer list is for programs, which ask the API page by page.
const MOST_CLIENTS: usize = 100_000;

/// Options of `clients`.
#[derive(clap::Args, Clone, Debug)]
pub struct ClientsArgs {
    /// Only clients with this text in the address, the user, the name or the listener
    #[arg(value_name = "TEXT")]
    search: Option<String>,
    /// Disconnect the client with this number
    #[arg(long, value_name = "ID", conflicts_with = "search")]
    close: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Lists the clients, or disconnects one. Exit 0; 1 if the proxy does not answer or has no such client; 64 for a wrong
/// URL; 78 for a bad configuration.
pub fn run(args: &ClientsArgs) -> ExitCode {
    let endpoint = match args.admin.endpoint() {
        Ok(endpoint) => endpoint,
        Err(code) => return code,
    };
    let made = match args.close {
        Some(id) => close(&endpoint, id, args.json),
        None => list(&endpoint, args),
    };
    match made {
        Ok(text) => print(text.as_bytes()),
        Err(error) => {
            error.report();
            ExitCode::FAILURE
        }
    }
}

fn close(endpoint: &Endpoint, id: u64, json: bool) -> Result<String, CallError> {
    let answer = endpoint.post(&format!("/api/clients/{id}/close"), &json!({}))?;
    Ok(if json { format!("{answer:#}\n") } else { format!("client {id} is disconnected\n") })
}

fn list(endpoint: &Endpoint, args: &ClientsArgs) -> Result<String, CallError> {
    let found = all(endpoint, args.search.as_deref().unwrap_or_default())?;
    if found.missing > 0 {
        say(format_args!(
            "{} clients are not listed, because their worker did not answer in time",
            found.missing
        ));
    }
    if found.more {
        say(format_args!("only the first {MOST_CLIENTS} clients are listed; search for a text"));
    }
    if args.json {
        return Ok(format!("{:#}\n", Value::from(found.clients)));
    }
    Ok(match found.clients.as_slice() {
        [] => "no client\n".to_owned(),
        clients => table(HEAD, clients, row),
    })
}

/// The clients that were found.
struct Found {
    clients: Vec<Value>,
    /// Clients that a worker could not look at.
    missing: u64,
    /// Whether there are more than [`MOST_CLIENTS`].
    more: bool,
}

/// Reads the pages of the list.
fn all(endpoint: &Endpoint, search: &str) -> Result<Found, CallError> {
    let mut found = Found { clients: Vec::new(), missing: 0, more: false };
    let mut after = 0;
    loop {
        let page = endpoint.get(&format!("/api/clients?limit={PAGE}&after={after}&q={}", encoded(search)))?;
        found.clients.extend_from_slice(items(&page, "clients"));
        found.missing = page["missing"].as_u64().unwrap_or_default();
        match page["next"].as_u64() {
            Some(next) if next > after && found.clients.len() < MOST_CLIENTS => after = next,
            next => {
                found.more = next.is_some();
                return Ok(found);
            }
        }
    }
}

/// Returns the text as a value of a query.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        let _ = if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            write!(encoded, "{}", char::from(byte))
        } else {
            write!(encoded, "%{byte:02X}")
        };
    }
    encoded
}

/// The columns of the list.
pub(super) const HEAD: [&str; 8] = ["ID", "ADDRESS", "LISTENER", "USER", "NAME", "STATE", "AGE", "IDLE"];

/// Returns the row of a client.
pub(super) fn row(facts: &Value) -> [String; 8] {
    let [id, address, listener, user, name, state] =
        ["id", "address", "listener", "user", "name", "state"].map(|key| cell(facts, key));
    [id, address, listener, user, name, state, span(&facts["age_seconds"]), span(&facts["idle_seconds"])]
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_search_is_one_value_of_the_query() {
        assert_eq!(super::encoded("a b&after=1%é"), "a%20b%26after%3D1%25%C3%A9");
    }
}
