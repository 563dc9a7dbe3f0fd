//! Why an upstream cannot be used, from what it says or does not say.

/// Why the upstream cannot be had, in the words of the line that the client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Its name has no address.
    Resolve,
    /// It cannot be reached, or ended the connection before it said anything.
    Connect,
    /// Nobody listens there, or it does not want us.
    Refused,
    /// It did not answer in time, or is busy with a script.
    Timeout,
    /// It wants TLS, or its TLS cannot be trusted.
    Tls,
    /// It does not accept the gate's credentials.
    Auth,
    /// It is loading its data.
    Loading,
    /// It has no room for another client.
    Limit,
}

impl Unavailable {
    /// What an error line says that a server writes on accept, before it reads a command.
    pub fn of_greeting(line: &[u8]) -> Option<Self> {
        const MEANINGS: [(&[u8], Unavailable); 2] = [
            (b"-ERR max number of clients", Unavailable::Limit),
            (b"-DENIED Redis is running in protected mode", Unavailable::Refused),
        ];
        meaning(line, &MEANINGS)
    }

    /// What it means that a server ended a connection before it said anything: one that `wants_tls` ends those that speak
    /// plain text, or show no certificate; any other may have been stopped.
    pub const fn of_silence(wants_tls: bool) -> Self {
        if wants_tls { Self::Tls } else { Self::Connect }
    }

    /// What an error line says of the server as a whole, in answer to a command with which the gate sets a connection up.
    /// None: it is about that command alone.
    pub fn of_setup(line: &[u8]) -> Option<Self> {
        const MEANINGS: [(&[u8], Unavailable); 4] = [
            (b"-LOADING", Unavailable::Loading),
            (b"-MASTERDOWN", Unavailable::Loading),
            (b"-NOAUTH", Unavailable::Auth),
            (b"-WRONGPASS", Unavailable::Auth),
        ];
        Self::of_greeting(line).or_else(|| meaning(line, &MEANINGS))
    }

    /// What an error line says in answer to the gate's own login.
    pub fn of_login(line: &[u8]) -> Self {
        const BUSY: &[u8] = b"-BUSY";
        let otherwise = if line.starts_with(BUSY) { Self::Timeout } else { Self::Auth };
        Self::of_setup(line).unwrap_or(otherwise)
    }

    /// The word for it, as in error lines and metrics.
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
