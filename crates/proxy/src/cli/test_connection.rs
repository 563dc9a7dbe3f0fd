//! `portcullis test-connection`: the steps of a connection to each upstream and to each listener, and what to do about
//! each failure.

mod cluster;
mod conversation;
mod decision;
mod dial;
mod listener;
mod report;
mod sentinel;
mod step;
mod upstream;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_config::message::{Masked, known_names};
use portcullis_config::{Config, Listener, LoadOptions, Severity, Upstream, load};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use zeroize::Zeroizing;

use self::listener::{Client, ListenerTest};
use self::report::{Form, Report};
use self::upstream::UpstreamTest;
use super::explain::options;
use super::password::ask;
use super::resolve::Answers;
use super::{BAD_CONFIG, BAD_USAGE, check, config_path, naming, say};
use crate::generation::explain::{QuestionError, listeners};

/// The variable with the password of `--user`.
const PASSWORD_VARIABLE: &str = "PORTCULLIS_CLIENT_PASSWORD";

/// Test the connections to the upstreams, and with --as-client to the listeners of the running proxy.
#[derive(clap::Args, Clone, Debug)]
pub struct TestConnectionArgs {
    /// Only this upstream, and the listeners before it [default: all]
    #[arg(long, short, value_name = "NAME")]
    upstream: Option<String>,
    /// Only this listener and its upstream [default: all]
    #[arg(long, short, value_name = "NAME")]
    listener: Option<String>,
    /// Also connect to the running proxy, as a client on this host would
    #[arg(long)]
    as_client: bool,
    /// Log in to the listeners as this user
    ///
    /// The password is read from the variable PORTCULLIS_CLIENT_PASSWORD, or else from the terminal without echo, or from standard
    /// input. It is never an argument, which other users can see.
    #[arg(long, value_name = "NAME", requires = "as_client")]
    user: Option<String>,
    /// Ask for this master as a Sentinel client [default: all names of announce_master]
    #[arg(long, value_name = "NAME", requires = "as_client")]
    master: Option<String>,
    /// The configuration file [default: PORTCULLIS_CONFIG, ./portcullis.yaml, /etc/portcullis/portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Tests the connections. Exit 0 when all work; 1 when one does not; 64 for a bad option, listener or upstream; 78 for a bad
/// configuration.
pub fn run(args: &TestConnectionArgs) -> ExitCode {
    let Some(config) = read(args) else { return ExitCode::from(BAD_CONFIG) };
    let chosen = match Chosen::of(&config, args) {
        Ok(chosen) => chosen,
        Err(why) => {
            let typed = args.listener.iter().chain(&args.upstream);
            say(format_args!("{}", typed.fold(why.to_string(), |text, word| naming(&text, word))));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let client = match client(args) {
        Ok(client) => client,
        Err(error) => {
            say(format_args!("cannot read the password of --user: {error}"));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::new(if args.json { Form::Json } else { Form::Text });
    LocalSet::new().block_on(&runtime, chosen.test(&config, &client, &mut report));
    // A lookup may still wait for its name server.
    runtime.shutdown_background();
    if report.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads the configuration. Warnings are left to `check`.
fn read(args: &TestConnectionArgs) -> Option<Config> {
    let path = config_path(args.config.as_deref()).map_err(|error| say(format_args!("{error}"))).ok()?;
    match load(&path, &LoadOptions::new()) {
        // Only an explanation of the allowlist needs the host names in it.
        Ok(loaded) if loaded.config.hosts().is_empty() || !args.as_client => Some(loaded.config),
        Ok(loaded) => Some(Answers::of(&loaded.config)?.apply(&loaded.config)),
        Err(mut problems) => {
            problems.retain(|problem| problem.severity() == Severity::Error);
            let _ = check::report(&mut io::stderr().lock(), &problems);
            None
        }
    }
}

/// Reads the password of `--user`.
fn client(args: &TestConnectionArgs) -> io::Result<Client> {
    let options = options(args.config.as_deref());
    let master = args.master.clone();
    let Some(user) = &args.user else { return Ok(Client { login: None, master, options }) };
    let password = match std::env::var(PASSWORD_VARIABLE) {
        Ok(password) => Zeroizing::new(password.into_bytes()),
        Err(_) => ask(&format!("password of {user}: "))?,
    };
    if password.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(Client { login: Some((user.clone(), password)), master, options })
}

/// The parts to test.
#[derive(Debug)]
struct Chosen<'c> {
    upstreams: Vec<&'c Arc<Upstream>>,
    listeners: Vec<&'c Listener>,
}

/// A choice that the configuration does not have.
#[derive(Debug, thiserror::Error)]
enum ChoiceError {
    #[error(transparent)]
    Listener(#[from] QuestionError),
    #[error("unknown upstream '{name}'; {hint}")]
    Upstream { name: Masked, hint: String },
    #[error(
        "listener '{listener}' has upstream '{upstream}', not that of --upstream; leave out one of the options"
    )]
    Apart { listener: String, upstream: String },
}

impl<'c> Chosen<'c> {
    fn of(config: &'c Config, args: &TestConnectionArgs) -> Result<Self, ChoiceError> {
        let mut listeners = listeners(config, args.listener.as_deref())?;
        let mut upstreams: Vec<_> = config.upstreams().iter().collect();
        if let Some(name) = args.upstream.as_deref() {
            let known: Vec<&str> = upstreams.iter().map(|upstream| upstream.name()).collect();
            if !known.contains(&name) {
                let hint = known_names(name, &known, "upstreams");
                return Err(ChoiceError::Upstream { name: Masked::near(name, &known), hint });
            }
            if let (Some(_), [listener]) = (&args.listener, listeners.as_slice())
                && listener.upstream().name() != name
            {
                let (listener, upstream) =
                    (listener.name().to_owned(), listener.upstream().name().to_owned());
                return Err(ChoiceError::Apart { listener, upstream });
            }
            upstreams.retain(|upstream| upstream.name() == name);
            listeners.retain(|listener| listener.upstream().name() == name);
        } else if args.listener.is_some() {
            upstreams.retain(|upstream| listeners.iter().any(|of| of.upstream().name() == upstream.name()));
        }
        if !args.as_client {
            listeners.clear();
        }
        Ok(Self { upstreams, listeners })
    }

    async fn test(&self, config: &Config, client: &Client, report: &mut Report) {
        for upstream in &self.upstreams {
            UpstreamTest::of(config, upstream).run(report).await;
        }
        for listener in &self.listeners {
            ListenerTest::of(config, listener, client).run(report).await;
        }
    }
}
