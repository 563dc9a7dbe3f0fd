//! Keys of Redis as text, where the configuration allows it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::sync::OnceLock;

use portcullis_config::KeyForm;
use portcullis_config::tls::provider;
use sha2::{Digest, Sha256};

use super::Escaped;

/// The bytes of the hash that are shown. Two of a million keys have the same ones with a probability of 1 to 37 million.
const SHOWN: usize = 8;

/// Returns a key in this form. `None` if keys are not shown.
pub(crate) fn shown_key(key: &[u8], form: KeyForm) -> Option<String> {
    match form {
        KeyForm::Off => None,
        KeyForm::Plain => Some(Escaped::new(key).to_string()),
        KeyForm::Hashed => hash(key),
    }
}

/// Returns random bytes of the kernel. The generator of the TLS library first collects entropy for 400 million
/// instructions, and this runs on a worker, which serves no client in that time.
fn random() -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut secret));
    match read {
        Ok(()) => Some(secret),
        Err(_) => provider().secure_random.fill(&mut secret).ok().map(|()| secret),
    }
}

/// Returns the hash of a key. It is made with a secret of the process, so that no other program can try out keys.
/// `None` if the system has no random bytes.
fn hash(key: &[u8]) -> Option<String> {
    static SECRET: OnceLock<Option<[u8; 32]>> = OnceLock::new();
    let secret = SECRET.get_or_init(random);
    let mut digest = Sha256::new();
    digest.update(secret.as_ref()?);
    digest.update(key);
    let mut text = String::with_capacity(2 * SHOWN + 1);
    text.push('#');
    for byte in digest.finalize().iter().take(SHOWN) {
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_for_the_same_key_and_tells_nothing_of_it() {
        let of = |key: &[u8], form| shown_key(key, form);
        assert_eq!(of(b"a", KeyForm::Off), None);
        assert_eq!(of(b"a\nb\xff", KeyForm::Plain).as_deref(), Some("a\\x0ab\\xff"));
        let hashed = of(b"session:1", KeyForm::Hashed).unwrap();
        assert_eq!(of(b"session:1", KeyForm::Hashed), Some(hashed.clone()));
        assert_ne!(of(b"session:2", KeyForm::Hashed), Some(hashed.clone()));
        assert_eq!((hashed.len(), hashed.starts_with('#')), (17, true));
        let unkeyed: String = Sha256::digest(b"session:1").iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!unkeyed.starts_with(&hashed[1..]), "{hashed}");
    }
}
