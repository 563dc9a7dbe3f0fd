//! The samples of commands that the status page shows.

use std::time::Duration;

/// The commands of which samples are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    pub(crate) slow: Option<Duration>,
    pub(crate) large: Option<u64>,
    pub(crate) hot: bool,
    pub(crate) keys: KeyForm,
}

impl Observe {
    /// The duration from which on a command is slow; `None`: slow commands are not kept.
    pub fn slow(&self) -> Option<Duration> {
        self.slow
    }

    /// The bytes of a request or of a reply from which on it is large; `None`: large ones are not kept.
    pub fn large(&self) -> Option<u64> {
        self.large
    }

    /// Whether the keys that are used most are counted.
    pub fn hot(&self) -> bool {
        self.hot
    }

    /// The form in which keys are shown.
    pub fn keys(&self) -> KeyForm {
        self.keys
    }
}

/// The form in which keys are written or shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Not at all.
    Off,
    /// As a keyed hash. The key of the hash is random and lives as long as the process.
    Hashed,
    /// As they are.
    Plain,
}

impl KeyForm {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Hashed => "hashed",
            Self::Plain => "plain",
        }
    }
}
