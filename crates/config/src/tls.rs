//! TLS for listeners and upstreams, set up once from their files, and the faults that it can have.
//!
//! Nothing here is global: a configuration has its own keys, roots and resumable sessions, and a reload makes new ones.

mod certificate;
mod client;
mod fault;
mod pin;
mod server;
mod trust;
mod verify;

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use sha2::{Digest, Sha256};

pub use self::certificate::{Facts, NameFrom, Signing};
pub use self::client::ClientTls;
pub use self::fault::TlsFault;
pub use self::pin::{Pin, PinError};
pub use self::server::{Clients, Identity, ServerTls};
pub use self::trust::{Issuers, Trust};
pub use self::verify::{Role, WantedName, judge_itself};

/// Prints a certificate's SHA-256, as `pin` takes it.
pub const FINGERPRINT: &str = "openssl x509 -in FILE -noout -fingerprint -sha256";

/// TLS 1.2 is the oldest version that is not deprecated (RFC 8996).
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// A hash of the files that TLS was set up from, so that a reload can tell whether it changed. Keys need not be in it:
/// a certificate names the public half of its own.
#[derive(Default)]
struct TlsFingerprint(Sha256);

impl TlsFingerprint {
    /// One part; parts cannot run into each other.
    fn part(&mut self, bytes: &[u8]) {
        self.0.update(Sha256::digest(bytes));
    }

    fn identity(&mut self, identity: &Identity) {
        self.part(b"identity");
        for certificate in &identity.key().cert {
            self.part(certificate);
        }
    }

    fn roots(&mut self, roots: &RootCertStore) {
        self.part(b"roots");
        for anchor in &roots.roots {
            self.part(&anchor.subject);
            self.part(&anchor.subject_public_key_info);
            self.part(anchor.name_constraints.as_deref().unwrap_or_default());
        }
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Named wherever rustls is used: a process-wide default would be anybody's to set.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
