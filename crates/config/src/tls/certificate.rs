//! Facts of a certificate that concern the operator.

use portcullis_acl::UnixSeconds;
use rustls::pki_types::CertificateDer;
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME, Oid,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Version};

/// Automatic renewal happens earlier than this; when so little time is left, it has failed. For certificates of a few
/// days or hours it is a quarter of their validity.
const SOON: i64 = 14 * 24 * 3600;

/// A certificate, read. It proves nothing: that is rustls's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The subject, as `openssl x509 -noout -subject` prints it. Its maker chose the text.
    pub subject: String,
    /// The DNS names it is for, in small letters: those of the subject's alternative name, or where it has none the
    /// subject's common name.
    pub names: Vec<String>,
    /// From when on it holds.
    pub not_before: UnixSeconds,
    /// The end of its validity.
    pub not_after: UnixSeconds,
    /// Whether a server may use it: it names no purpose, or this one.
    pub for_servers: bool,
    /// Whether a client may use it.
    pub for_clients: bool,
}

impl Facts {
    /// `None`: it is no certificate.
    pub fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut names: Vec<String> = alternative_names(&certificate)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect();
        if certificate.subject_alternative_name().ok().flatten().is_none() {
            names.extend(common_name(&certificate).map(|name| name.to_ascii_lowercase()));
        }
        let purposes = certificate.extended_key_usage().ok().flatten().map(|extension| extension.value);
        Some(Self {
            subject: certificate.subject().to_string(),
            names,
            not_before: UnixSeconds(certificate.validity().not_before.timestamp()),
            not_after: UnixSeconds(certificate.validity().not_after.timestamp()),
            for_servers: purposes.is_none_or(|purposes| purposes.any || purposes.server_auth),
            for_clients: purposes.is_none_or(|purposes| purposes.any || purposes.client_auth),
        })
    }

    /// Returns the seconds until the certificate expires; negative if it has.
    pub fn seconds_left(&self, now: UnixSeconds) -> i64 {
        self.not_after.0.saturating_sub(now.0)
    }

    /// Returns whether so little time is left that an automatic renewal must have failed.
    pub fn is_due(&self, now: UnixSeconds) -> bool {
        self.seconds_left(now) < SOON.min(self.not_after.0.saturating_sub(self.not_before.0) / 4)
    }
}

/// Which name of a client's certificate is the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFrom {
    /// The subject's common name, the last where there are several.
    CommonName,
    /// The first DNS name, email address or URI among the alternative names, in this order of kinds.
    AlternativeName,
}

/// The name that a client's certificate gives it; `None` where it has none of that kind. The certificate was verified by
/// rustls, or it proves nothing.
pub(super) fn peer_name(der: &CertificateDer<'_>, from: NameFrom) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    match from {
        NameFrom::CommonName => common_name(&certificate).map(str::to_owned),
        NameFrom::AlternativeName => {
            let first =
                |pick: fn(&GeneralName<'_>) -> Option<String>| alternative_names(&certificate).find_map(pick);
            first(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .or_else(|| {
                first(|name| match name {
                    GeneralName::RFC822Name(name) => Some((*name).to_owned()),
                    _ => None,
                })
            })
            .or_else(|| {
                first(|name| match name {
                    GeneralName::URI(name) => Some((*name).to_owned()),
                    _ => None,
                })
            })
        }
    }
}

/// Whether a certificate may issue others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// The certificate is not a CA's, or denies key signing, or plainly belongs to one host or client.
    Never,
    /// The certificate is a CA's and names no key usage. `openssl req -x509` makes such ones by default, for any use.
    Unclear,
    /// The certificate says that its key signs certificates.
    Declared,
}

/// Reads basic constraints and key usage as OpenSSL does. A CA's certificate without key usage that has alternative
/// names or purposes (`openssl req -x509 -addext subjectAltName=...`) is that of a host or a client.
pub(super) fn signing(der: &CertificateDer<'_>) -> Signing {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Signing::Never };
    let (Ok(usage), Ok(constraints)) = (certificate.key_usage(), certificate.basic_constraints()) else {
        return Signing::Never;
    };
    match constraints {
        Some(constraints) if !constraints.value.ca => return Signing::Never,
        // There, and not to be read.
        None if has_extension(&certificate, &OID_X509_EXT_BASIC_CONSTRAINTS) => return Signing::Never,
        _ => {}
    }
    if let Some(usage) = usage {
        return if usage.value.key_cert_sign() { Signing::Declared } else { Signing::Never };
    }
    // Version 1 has no extensions: a root of old.
    let is_root = constraints.is_some() || certificate.version() == X509Version::V1;
    let is_leaf =
        has_alternative_names(&certificate) || has_extension(&certificate, &OID_X509_EXT_EXTENDED_KEY_USAGE);
    if is_root && !is_leaf { Signing::Unclear } else { Signing::Never }
}

pub(super) fn has_extension(certificate: &X509Certificate<'_>, oid: &Oid<'_>) -> bool {
    certificate.extensions().iter().any(|extension| extension.oid == *oid)
}

/// Whether there is the extension, however it reads.
pub(super) fn has_alternative_names(certificate: &X509Certificate<'_>) -> bool {
    has_extension(certificate, &OID_X509_EXT_SUBJECT_ALT_NAME)
}

/// The common name, where there is exactly one.
pub(super) fn only_common_name<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c str> {
    let mut names = certificate.subject().iter_common_name();
    let only = names.next()?;
    if names.next().is_some() { None } else { only.as_str().ok() }
}

fn alternative_names<'c>(certificate: &'c X509Certificate<'_>) -> impl Iterator<Item = &'c GeneralName<'c>> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.map(|extension| extension.value.general_names.iter()).into_iter().flatten()
}

/// The most specific one comes last.
fn common_name<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c str> {
    let last = certificate.subject().iter_common_name().last()?;
    last.as_str().ok().filter(|name| !name.is_empty())
}
