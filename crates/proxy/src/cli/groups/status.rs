//! Requests `/api/status` from the running proxy.

use portcullis_config::Admin;
use serde::Deserialize;

use crate::cli::admin_client::{CallError, Endpoint};

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

/// Returns the status of the running proxy.
///
/// # Errors
/// The proxy does not answer, or its answer is no status.
pub(super) fn fetch(admin: &Admin) -> Result<Status, CallError> {
    let endpoint = Endpoint::of(admin);
    let garbled = |error: serde_json::Error| endpoint.garbled(&error.to_string());
    serde_json::from_value(endpoint.get("/api/status")?).map_err(garbled)
}
