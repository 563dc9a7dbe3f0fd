//! Requests `/api/status` from the running proxy.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use portcullis_config::{Admin, AdminBind};
use secrecy::ExposeSecret;
use serde::Deserialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::cli::reachable::reachable;

/// The proxy answers within a second even under load; after this time another server or a fault is likely.
const PATIENCE: Duration = Duration::from_secs(10);
/// A status page with every listener's list of sources full has a few megabytes.
const MOST_BYTES: usize = 64 << 20;
const PATH: &str = "/api/status";

/// The part of the status that this command reads.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    pub(super) listeners: Vec<ListenerStatus>,
    /// The host names of its groups and lists.
    #[serde(default)]
    pub(super) hosts: Vec<HostStatus>,
}

/// A host entry of the running proxy.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct HostStatus {
    pub(super) host: String,
    pub(super) group: Option<String>,
    /// `current`, `stale` or `empty`.
    pub(super) state: String,
    pub(super) addresses: Vec<String>,
    pub(super) age_seconds: Option<u64>,
    pub(super) failures: u64,
    pub(super) error: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ListenerStatus {
    pub(super) name: String,
    /// Absent where the listener has none.
    #[serde(default)]
    pub(super) shadow: Option<ShadowStatus>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ShadowStatus {
    pub(super) sources: Vec<StatusSource>,
    /// There were more than the proxy keeps.
    #[serde(default)]
    pub(super) sources_truncated: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct StatusSource {
    /// An address, or `unix`.
    pub(super) source: String,
    pub(super) count: u64,
    /// RFC 3339.
    pub(super) last_seen: String,
}

/// The reason why there is no status.
#[derive(Debug, Error)]
pub(super) enum StatusError {
    #[error("no proxy answers on {bind}: {reason}")]
    Unreachable { bind: String, reason: String },
    #[error("the proxy on {bind} did not answer within {} s", PATIENCE.as_secs())]
    Slow { bind: String },
    #[error("the proxy on {bind} refused the admin token")]
    Token { bind: String },
    #[error("the server on {bind} answered {status} to {PATH}")]
    Refused { bind: String, status: StatusCode },
    #[error("the server on {bind} did not return a status of portcullis: {reason}")]
    Garbled { bind: String, reason: String },
}

impl StatusError {
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "start the proxy with this configuration, or name the configuration that the proxy runs with"
            }
            Self::Slow { .. } => "check whether the proxy hangs",
            Self::Token { .. } => "name the configuration that the proxy runs with",
            Self::Refused { .. } | Self::Garbled { .. } => {
                "check that it is portcullis of this version, and that admin.bind is its address"
            }
        }
    }
}

/// One request on a connection of its own.
pub(super) fn fetch(admin: &Admin) -> Result<Status, StatusError> {
    let bind = admin.bind().to_string();
    let unreachable =
        |error: std::io::Error| StatusError::Unreachable { bind: bind.clone(), reason: error.to_string() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unreachable)?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, async {
            match admin.bind() {
                AdminBind::Tcp(addr) => {
                    let stream = TcpStream::connect(reachable(*addr)).await.map_err(unreachable)?;
                    ask(stream, admin, &reachable(*addr).to_string()).await
                }
                AdminBind::Unix(file) => {
                    let stream = UnixStream::connect(file.path()).await.map_err(unreachable)?;
                    ask(stream, admin, "localhost").await
                }
            }
        })
        .await
    });
    match answer {
        Ok(answer) => answer,
        Err(_) => Err(StatusError::Slow { bind }),
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    admin: &Admin,
    host: &str,
) -> Result<Status, StatusError> {
    let bind = || admin.bind().to_string();
    let garbled = |reason: String| StatusError::Garbled { bind: bind(), reason };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| garbled(error.to_string()))?;
    // Its end is seen by the sender.
    tokio::spawn(connection);
    let mut request = Request::get(PATH).header(HOST, host).header(CONNECTION, "close");
    if let Some(token) = admin.token() {
        let value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
        let mut value = value.map_err(|_| StatusError::Token { bind: bind() })?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| garbled(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| garbled(error.to_string()))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return Err(StatusError::Token { bind: bind() }),
        status => return Err(StatusError::Refused { bind: bind(), status }),
    }
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| garbled(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| garbled(error.to_string()))
}
