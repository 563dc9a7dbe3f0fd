//! Pins: certificates that are known by their SHA-256.

use std::fmt;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

const BYTES: usize = 32;

/// The SHA-256 of a certificate, as `openssl x509 -noout -fingerprint -sha256` prints it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin([u8; BYTES]);

/// The fault of a text that is not a pin. It does not repeat the text, which may be a secret in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Something else, or nothing, stands before the digits.
    #[error("it does not begin with 'sha256:'")]
    Prefix,
    /// There is something else than digits.
    #[error(
        "it has characters other than hexadecimal digits, or colons that do not separate pairs of digits"
    )]
    Digits,
    /// There are fewer or more.
    #[error("it has {0} hexadecimal digits instead of 64")]
    Length(usize),
}

impl Pin {
    /// The pin of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// Reads `sha256:` and 64 hexadecimal digits, small or capital, all together or with a colon after every second one.
    ///
    /// # Errors
    /// The fault.
    pub fn parse(text: &str) -> Result<Self, PinError> {
        let (name, digits) = text.split_once(':').ok_or(PinError::Prefix)?;
        if !name.eq_ignore_ascii_case("sha256") {
            return Err(PinError::Prefix);
        }
        let pairs_apart = digits.split(':').all(|pair| pair.len() == 2);
        let digits = if pairs_apart { digits.replace(':', "") } else { digits.to_owned() };
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PinError::Digits);
        }
        if digits.len() != BYTES * 2 {
            return Err(PinError::Length(digits.len()));
        }
        let mut pin = [0; BYTES];
        for (byte, pair) in pin.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| PinError::Digits)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| PinError::Digits)?;
        }
        Ok(Self(pin))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn both_spellings() {
        let printed = "SHA256:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF";
        assert_eq!(Pin::parse(printed), Pin::parse(PLAIN));
        assert_eq!(Pin::parse(PLAIN).unwrap().to_string(), PLAIN);
    }

    #[test]
    fn what_is_no_pin() {
        let rows = [
            ("", PinError::Prefix),
            (&PLAIN[7..], PinError::Prefix),
            ("sha1:0123456789abcdef0123456789abcdef01234567", PinError::Prefix),
            ("sha256 Fingerprint=01:23", PinError::Prefix),
            ("sha256:", PinError::Length(0)),
            (&PLAIN[..PLAIN.len() - 1], PinError::Length(63)),
            ("sha256:01:23", PinError::Length(4)),
            ("sha256:0:123", PinError::Digits),
            ("sha256:01:23:", PinError::Digits),
            ("sha256://0123", PinError::Digits),
            ("sha256:é0", PinError::Digits),
            (" sha256:00", PinError::Prefix),
        ];
        for (text, error) in rows {
            assert_eq!(Pin::parse(text), Err(error), "{text}");
        }
    }
}
