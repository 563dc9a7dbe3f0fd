//! What a certificate says about itself, as far as it concerns the operator.

use portcullis_acl::UnixSeconds;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A certificate, read. It proves nothing: that is rustls's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The DNS names it is for, in small letters: those of the subject's alternative name, or where it has none the
    /// subject's common name.
    pub names: Vec<String>,
    /// From when on it holds.
    pub not_before: UnixSeconds,
    /// How long it holds.
    pub not_after: UnixSeconds,
    /// It may be a server's: it names no purpose, or this one.
    pub for_servers: bool,
    /// It may be a client's.
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
            names,
            not_before: UnixSeconds(certificate.validity().not_before.timestamp()),
            not_after: UnixSeconds(certificate.validity().not_after.timestamp()),
            for_servers: purposes.is_none_or(|purposes| purposes.any || purposes.server_auth),
            for_clients: purposes.is_none_or(|purposes| purposes.any || purposes.client_auth),
        })
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

fn alternative_names<'c>(certificate: &'c X509Certificate<'_>) -> impl Iterator<Item = &'c GeneralName<'c>> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.map(|extension| extension.value.general_names.iter()).into_iter().flatten()
}

/// The most specific one comes last.
fn common_name<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c str> {
    let last = certificate.subject().iter_common_name().last()?;
    last.as_str().ok().filter(|name| !name.is_empty())
}
