//! The audit line of a change on the command line.

use std::fs;
use std::io;
use std::path::Path;

use portcullis_config::{LoadOptions, load};
use rustix::process::getuid;
use serde::Serialize;

use super::warn;
use crate::audit::append;

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
    uid: u32,
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
        let uid = getuid();
        let sudo_user = std::env::var("SUDO_USER").ok().filter(|_| uid.is_root());
        let change = Change {
            event: "admin",
            by: "cli",
            uid: uid.as_raw(),
            user: name_of(uid.as_raw()),
            sudo_user,
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

/// Returns the name of a user of this machine. `None` if the file of users does not have it.
fn name_of(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let has = |line: &&str| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(uid);
    users.lines().find(has)?.split(':').next().map(str::to_owned)
}
