//! The commands that the configuration wants to see, as the path of commands asks for it.

pub(crate) mod frames;

use std::cell::Cell;

use portcullis_config::{CommandAudit, Config, KeyForm};
use portcullis_resp::command::{CommandId, Flags};

/// The settings of one worker. A reload changes them for all sessions.
#[derive(Debug)]
pub(crate) struct Watch {
    audited: Cell<CommandAudit>,
    audited_keys: Cell<KeyForm>,
}

impl Watch {
    /// Returns the settings of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let audit = config.audit();
        Self { audited: Cell::new(audit.commands()), audited_keys: Cell::new(audit.keys()) }
    }

    /// Takes the settings of another configuration.
    pub(crate) fn adopt(&self, config: &Config) {
        let Self { audited, audited_keys } = Self::of(config);
        self.audited.swap(&audited);
        self.audited_keys.swap(&audited_keys);
    }

    /// Returns whether commands that are not refused have audit lines.
    #[inline]
    pub(crate) fn audits_commands(&self) -> bool {
        self.audited.get() >= CommandAudit::Writes
    }

    /// Returns whether this command has audit lines.
    pub(crate) fn audits(&self, id: CommandId) -> bool {
        match self.audited.get() {
            CommandAudit::None | CommandAudit::Denied => false,
            CommandAudit::Writes => may_write(id),
            CommandAudit::All => true,
        }
    }

    /// Returns whether refused commands have audit lines.
    pub(crate) fn audits_denials(&self) -> bool {
        self.audited.get() >= CommandAudit::Denied
    }

    /// Returns the form of keys in audit lines.
    pub(crate) fn audited_keys(&self) -> KeyForm {
        self.audited_keys.get()
    }
}

/// Returns whether a command, or a subcommand of it, may change data. Scripts may, whatever they do.
fn may_write(id: CommandId) -> bool {
    let writes = |id: CommandId| {
        let flags = id.info().flags;
        flags.contains(Flags::WRITE) || flags.contains(Flags::MAY_REPLICATE)
    };
    id == CommandId::UNKNOWN || writes(id) || id.subcommands().any(writes)
}

#[cfg(test)]
mod tests {
    use portcullis_resp::command::{id, lookup};

    use super::*;

    #[test]
    fn commands_that_may_write() {
        for (name, writes) in [
            ("get", false),
            ("set", true),
            ("eval", true),
            ("xgroup", true),
            ("config", false),
            ("publish", true),
        ] {
            assert_eq!(may_write(lookup(name.as_bytes()).unwrap()), writes, "{name}");
        }
        assert!(may_write(CommandId::UNKNOWN), "a module's command may");
        assert!(!may_write(id::PING));
    }
}
