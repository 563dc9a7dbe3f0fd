//! The users of a listener: names, and digests of passwords that are compared in constant time.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// The name of the user for `AUTH password`.
pub const DEFAULT_USER: &str = "default";

/// The SHA-256 digest of a password, in the form that Redis stores it (`#...` in ACL files).
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

/// The error for a text that is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a SHA-256 digest: 64 hexadecimal digits are expected, as `portcullis hash-password` prints them"
)]
pub struct NotADigest;

/// A user of a listener.
#[derive(Clone, Debug)]
pub struct User {
    name: Box<str>,
    secrets: Vec<Secret>,
}

/// The users of one listener.
#[derive(Clone, Debug, Default)]
pub struct Users {
    users: Vec<User>,
}

/// The id of a user: its position in [`Users`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(u32);

/// The error for two users with the same name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("user {0:?} is named twice")]
pub struct NamedTwice(pub Box<str>);

impl Secret {
    /// Computes the digest of a password.
    #[must_use]
    pub fn of(password: &[u8]) -> Self {
        Self(digest(password))
    }

    /// Parses 64 hexadecimal digits, in any case.
    ///
    /// # Errors
    /// [`NotADigest`] for any other text.
    pub fn from_hex(text: &str) -> Result<Self, NotADigest> {
        let mut bytes = Zeroizing::new([0; 32]);
        let pairs = text.as_bytes().chunks(2);
        if text.len() != 64 {
            return Err(NotADigest);
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            *byte = hex(pair).ok_or(NotADigest)?;
        }
        Ok(Self(bytes))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

impl User {
    /// Makes a user. Each of the secrets is valid. Without secrets, no client can log in with a password as this
    /// user.
    #[must_use]
    pub fn new(name: &str, secrets: Vec<Secret>) -> Self {
        Self { name: name.into(), secrets }
    }

    /// Returns the name of the user.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Users {
    /// Makes the users of a listener, in this order.
    ///
    /// # Errors
    /// [`NamedTwice`] if two users have the same name.
    pub fn new(users: Vec<User>) -> Result<Self, NamedTwice> {
        for (at, user) in users.iter().enumerate() {
            if users.iter().skip(at.saturating_add(1)).any(|other| other.name == user.name) {
                return Err(NamedTwice(user.name.clone()));
            }
        }
        Ok(Self { users })
    }

    /// Returns the user with these credentials. `None` if they are wrong. `name` is the name in `AUTH name password`
    /// or in HELLO; `None` means `AUTH password`.
    ///
    /// Without a name, the credentials are those of the user `default`. For `default`, with or without its name, the
    /// password may also be `name:password`, as clients of ApsaraDB send it. It is split at the first colon, and the
    /// part before it must be the name of a user of this listener. A password of `default` that contains a colon has
    /// priority.
    ///
    /// Every attempt costs the same: the digests are compared with those of all users, whatever the name is.
    #[must_use]
    pub fn authenticate(&self, name: Option<&[u8]>, password: &[u8]) -> Option<UserId> {
        let name = name.unwrap_or(DEFAULT_USER.as_bytes());
        let given = Attempt::new(name, password);
        let within = Attempt::within(password);
        let may_be_within = name.ct_eq(DEFAULT_USER.as_bytes());
        let mut found = u32::MAX;
        for (at, user) in (0..u32::MAX).zip(&self.users) {
            found.conditional_assign(&at, within.is(user) & may_be_within);
        }
        // The whole password is compared last, so it has priority if both match.
        for (at, user) in (0..u32::MAX).zip(&self.users) {
            found.conditional_assign(&at, given.is(user));
        }
        (found != u32::MAX).then_some(UserId(found))
    }

    /// Returns the user with this id. `None` if there is none.
    #[must_use]
    pub fn get(&self, id: UserId) -> Option<&User> {
        self.users.get(usize::try_from(id.0).ok()?)
    }

    /// Returns the user with this name. Used for clients that are identified by other means than a password.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<UserId> {
        (0..u32::MAX).zip(&self.users).find(|(_, user)| &*user.name == name).map(|(at, _)| UserId(at))
    }

    /// Returns all users, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (UserId, &User)> {
        (0..u32::MAX).map(UserId).zip(&self.users)
    }

    /// Returns whether there are no users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

impl UserId {
    /// Returns the position of the user in the list of users.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0
    }
}

/// A name and the digest of a password, as they are compared with those of users.
struct Attempt<'b> {
    name: &'b [u8],
    digest: Zeroizing<[u8; 32]>,
}

impl<'b> Attempt<'b> {
    fn new(name: &'b [u8], password: &[u8]) -> Self {
        Self { name, digest: digest(password) }
    }

    /// Splits `name:password`. A password without a colon is hashed as well, so the time is the same; the result
    /// matches no user.
    fn within(password: &'b [u8]) -> Self {
        let at = password.iter().position(|byte| *byte == b':');
        match at.and_then(|at| password.split_at_checked(at)) {
            Some((name, rest)) => Self::new(name, rest.get(1..).unwrap_or_default()),
            None => Self::new(b"", password),
        }
    }

    fn is(&self, user: &User) -> Choice {
        let same_name = self.name.ct_eq(user.name.as_bytes());
        let none = Choice::from(0);
        user.secrets.iter().fold(none, |any, secret| any | secret.0.ct_eq(&*self.digest)) & same_name
    }
}

fn digest(password: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(Sha256::digest(password).into())
}

/// Parses two hexadecimal digits. `None` for other bytes.
fn hex(pair: &[u8]) -> Option<u8> {
    let [high, low] = pair else { return None };
    let digit = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests;
