//! Texts of problems of a configuration and of notes of an import.
//!
//! A value in a configuration may be a secret in the wrong place. So only [`message!`] makes a [`Message`], and it takes a
//! value only as a type that is [`Harmless`]. Strings are not harmless: they go through [`Masked`], which decides what
//! of them may be shown. Text captured in the format string (`{name}`) does not compile either.

mod masked;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portcullis_acl::{Cidr, CidrError, TooMany};

pub use portcullis_acl::spelling::nearest;

pub use self::masked::{Masked, is_harmless};

/// A text that holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(String);

impl Message {
    /// Formats values that [`message!`] has wrapped in [`Shown`].
    pub fn of(text: fmt::Arguments<'_>) -> Self {
        Self(text.to_string())
    }

    /// The text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl From<&'static str> for Message {
    fn from(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

/// Makes a [`Message`] of a format string and values that are [`Harmless`].
#[doc(hidden)]
#[macro_export]
macro_rules! __message {
    ($form:literal $(, $value:expr)* $(,)?) => {
        // With `concat` the format string cannot capture variables past the check.
        $crate::message::Message::of(format_args!(concat!($form) $(, $crate::message::Shown(&$value))*))
    };
}
#[doc(inline)]
pub use crate::__message as message;

/// Returns the hint for a word that is none of the known ones: the one that was probably meant, or `otherwise`.
pub fn did_you_mean(written: &str, known: &[&str], otherwise: impl FnOnce() -> Message) -> Message {
    match nearest(written, known) {
        Some(word) => message!("did you mean '{}'?", Masked::known(word)),
        None => otherwise(),
    }
}

/// Returns the hint for a name that is none of the known ones: the one that was probably meant, or all of them. `kind`
/// is a plural, such as "listeners".
pub fn known_names(written: &str, known: &[&str], kind: &'static str) -> String {
    let all = || match known.is_empty() {
        true => message!("there are no {}", kind),
        false => message!("known {}: {}", kind, Masked::names(known.iter().copied())),
    };
    did_you_mean(written, known, all).into_string()
}

/// A type whose values hold no free text, or only text that may be shown.
pub trait Harmless {
    /// Writes the value as a message shows it.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A harmless value for a format string.
pub struct Shown<'a, T>(pub &'a T);

impl<T: Harmless> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}

macro_rules! harmless {
    ($($type:ty),* $(,)?) => {
        $(impl Harmless for $type {
            fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        })*
    };
}

// Text of the program, numbers, and what was parsed as an address.
harmless!(&'static str, u8, u16, u32, u64, usize);
harmless!(IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, Cidr, CidrError, TooMany);
// The system's words, and those of a parser of JSON without a type, which quotes nothing.
harmless!(std::io::Error, serde_json::Error);

impl Harmless for Message {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
