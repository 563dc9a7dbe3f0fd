//! The audit line of a change on the command line.

use std::io;
use std::path::Path;

use portcullis_config::{LoadOptions, load};
use serde::Serialize;

use super::warn;
use crate::audit::append;
use crate::platform::User;

/// A change of the files.
#[derive(Clone, Copy, Debug)]
pub(super) struct What<'a> {
    pub(super) action: &'static str,
    pub(super) group: &'a str,
    pub(super) entries: &'a [String],
}

/// The line, without its time.
#[derive(Serialize)]
struct Change<'a> {
    event: &'static str,
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The user who called sudo.
    #[serde(skip_serializing_if = "Option::is_none")]
    sudo_user: Option<String>,
    action: &'static str,
    group: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entries: &'a [String],
    config: String,
}

impl What<'_> {
    /// Appends the line to the audit output of this configuration. The change is made already, so a fault is a warning.
    pub(super) fn report(self, config: &Path) {
        let Ok(loaded) = load(config, &LoadOptions::new().without_secrets()) else { return };
        let User { uid, name, sudo } = User::current();
        let change = Change {
            event: "admin",
            by: "cli",
            uid,
            user: name,
            sudo_user: sudo,
            action: self.action,
            group: self.group,
            entries: self.entries,
            config: config.display().to_string(),
        };
        let to = loaded.config.audit().path();
        match append(to, &change) {
            Ok(()) => {}
            // No proxy has run with this configuration yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn(format_args!("the audit trail {to} has no line of this change: {error}")),
        }
    }
}
