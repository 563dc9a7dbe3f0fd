//! CLIENT KILL on a server whose only client is the one that asks.

use std::time::Duration;

use portcullis_resp::reply;

use super::{Kind, Said, View, error, integer, ok, own_id, quoting, unknown_kind};
use crate::handshake::strict_integer;

/// `args` are those after KILL, at least one. One alone is an address, and may be the client's own.
pub(super) fn kill(args: &[&[u8]], view: &View<'_>) -> Said {
    if let [address] = args {
        return if is(address, &view.peer.address()) { killed(ok()) } else { error(NO_SUCH_CLIENT) };
    }
    match Filter::read(args, view) {
        Err(said) => said,
        Ok(filter) if filter.takes(view) => killed(integer(1)),
        Ok(_) => integer(0),
    }
}

/// Whom the options mean. Of an option that is given twice the last counts.
struct Filter<'a> {
    id: Option<i64>,
    kind: Option<Kind>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    is_user: bool,
    age: Duration,
    skip_me: bool,
}

impl<'a> Filter<'a> {
    fn read(args: &[&'a [u8]], view: &View<'_>) -> Result<Self, Said> {
        let mut filter = Self {
            id: None,
            kind: None,
            address: None,
            local_address: None,
            is_user: true,
            age: Duration::ZERO,
            skip_me: true,
        };
        for option in args.chunks(2) {
            let [option, value] = option else { return Err(error(reply::SYNTAX_ERROR)) };
            filter.set(option, value, view)?;
        }
        Ok(filter)
    }

    fn set(&mut self, option: &[u8], value: &'a [u8], view: &View<'_>) -> Result<(), Said> {
        match option.to_ascii_lowercase().as_slice() {
            b"id" => self.id = Some(at_least_one(value, NOT_POSITIVE, NOT_POSITIVE)?),
            b"type" => self.kind = Some(Kind::named(value).ok_or_else(|| unknown_kind(value))?),
            b"addr" => self.address = Some(value),
            b"laddr" => self.local_address = Some(value),
            b"user" => self.is_user = is_user(value, view)?,
            b"maxage" => {
                let age = at_least_one(value, MAXAGE_NOT_AN_INTEGER, MAXAGE_NOT_POSITIVE)?;
                self.age = Duration::from_secs(age.unsigned_abs());
            }
            b"skipme" => {
                self.skip_me = match value.to_ascii_lowercase().as_slice() {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(error(reply::SYNTAX_ERROR)),
                };
            }
            _ => return Err(error(reply::SYNTAX_ERROR)),
        }
        Ok(())
    }

    fn takes(&self, view: &View<'_>) -> bool {
        let Self { id, kind, address, local_address, is_user, age, skip_me } = self;
        !skip_me
            && *is_user
            && view.peer.age() >= *age
            && id.is_none_or(|id| id == own_id(view))
            && kind.is_none_or(|kind| kind == Kind::of(view))
            && address.is_none_or(|address| is(address, &view.peer.address()))
            && local_address.is_none_or(|address| is(address, &view.peer.local_address()))
    }
}

/// Users that are not the client's own are none of its business, but every Redis has `default`.
fn is_user(name: &[u8], view: &View<'_>) -> Result<bool, Said> {
    if is(name, view.user) {
        return Ok(true);
    }
    if name == b"default" { Ok(false) } else { Err(quoting(b"-ERR No such user '", name, b"'\r\n")) }
}

fn at_least_one(value: &[u8], no_integer: &[u8], too_small: &[u8]) -> Result<i64, Said> {
    match strict_integer(value) {
        None => Err(error(no_integer)),
        Some(value) if value < 1 => Err(error(too_small)),
        Some(value) => Ok(value),
    }
}

fn is(text: &[u8], other: &str) -> bool {
    text == other.as_bytes()
}

fn killed(said: Said) -> Said {
    match said {
        Said::Reply(reply) => Said::Killed(reply),
        other => other,
    }
}

const NO_SUCH_CLIENT: &[u8] = b"-ERR No such client\r\n";
const NOT_POSITIVE: &[u8] = b"-ERR client-id should be greater than 0\r\n";
const MAXAGE_NOT_AN_INTEGER: &[u8] = b"-ERR maxage is not an integer or out of range\r\n";
const MAXAGE_NOT_POSITIVE: &[u8] = b"-ERR maxage should be greater than 0\r\n";
