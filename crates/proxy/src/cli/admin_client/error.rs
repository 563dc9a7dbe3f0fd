//! The reasons why the running proxy does not answer.

use hyper::StatusCode;
use thiserror::Error;

use super::exchange::PATIENCE;
use crate::cli::{hint, say};

/// The reason why there is no answer of the running proxy.
#[derive(Debug, Error)]
pub(in crate::cli) enum CallError {
    /// No connection.
    #[error("no proxy answers on {at}: {reason}")]
    Unreachable { at: String, reason: String },
    /// No answer in time.
    #[error("the proxy on {at} did not answer within {} s", PATIENCE.as_secs())]
    Slow { at: String },
    /// The endpoint has a token, and the request has none.
    #[error("the admin endpoint on {at} needs a token")]
    NoToken { at: String },
    /// The endpoint has another token.
    #[error("the proxy on {at} refused the admin token")]
    Token { at: String },
    /// The endpoint answers with an error.
    #[error("the server on {at} answered {status} to {path}{}", message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused { at: String, path: String, status: StatusCode, message: Option<String> },
    /// Another server answers.
    #[error("the server on {at} did not return an answer of portcullis: {reason}")]
    Garbled { at: String, reason: String },
    /// The stream of events has ended.
    #[error("the proxy on {at} ended the connection")]
    Ended { at: String },
}

impl CallError {
    /// Returns the advice for the operator.
    pub(in crate::cli) fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Ended { .. } => {
                "start the proxy with this configuration, or name the configuration that the proxy runs with"
            }
            Self::Slow { .. } => "check whether the proxy hangs",
            Self::NoToken { .. } | Self::Token { .. } => {
                "name the configuration that the proxy runs with; status, top, clients and sources take --token-file too"
            }
            Self::Refused { status, .. } if *status == StatusCode::FORBIDDEN => {
                "set admin.token in the configuration of the proxy: without it the endpoint is read-only"
            }
            Self::Refused { status, .. } if status.is_client_error() => {
                "list what there is without this option, then try again"
            }
            Self::Refused { .. } | Self::Garbled { .. } => {
                "check that it is portcullis of this version, and that admin.bind is its address"
            }
        }
    }

    /// Prints the error and the advice.
    pub(in crate::cli) fn report(&self) {
        say(format_args!("{self}"));
        hint(self.hint());
    }
}
