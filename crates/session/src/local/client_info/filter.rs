//! The filters with which CLIENT LIST, KILL and UNBLOCK select clients.

use std::time::Duration;

use portcullis_resp::reply;

use super::{Kind, Said, View, error, quoting, unknown_kind};
use crate::local::clients::{Action, Listed};
use crate::local::hello::strict_integer;

/// The conditions that a client must meet. If an option is given twice, the last one applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The ids in rising order. `None` selects all ids.
    ids: Option<Box<[i64]>>,
    kind: Option<Kind>,
    address: Option<Box<[u8]>>,
    local_address: Option<Box<[u8]>>,
    user: Option<Box<[u8]>>,
    age: Duration,
    skip_me: bool,
}

impl Filter {
    /// Reads the arguments of CLIENT LIST. `args` are the arguments after LIST.
    pub(super) fn of_list(args: &[&[u8]]) -> Result<Self, Said> {
        match args {
            [] => Ok(Self::default()),
            [by, kind] if by.eq_ignore_ascii_case(b"type") => {
                let kind = Kind::named(kind).ok_or_else(|| unknown_kind(kind))?;
                Ok(Self { kind: Some(kind), ..Self::default() })
            }
            [by, ids @ ..] if by.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
                let ids: Option<Vec<_>> = ids.iter().map(|id| strict_integer(id)).collect();
                ids.map(Self::of_ids).ok_or_else(|| error(INVALID_ID))
            }
            _ => Err(error(reply::SYNTAX_ERROR)),
        }
    }

    /// Reads the arguments of CLIENT KILL. `args` are the arguments after KILL, of which there is at least one. A
    /// single argument is an address.
    pub(super) fn of_kill(args: &[&[u8]], view: &View<'_>) -> Result<(Action, Self), Said> {
        if let [address] = args {
            return Ok((Action::KillAddress, Self { address: Some((*address).into()), ..Self::default() }));
        }
        let mut filter = Self { skip_me: true, ..Self::default() };
        for option in args.chunks(2) {
            let [option, value] = option else { return Err(error(reply::SYNTAX_ERROR)) };
            filter.set(option, value, view)?;
        }
        Ok((Action::Kill, filter))
    }

    /// Returns a filter for the clients with these ids. Repeated ids are removed, so a client is listed once. Redis
    /// lists it once for each id, which makes a large reply from a small command.
    pub(super) fn of_ids(mut ids: Vec<i64>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        Self { ids: Some(ids.into()), ..Self::default() }
    }

    pub(crate) fn user(&self) -> Option<&[u8]> {
        self.user.as_deref()
    }

    /// Returns the bytes of memory on the heap.
    pub(crate) fn held(&self) -> usize {
        let texts = [&self.address, &self.local_address, &self.user];
        self.ids.as_ref().map_or(0, |ids| size_of_val(&**ids))
            + texts.into_iter().flatten().map(|text| text.len()).sum::<usize>()
    }

    pub(crate) fn takes(&self, client: &Listed, asker: u64) -> bool {
        let Self { ids, kind, address, local_address, user, age, skip_me } = self;
        let view = &client.view;
        let is = |wanted: &[u8], text: &Option<String>| {
            text.as_ref().is_some_and(|text| wanted == text.as_bytes())
        };
        !(*skip_me && client.id == asker)
            && view.age >= *age
            && ids
                .as_ref()
                .is_none_or(|ids| i64::try_from(client.id).is_ok_and(|id| ids.binary_search(&id).is_ok()))
            && kind.is_none_or(|kind| kind == view.kind)
            && user.as_ref().is_none_or(|user| **user == *view.user.as_bytes())
            && address.as_ref().is_none_or(|address| is(address, &view.address))
            && local_address.as_ref().is_none_or(|address| is(address, &view.local_address))
    }

    fn set(&mut self, option: &[u8], value: &[u8], view: &View<'_>) -> Result<(), Said> {
        match option.to_ascii_lowercase().as_slice() {
            b"id" => self.ids = Some([at_least_one(value, NOT_POSITIVE, NOT_POSITIVE)?].into()),
            b"type" => self.kind = Some(Kind::named(value).ok_or_else(|| unknown_kind(value))?),
            b"addr" => self.address = Some(value.into()),
            b"laddr" => self.local_address = Some(value.into()),
            b"user" => {
                check_user(value, view)?;
                self.user = Some(value.into());
            }
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
}

/// Checks the option USER. A client that sees only its own user gets an error for any other user, except for `default`,
/// which every Redis has. If a client sees all users, the users of the clients found decide later whether the user
/// exists.
fn check_user(name: &[u8], view: &View<'_>) -> Result<(), Said> {
    if !view.narrow || name == view.user.as_bytes() || name == b"default" {
        Ok(())
    } else {
        Err(no_such_user(name))
    }
}

pub(crate) fn no_such_user(name: &[u8]) -> Said {
    Said::Error(quoting(b"-ERR No such user '", name, b"'\r\n"))
}

fn at_least_one(value: &[u8], no_integer: &[u8], too_small: &[u8]) -> Result<i64, Said> {
    match strict_integer(value) {
        None => Err(error(no_integer)),
        Some(value) if value < 1 => Err(error(too_small)),
        Some(value) => Ok(value),
    }
}

const INVALID_ID: &[u8] = b"-ERR Invalid client ID\r\n";
const NOT_POSITIVE: &[u8] = b"-ERR client-id should be greater than 0\r\n";
const MAXAGE_NOT_AN_INTEGER: &[u8] = b"-ERR maxage is not an integer or out of range\r\n";
const MAXAGE_NOT_POSITIVE: &[u8] = b"-ERR maxage should be greater than 0\r\n";
