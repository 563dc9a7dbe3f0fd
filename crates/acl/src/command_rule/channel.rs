//! Channels that Redis itself uses. They are closed unless a channel pattern of the rules opens them.
//!
//! Sentinels find each other, and learn of a new master, by messages on `__sentinel__:hello`. A client that publishes
//! there moves the master to a server of its choice. The other channels carry events of Redis, which a client could
//! forge, and names of keys.

use super::pattern::Pattern;

/// A kind of channel that Redis itself uses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Control {
    /// The prefixes of these channels.
    heads: &'static [&'static [u8]],
    /// The beginning of a channel pattern that opens these channels.
    opener: &'static [u8],
    subscribers: Subscribers,
}

/// The clients that may subscribe to channels of one kind unless a pattern opens them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscribers {
    All,
    /// Only clients whose rules allow all keys, because messages on these channels name keys.
    OfAllKeys,
    None,
}

/// The use of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelUse {
    Publish,
    Subscribe,
}

/// The length in bytes of the longest prefix. With this many bytes of a channel's name, its kind is certain.
const MAX_HEAD: usize = 13;

static CONTROLS: [Control; 4] = [
    Control { heads: &[b"__sentinel__:"], opener: b"__sentinel__:", subscribers: Subscribers::None },
    // Clients that track keys in RESP2 subscribe to `__redis__:invalidate`.
    Control { heads: &[b"__redis__:"], opener: b"__redis__:", subscribers: Subscribers::All },
    Control {
        heads: &[b"__keyspace@", b"__keyevent@"],
        opener: b"__key",
        subscribers: Subscribers::OfAllKeys,
    },
    // Redis 8.8: events about the fields of a hash, on four kinds of channels.
    Control { heads: &[b"__subkey"], opener: b"__subkey", subscribers: Subscribers::OfAllKeys },
];

impl Control {
    /// Returns the kind of a channel. `None` if Redis itself does not use the channel.
    pub(super) fn of(channel: &[u8]) -> Option<&'static Self> {
        // This check suffices for nearly all channels.
        if !channel.starts_with(b"__") {
            return None;
        }
        CONTROLS.iter().find(|control| control.heads.iter().any(|head| channel.starts_with(head)))
    }

    /// Returns the kind of channel that a pattern of PSUBSCRIBE clearly requests. `None` if the messages of the kind
    /// do not name keys.
    pub(super) fn of_keys_asked_by(pattern: &[u8]) -> Option<&'static Self> {
        CONTROLS.iter().find(|control| {
            control.subscribers == Subscribers::OfAllKeys && pattern.starts_with(control.opener)
        })
    }

    /// Returns whether the channels are closed for this use. `all_keys` says whether the rules allow all keys.
    pub(super) const fn is_closed(&self, channel_use: ChannelUse, all_keys: bool) -> bool {
        match (channel_use, self.subscribers) {
            (ChannelUse::Publish, _) | (ChannelUse::Subscribe, Subscribers::None) => true,
            (ChannelUse::Subscribe, Subscribers::OfAllKeys) => !all_keys,
            (ChannelUse::Subscribe, Subscribers::All) => false,
        }
    }

    pub(super) fn is_opened_by(&self, pattern: &Pattern) -> bool {
        pattern.text().starts_with(self.opener)
    }

    /// Returns whether a pattern may match a channel of this kind without opening it.
    fn is_reached_by(&self, pattern: &Pattern) -> bool {
        !self.is_opened_by(pattern) && self.heads.iter().any(|head| pattern.may_begin_with(head))
    }
}

/// Returns whether a channel whose name has this beginning may be one of Redis's own channels.
pub(crate) fn may_be_control(beginning: &[u8]) -> bool {
    beginning.len() < MAX_HEAD || Control::of(beginning).is_some()
}

/// Returns whether a channel pattern opens channels that `allchannels` does not.
pub(super) fn opens_control(pattern: &Pattern) -> bool {
    CONTROLS.iter().any(|control| control.is_opened_by(pattern))
}

/// Returns whether a channel pattern may match a channel that it does not open here. Redis does not close these
/// channels, so in Redis the pattern would open them.
pub(super) fn reaches_control(pattern: &Pattern) -> bool {
    CONTROLS.iter().any(|control| control.is_reached_by(pattern))
}

#[cfg(test)]
mod tests;
