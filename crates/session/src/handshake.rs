//! AUTH and HELLO under `auth: trust`, answered as a Redis answers whose default user has no password.
//!
//! A client's credentials are the gate's business alone: they are judged here and never travel on.

use portcullis_resp::{encode, reply};

/// The only user there is.
const DEFAULT_USER: &[u8] = b"default";

/// AUTH's answer. `args` are those after the name, at least one.
pub(crate) fn auth(args: &[&[u8]]) -> &'static [u8] {
    match args {
        [_password] => reply::AUTH_NO_PASSWORD_SET,
        [user, _password] if *user == DEFAULT_USER => reply::OK,
        [_, _] => reply::WRONGPASS,
        _ => reply::SYNTAX_ERROR,
    }
}

/// What becomes of a HELLO.
pub(crate) enum Hello {
    /// It carries no credentials: it travels on.
    AsItIs,
    /// It travels on in this form, without its credentials.
    Without(Vec<u8>),
    /// It is answered with this line.
    Refused(Vec<u8>),
    /// Its credentials are wrong.
    WrongPassword,
}

/// Judges HELLO's arguments, those after the name, in Redis's order: version, options, credentials.
pub(crate) fn hello(args: &[&[u8]]) -> Hello {
    let Some((version, options)) = args.split_first() else { return Hello::AsItIs };
    match strict_integer(version) {
        None => return Hello::Refused(reply::HELLO_VERSION_NOT_INTEGER.to_vec()),
        Some(2 | 3) => {}
        Some(_) => return Hello::Refused(reply::NOPROTO.to_vec()),
    }
    let mut forwarded: Vec<&[u8]> = vec![b"HELLO", version];
    let mut user = None;
    let mut rest = options;
    loop {
        rest = match rest {
            [] => break,
            [option, name, _password, rest @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                user = Some(*name);
                rest
            }
            [option, name, rest @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                forwarded.extend([*option, *name]);
                rest
            }
            [option, ..] => {
                let mut line = Vec::with_capacity(64);
                reply::hello_option_error(&mut line, option);
                return Hello::Refused(line);
            }
        };
    }
    match user {
        None => Hello::AsItIs,
        Some(DEFAULT_USER) => {
            let mut bytes = Vec::with_capacity(64);
            encode::command(&mut bytes, &forwarded);
            Hello::Without(bytes)
        }
        Some(_) => Hello::WrongPassword,
    }
}

/// A number as Redis reads one: no sign but `-`, no leading zero, no blanks.
fn strict_integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}
