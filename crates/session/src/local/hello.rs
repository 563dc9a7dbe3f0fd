//! AUTH and HELLO, where the gate answers them.
//!
//! A client's credentials are only for the gate, which checks them and never forwards them.

use portcullis_resp::{encode, reply};

/// The user of a connection that has not logged in, and the only user under `auth: trust`.
pub(crate) const DEFAULT_USER: &str = "default";

/// Returns AUTH's reply under `auth: trust`. `args` are the arguments after the name, of which there is at least one.
///
/// Under `auth: trust` the allowlist takes the place of a password. Any password is right, because some connectors
/// require one and some clients keep an old one after a migration.
pub(crate) fn auth(args: &[&[u8]]) -> &'static [u8] {
    match args {
        [_password] => reply::OK,
        [user, _password] if *user == DEFAULT_USER.as_bytes() => reply::OK,
        [_, _] => reply::WRONGPASS,
        _ => reply::SYNTAX_ERROR,
    }
}

/// A valid HELLO.
pub(crate) struct Hello<'b> {
    /// The user and the password, if the HELLO contains them.
    pub(crate) credentials: Option<(&'b [u8], &'b [u8])>,
    /// Whether the HELLO sets a name that Redis does not allow.
    pub(crate) bad_name: bool,
    /// The name that the HELLO sets, if it sets one.
    pub(crate) name: Option<&'b [u8]>,
    version: Option<&'b [u8]>,
    forwarded: Vec<&'b [u8]>,
}

/// A HELLO without its credentials, which is sent later.
#[derive(Debug)]
pub(crate) struct Greeting {
    /// The command in canonical form.
    pub(crate) bytes: Vec<u8>,
    /// Whether the HELLO requests RESP3. `None` if it names no version, or if the gate does not track the version.
    pub(crate) resp3: Option<bool>,
    /// The name that the HELLO gives the client, if there is one.
    pub(crate) name: Option<Box<[u8]>>,
}

impl<'b> Hello<'b> {
    /// Parses HELLO's arguments after the name in Redis's order: version, then options.
    ///
    /// # Errors
    ///
    /// Returns Redis's error for invalid arguments.
    pub(crate) fn read(args: &[&'b [u8]]) -> Result<Self, Vec<u8>> {
        let mut hello =
            Self { credentials: None, bad_name: false, version: None, name: None, forwarded: vec![b"HELLO"] };
        let Some((version, options)) = args.split_first() else { return Ok(hello) };
        match strict_integer(version) {
            None => return Err(reply::HELLO_VERSION_NOT_INTEGER.to_vec()),
            Some(2 | 3) => hello.forwarded.push(version),
            Some(_) => return Err(reply::NOPROTO.to_vec()),
        }
        hello.version = Some(version);
        let mut rest = options;
        loop {
            rest = match rest {
                [] => return Ok(hello),
                [option, user, password, rest @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                    hello.credentials = Some((*user, *password));
                    rest
                }
                [option, name, rest @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                    hello.bad_name |= !name.iter().all(|byte| (b'!'..=b'~').contains(byte));
                    hello.forwarded.extend([*option, *name]);
                    hello.name = Some(name);
                    rest
                }
                [option, ..] => {
                    let mut line = Vec::with_capacity(64);
                    reply::hello_option_error(&mut line, option);
                    return Err(line);
                }
            };
        }
    }

    /// Returns whether the HELLO requests RESP3. `None` if it names no version.
    pub(crate) fn asks_for_resp3(&self) -> Option<bool> {
        self.version.map(|version| version == b"3")
    }

    /// Returns whether the credentials are right under `auth: trust`. Missing credentials are right as well.
    pub(crate) fn is_of_default_user(&self) -> bool {
        self.credentials.is_none_or(|(user, _)| user == DEFAULT_USER.as_bytes())
    }

    /// Returns the HELLO without its credentials. If the connection is `shared`, the gate keeps the name, so the name
    /// is left out as well.
    pub(crate) fn greeting(&self, shared: bool) -> Greeting {
        if !shared {
            let name = self.name.map(Into::into);
            return Greeting { bytes: self.without_credentials(), resp3: None, name };
        }
        let mut bytes = Vec::with_capacity(32);
        let words = [b"HELLO"].into_iter().map(|word| &word[..]).chain(self.version);
        encode::command(&mut bytes, &words.collect::<Vec<_>>());
        let resp3 = self.asks_for_resp3();
        Greeting { bytes, resp3, name: self.name.map(Into::into) }
    }

    /// Returns the HELLO in canonical form, without its credentials.
    pub(crate) fn without_credentials(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        encode::command(&mut bytes, &self.forwarded);
        bytes
    }
}

/// Parses an integer as strictly as Redis: no sign except `-`, no leading zeros, no blanks.
pub(crate) fn strict_integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}
