//! Reasons why an upstream cannot be used, from its error lines or its silence.

/// The reason why the upstream is unavailable, in the words of the error line that the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The upstream's name has no address.
    Resolve,
    /// The upstream is unreachable, or ended the connection before its first byte.
    Connect,
    /// No process listens on the address, or the upstream refuses the gate.
    Refused,
    /// The upstream did not answer in time, or is busy with a script.
    Timeout,
    /// The upstream requires TLS, or its TLS certificate cannot be trusted.
    Tls,
    /// The upstream does not accept the gate's credentials.
    Auth,
    /// The upstream is loading its data.
    Loading,
    /// The upstream has no room for another client.
    Limit,
}

impl Unavailable {
    /// Returns the reason in an error line that a server sends on accept, before it reads a command. Returns `None` for
    /// any other line.
    pub fn of_greeting(line: &[u8]) -> Option<Self> {
        const MEANINGS: [(&[u8], Unavailable); 2] = [
            (b"-ERR max number of clients", Unavailable::Limit),
            (b"-DENIED Redis is running in protected mode", Unavailable::Refused),
        ];
        meaning(line, &MEANINGS)
    }

    /// Returns the reason for which a server ends a connection before its first byte. If `wants_tls`, the server may
    /// refuse plain text or a connection without a certificate. If not, the server has probably been stopped.
    pub const fn of_silence(wants_tls: bool) -> Self {
        if wants_tls { Self::Tls } else { Self::Connect }
    }

    /// Returns the reason in an error reply to a command of the connection's setup, if the error is about the whole
    /// server. Returns `None` if the error is about that command alone.
    pub fn of_setup(line: &[u8]) -> Option<Self> {
        const MEANINGS: [(&[u8], Unavailable); 4] = [
            (b"-LOADING", Unavailable::Loading),
            (b"-MASTERDOWN", Unavailable::Loading),
            (b"-NOAUTH", Unavailable::Auth),
            (b"-WRONGPASS", Unavailable::Auth),
        ];
        Self::of_greeting(line).or_else(|| meaning(line, &MEANINGS))
    }

    /// Returns the reason in an error reply to the gate's own login.
    pub fn of_login(line: &[u8]) -> Self {
        const BUSY: &[u8] = b"-BUSY";
        let otherwise = if line.starts_with(BUSY) { Self::Timeout } else { Self::Auth };
        Self::of_setup(line).unwrap_or(otherwise)
    }

    /// Returns whether the upstream may be available soon without a change of the configuration.
    pub const fn passes(self) -> bool {
        match self {
            Self::Resolve | Self::Connect | Self::Refused | Self::Timeout | Self::Loading | Self::Limit => {
                true
            }
            Self::Tls | Self::Auth => false,
        }
    }

    /// Returns the word for the reason in error lines and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Loading => "loading",
            Self::Limit => "limit",
        }
    }
}

fn meaning(line: &[u8], meanings: &[(&[u8], Unavailable)]) -> Option<Unavailable> {
    meanings.iter().find(|(prefix, _)| line.starts_with(prefix)).map(|(_, meaning)| *meaning)
}
