//! Socket activation, which Windows does not have.

use crate::net::ready::ReadySockets;

/// Adds the sockets that the service manager passes to this process: none.
pub(super) const fn add_sockets(_: &mut ReadySockets, _is_child: bool) {}
