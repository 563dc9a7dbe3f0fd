//! The certificates that are trusted to speak for others, and those that are trusted to be themselves.

use std::collections::BTreeSet;

use rustls::pki_types::CertificateDer;
use rustls::{DistinguishedName, Error, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsFingerprint;
use super::certificate::{Signing, signing};
use super::pin::Pin;

/// Bytes of all names in a request for a client's certificate. Its length has two bytes; and each handshake sends them.
const MAX_HINTS: usize = 16 * 1024;
/// The length in front of each name.
const NAME_HEADER: usize = 2;

/// The certificates or pins that make a peer's certificate trusted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// An issuer, or the certificate itself.
    Issuers(Issuers),
    /// The certificate itself, by its SHA-256. Nothing is asked of its issuer, its name or its basic constraints.
    Pins(BTreeSet<Pin>),
}

/// Certificates of a file of CAs. Those that may sign are trust anchors; each is trusted as itself, too.
#[derive(Clone, Debug)]
pub struct Issuers {
    anchors: RootCertStore,
    themselves: Vec<(CertificateDer<'static>, Signing)>,
}

impl Issuers {
    /// CAs that issue, and nothing more: those of the system.
    pub fn anchors(anchors: RootCertStore) -> Self {
        Self { anchors, themselves: Vec::new() }
    }

    /// Certificates of a file.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn of(certificates: &[CertificateDer<'static>]) -> Result<Self, Error> {
        let (mut anchors, mut themselves) = (RootCertStore::empty(), Vec::new());
        for der in certificates {
            let signing = signing(der);
            // An anchor signs whatever its basic constraints and key usage say: rustls does not look at them.
            match signing {
                Signing::Never => RootCertStore::empty().add(der.clone())?,
                Signing::Unclear | Signing::Declared => anchors.add(der.clone())?,
            }
            themselves.push((der.clone(), signing));
        }
        Ok(Self { anchors, themselves })
    }

    /// All of them, and whether each may issue others.
    pub fn themselves(&self) -> impl Iterator<Item = &(CertificateDer<'static>, Signing)> {
        self.themselves.iter()
    }

    /// Whether this certificate is one of them, byte for byte.
    pub(super) fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.themselves.iter().any(|(der, _)| der == certificate)
    }

    /// The certificates that may issue others.
    pub(super) fn issuing(&self) -> &RootCertStore {
        &self.anchors
    }

    /// The names by which a client finds a certificate to show: of the issuers, and of those that are trusted themselves.
    /// Where they are too long for the message none is sent, which stands for any.
    pub(super) fn hints(&self) -> Vec<DistinguishedName> {
        let mut names: BTreeSet<Vec<u8>> =
            self.anchors.subjects().iter().map(|name| name.as_ref().to_vec()).collect();
        for (der, _) in &self.themselves {
            if let Ok((_, certificate)) = X509Certificate::from_der(der) {
                names.insert(certificate.issuer().as_raw().to_vec());
            }
        }
        let length: usize = names.iter().map(|name| name.len() + NAME_HEADER).sum();
        if length > MAX_HINTS {
            return Vec::new();
        }
        names.into_iter().map(DistinguishedName::from).collect()
    }
}

impl Trust {
    pub(super) fn mark(&self, fingerprint: &mut TlsFingerprint) {
        match self {
            Self::Issuers(issuers) => {
                fingerprint.roots(&issuers.anchors);
                fingerprint.part(b"themselves");
                issuers.themselves.iter().for_each(|(der, _)| fingerprint.part(der));
            }
            Self::Pins(pins) => {
                fingerprint.part(b"pins");
                pins.iter().for_each(|pin| fingerprint.part(pin.as_bytes()));
            }
        }
    }
}
