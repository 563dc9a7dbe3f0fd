//! Requests to the admin endpoint of the running proxy.

mod error;
mod exchange;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_config::{Admin, AdminBind, LoadOptions, load};
use secrecy::SecretString;
use serde_json::Value;
use zeroize::Zeroizing;

pub(super) use self::error::CallError;
pub(super) use self::exchange::Next;

use super::check::report;
use super::reachable::reachable;
use super::{BAD_CONFIG, BAD_USAGE, config_path, hint, say};

/// A token is far shorter; a wrong path should not fill the memory.
const MAX_TOKEN: u64 = 64 << 10;

/// The options of each command that asks the running proxy.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct AdminArgs {
    /// The configuration of the running proxy, for its admin address and its token [default: PORTCULLIS_CONFIG,
    /// ./portcullis.yaml, /etc/portcullis/portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin endpoint: http://HOST:PORT or unix:/path [default: admin.bind of the configuration]
    ///
    /// With this option no configuration is read, so that its token goes to no other address. Name the token with
    /// --token-file.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    admin: Option<String>,
    /// A file with the admin token [default: admin.token of the configuration]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl AdminArgs {
    /// Returns the endpoint to ask.
    ///
    /// # Errors
    /// The exit code; the reason was reported.
    pub(super) fn endpoint(&self) -> Result<Endpoint, ExitCode> {
        let token = match &self.token_file {
            Some(path) => Some(read_token(path).map_err(|error| {
                say(format_args!("cannot read the token from {}: {error}", path.display()));
                ExitCode::FAILURE
            })?),
            None => None,
        };
        match &self.admin {
            Some(url) => {
                let at = At::parse(url).map_err(|why| {
                    say(format_args!("'{}': {why}", url.escape_debug()));
                    ExitCode::from(BAD_USAGE)
                })?;
                Ok(Endpoint { at, token })
            }
            None => self.configured(token),
        }
    }

    /// Returns the endpoint of the configuration. The secrets of the configuration are read only if its token is
    /// needed.
    fn configured(&self, token: Option<SecretString>) -> Result<Endpoint, ExitCode> {
        let path = config_path(self.config.as_deref()).map_err(|error| {
            say(format_args!("{error}"));
            hint("name the admin endpoint with --admin URL to do without a configuration");
            ExitCode::from(BAD_CONFIG)
        })?;
        let read = |options: &LoadOptions| {
            load(&path, options).map_err(|problems| {
                let _ = report(&mut io::stderr().lock(), &problems);
                ExitCode::from(BAD_CONFIG)
            })
        };
        let config = read(&LoadOptions::new().without_secrets())?.config;
        let Some(admin) = config.admin() else {
            say(format_args!("{} has `admin: off`, so the proxy cannot be asked", path.display()));
            hint("write admin: {bind: 127.0.0.1:9377}, and restart the proxy");
            return Err(ExitCode::FAILURE);
        };
        if token.is_some() || admin.token().is_none() {
            return Ok(Endpoint { at: At::of(admin.bind()), token });
        }
        let config = read(&LoadOptions::new())?.config;
        let token = config.admin().and_then(Admin::token).cloned();
        Ok(Endpoint { at: At::of(admin.bind()), token })
    }
}

/// Reads a token. Editors and `echo` end a file with a newline that is not part of it.
fn read_token(path: &Path) -> io::Result<SecretString> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(MAX_TOKEN).read_to_string(&mut text)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty")),
        token => Ok(token.into()),
    }
}

/// An admin endpoint, and the token for it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    at: At,
    token: Option<SecretString>,
}

impl Endpoint {
    /// Returns the endpoint of a configuration that was read with its secrets.
    pub(super) fn of(admin: &Admin) -> Self {
        Self { at: At::of(admin.bind()), token: admin.token().cloned() }
    }

    /// Returns the answer to `GET path`.
    ///
    /// # Errors
    /// There is no answer, or another than success.
    pub(super) fn get(&self, path: &str) -> Result<Value, CallError> {
        exchange::call(self, path, None)
    }

    /// Returns the answer to `POST path` with a JSON body.
    ///
    /// # Errors
    /// There is no answer, or another than success.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, CallError> {
        exchange::call(self, path, Some(body))
    }

    /// Returns the error for an answer that is not what its path promises.
    pub(super) fn garbled(&self, reason: &str) -> CallError {
        CallError::Garbled { at: self.to_string(), reason: reason.to_owned() }
    }

    /// Calls `each` with each sample of `/api/events`, until it asks to stop.
    ///
    /// # Errors
    /// The stream cannot be opened, or it ended.
    pub(super) fn events(&self, each: impl FnMut(Value) -> Next) -> Result<(), CallError> {
        exchange::events(self, each)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)
    }
}

/// The address of an admin endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    /// A host name or an address, as it stands in the `Host` header, and the port.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// The reason why a URL names no admin endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum BadUrl {
    #[error(
        "the admin endpoint has no TLS of its own; write http://HOST:PORT, through 'ssh -L' on a network"
    )]
    Tls,
    #[error("is not the URL of an admin endpoint; write http://HOST:PORT or unix:/path")]
    Form,
    #[error("names no port; write http://HOST:PORT, with 9377 if admin.bind says nothing else")]
    NoPort,
}

impl At {
    fn of(bind: &AdminBind) -> Self {
        match bind {
            AdminBind::Tcp(address) => {
                let address = reachable(*address);
                let text = address.to_string();
                let host = text.rsplit_once(':').map_or(text.as_str(), |(host, _)| host).to_owned();
                Self::Tcp { host, port: address.port() }
            }
            AdminBind::Unix(file) => Self::Unix(file.path().to_owned()),
        }
    }

    fn parse(url: &str) -> Result<Self, BadUrl> {
        if let Some(path) = url.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        if url.starts_with("https://") {
            return Err(BadUrl::Tls);
        }
        let authority = url.strip_prefix("http://").ok_or(BadUrl::Form)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if authority.is_empty() || !authority.chars().all(is_plain) {
            return Err(BadUrl::Form);
        }
        let (host, port) = authority.rsplit_once(':').ok_or(BadUrl::NoPort)?;
        // The colon may be one of an IPv6 address.
        let is_whole = !host.is_empty() && (host.starts_with('[') == host.ends_with(']'));
        if !is_whole || (host.contains(':') && !host.starts_with('[')) {
            return Err(if authority.starts_with('[') { BadUrl::NoPort } else { BadUrl::Form });
        }
        let port = port.parse().map_err(|_| BadUrl::Form)?;
        Ok(Self::Tcp { host: host.to_owned(), port })
    }

    /// Returns the value of the `Host` header.
    fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
