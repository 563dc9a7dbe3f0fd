//! `portcullis export`: the allowlists of listeners as rules of the kernel or of a cloud.

mod nftables;
mod security_group;
mod systemd;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_acl::{AdmittedNetwork, UnixSeconds};
use portcullis_config::{Bind, Config, Listener};
use portcullis_import::shown;

use super::explain::read;
use super::{BAD_CONFIG, BAD_USAGE, naming, say};
use crate::clock::wall_clock;
use crate::generation::explain::{listeners, moment};

/// Print the allowlist of listeners as rules for the kernel or for a cloud
///
/// The result goes to standard output: the addresses of allow without those of deny. What the rules cannot express goes to
/// standard error. The proxy judges every client again, so a rule that is too wide admits no client.
#[derive(clap::Args, Clone, Debug)]
pub struct ExportArgs {
    /// Form of the rules
    #[arg(value_enum)]
    format: Format,
    /// Only this listener [default: all]
    #[arg(long, short, value_name = "NAME")]
    listener: Option<String>,
    /// The configuration file [default: PORTCULLIS_CONFIG, ./portcullis.yaml, /etc/portcullis/portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The form of the rules.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Format {
    /// A file for 'nft -f': a table that drops the connections of all other addresses
    Nftables,
    /// JSON for 'aws ec2 authorize-security-group-ingress --ip-permissions'
    SecurityGroup,
    /// A drop-in for portcullis.socket: systemd drops the packets of all other addresses
    Systemd,
}

/// The connections that one listener takes, as far as addresses decide.
struct Exported<'c> {
    name: &'c str,
    binds: &'c [Bind],
    networks: Vec<AdmittedNetwork>,
}

/// The rules in the requested form, and notes about what they cannot express.
struct Rules {
    text: String,
    notes: Vec<String>,
}

/// Prints the rules to standard output and the notes to standard error. Exit 0; 64 for an unknown listener; 78 for a bad
/// configuration; 1 if the rules cannot be written.
pub fn run(args: &ExportArgs) -> ExitCode {
    let Some(config) = read(args.config.as_deref()) else { return ExitCode::from(BAD_CONFIG) };
    let asked = match listeners(&config, args.listener.as_deref()) {
        Ok(asked) => asked,
        Err(why) => {
            let named = args.listener.as_deref().unwrap_or_default();
            say(format_args!("{}", naming(&why.to_string(), named)));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let Rules { text, notes } = rules(args.format, &config, &asked, wall_clock());
    let mut stderr = io::stderr().lock();
    for note in notes {
        let _ = writeln!(stderr, "note: {note}");
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("cannot write the rules: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn rules(format: Format, config: &Config, asked: &[&Listener], now: UnixSeconds) -> Rules {
    let exported: Vec<Exported<'_>> =
        asked.iter().map(|listener| Exported::of(config, listener, now)).collect();
    let mut notes: Vec<String> = asked.iter().flat_map(|listener| notes(config, listener)).collect();
    // The text stands in a comment of the rules, which a line break in the name would end.
    let made = format!("{} from {}", moment(now), shown(&config.path().display().to_string()));
    let text = match format {
        Format::Nftables => nftables::table(&exported, &made, now),
        Format::SecurityGroup => {
            notes.extend(security_group::notes(&exported));
            security_group::permissions(&exported, &made)
        }
        Format::Systemd => {
            notes.extend(systemd::notes(&exported));
            systemd::drop_in(&exported, &made)
        }
    };
    Rules { text, notes }
}

impl<'c> Exported<'c> {
    fn of(config: &Config, listener: &'c Listener, now: UnixSeconds) -> Self {
        let only_senders = listener.proxy_protocol().is_some_and(portcullis_config::ProxyProtocol::only);
        Self {
            name: listener.name(),
            binds: listener.binds(),
            networks: config.policy().peers(listener.index(), only_senders, now),
        }
    }
}

/// Returns notes about what the rules of a listener cannot express.
fn notes(config: &Config, listener: &Listener) -> Vec<String> {
    let name = listener.name();
    let mut notes = Vec::new();
    for bind in listener.binds() {
        if let Bind::Unix(_) = bind {
            notes.push(format!("listener {name}: {bind} is left out: a unix socket has no addresses"));
        }
    }
    if listener.proxy_protocol().is_some() {
        notes.push(format!(
            "listener {name}: the addresses of proxy_protocol.from are in the rules, because the kernel sees the load \
             balancer in place of its clients"
        ));
    }
    if config.policy().has_shadow(listener.index()) {
        notes.push(format!("listener {name}: its shadow lists are left out: they refuse no client"));
    }
    let limited =
        |user: &&String| config.users().iter().any(|known| known.name() == **user && known.from().is_some());
    let limited: Vec<&str> = listener.users().iter().filter(limited).map(String::as_str).collect();
    if !limited.is_empty() {
        notes.push(format!(
            "listener {name}: the lists of users are left out, because the kernel does not know the user: {}",
            limited.join(", ")
        ));
    }
    let hosts: Vec<&str> = config.allowed_hosts(listener.index()).map(|host| host.name().as_str()).collect();
    if !hosts.is_empty() {
        notes.push(format!(
            "listener {name}: host names stand for the addresses that they have now: {}; export again when they change",
            hosts.join(", ")
        ));
    }
    notes
}

#[cfg(test)]
mod tests;
