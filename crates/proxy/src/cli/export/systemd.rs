//! A drop-in for `portcullis.socket` of systemd.
//!
//! The lists belong to the socket unit and not to the service. On the service they would filter the connections to Redis
//! as well, and there an address of `IPAddressAllow=` is admitted whatever `IPAddressDeny=` says. So the denied addresses
//! are already taken out of the networks here.

use std::fmt::Write as _;

use super::Exported;
use crate::generation::explain::moment;

/// The place of the drop-in, for its first lines.
const PLACE: &str = "/etc/systemd/system/portcullis.socket.d/allow.conf";

/// Returns the drop-in. `made` says when and from what.
pub(super) fn drop_in(exported: &[Exported<'_>], made: &str) -> String {
    let mut text = format!(
        "# Made by 'portcullis export systemd' at {made}.\n\
         # Install it as {PLACE}, then run\n\
         # 'systemctl daemon-reload'. Make it again when the configuration changes.\n\
         [Socket]\n\
         IPAddressAllow=\n\
         IPAddressDeny=any\n"
    );
    for listener in exported {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# listener {}", listener.name);
        for network in &listener.networks {
            let _ = writeln!(text, "IPAddressAllow={}", network.net);
        }
    }
    text
}

/// Returns notes about what the drop-in cannot express.
pub(super) fn notes(exported: &[Exported<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    if exported.len() > 1 {
        notes.push(
            "all sockets of a unit have one list: an address that one listener admits can connect to each of them; \
             give each listener a socket unit of its own, and export it with --listener"
                .to_owned(),
        );
    }
    for listener in exported {
        for network in &listener.networks {
            if let Some(until) = network.until {
                notes.push(format!(
                    "listener {}: {} ends at {}, but the socket unit keeps it",
                    listener.name,
                    network.net,
                    moment(until)
                ));
            }
        }
    }
    notes
}
