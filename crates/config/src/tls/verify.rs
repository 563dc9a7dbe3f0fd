//! The verification of a peer's certificate.
//!
//! webpki verifies a certificate that an issuer vouches for. A certificate that is trusted as itself, by `ca` or `pin`, is
//! judged here by what it says: its dates, its key usage and, for a server of `ca`, its name. That the peer has the key is
//! proven by the signature of the handshake in every case.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertRevocationListError, CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, SignatureScheme,
};
use x509_parser::oid_registry::OID_X509_EXT_NAME_CONSTRAINTS;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::certificate::{has_alternative_names, has_extension, only_common_name};
use super::pin::Pin;
use super::provider;
use super::trust::{Issuers, Trust};

/// The use of a peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An upstream shows it.
    Server,
    /// A client shows it.
    Client,
}

/// The reason why a certificate is not acceptable, where rustls has no name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAcceptable {
    /// Its fingerprint is not among the pins.
    #[error("its certificate matches no pin: its fingerprint is {0}")]
    Pin(Pin),
    /// The key may not sign a handshake.
    #[error("its certificate does not allow signatures (key usage without digitalSignature)")]
    KeyUsage,
}

impl From<NotAcceptable> for Error {
    fn from(why: NotAcceptable) -> Self {
        CertificateError::Other(OtherError(Arc::new(why))).into()
    }
}

/// The name that an upstream's certificate must have.
#[derive(Clone, Copy, Debug)]
pub struct WantedName<'n> {
    /// The name.
    pub name: &'n ServerName<'n>,
    /// Whether the file says it (`server_name`): the common name counts only then.
    pub written: bool,
}

/// Judges a certificate that is trusted as itself by what it says. `name`: for an upstream that is not pinned.
///
/// # Errors
/// Why it is refused.
pub fn judge_itself(
    certificate: &CertificateDer<'_>,
    role: Role,
    name: Option<WantedName<'_>>,
    now: UnixTime,
) -> Result<(), Error> {
    // webpki's own reading first: what it cannot read, or must not overlook, is refused.
    let parsed = ParsedCertificate::try_from(certificate)?;
    let (_, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < read.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > read.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    let usage = read.key_usage().map_err(|_| CertificateError::BadEncoding)?;
    // Every key exchange that is spoken here is signed (RFC 8446, 4.4.2.2).
    if usage.is_some_and(|usage| !usage.value.digital_signature()) {
        return Err(NotAcceptable::KeyUsage.into());
    }
    let purposes = read.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    let fits = purposes.is_none_or(|purposes| match role {
        Role::Server => purposes.value.server_auth,
        Role::Client => purposes.value.client_auth,
    });
    if !fits {
        return Err(CertificateError::InvalidPurpose.into());
    }
    name.map_or(Ok(()), |name| judge_name(&parsed, certificate, name, || true))
}

/// `free`: whether nothing above the certificate constrains the names that it may have.
fn judge_name(
    parsed: &ParsedCertificate<'_>,
    certificate: &CertificateDer<'_>,
    wanted: WantedName<'_>,
    free: impl FnOnce() -> bool,
) -> Result<(), Error> {
    let Err(error) = verify_server_name(parsed, wanted.name) else { return Ok(()) };
    let Ok((_, read)) = X509Certificate::from_der(certificate) else { return Err(error) };
    let is_named = only_common_name(&read).is_some_and(|name| is_named(wanted.name, name));
    if is_named && wanted.written && !has_alternative_names(&read) && free() { Ok(()) } else { Err(error) }
}

fn is_named(wanted: &ServerName<'_>, name: &str) -> bool {
    match wanted {
        ServerName::DnsName(wanted) => {
            let wanted = wanted.as_ref();
            match name.strip_prefix("*.") {
                // A wildcard stands for one label (RFC 6125, 6.4.3).
                Some(domain) => wanted
                    .split_once('.')
                    .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain)),
                None => wanted.eq_ignore_ascii_case(name),
            }
        }
        ServerName::IpAddress(wanted) => name.parse() == Ok(IpAddr::from(*wanted)),
        _ => false,
    }
}

/// webpki holds alternative names to the constraints of CAs, and no common name: where there are any, none counts.
fn is_constrained(anchors: &RootCertStore, intermediates: &[CertificateDer<'_>]) -> bool {
    let constrains = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der)
            .map_or(true, |(_, read)| has_extension(&read, &OID_X509_EXT_NAME_CONSTRAINTS))
    };
    anchors.roots.iter().any(|anchor| anchor.name_constraints.is_some())
        || intermediates.iter().any(constrains)
}

fn judge_pin(certificate: &CertificateDer<'_>, pinned: impl FnOnce(&Pin) -> bool) -> Result<(), Error> {
    let pin = Pin::of(certificate);
    if pinned(&pin) { Ok(()) } else { Err(NotAcceptable::Pin(pin).into()) }
}

/// Verifies upstreams.
#[derive(Debug)]
pub(super) struct Servers {
    trust: Trust,
    /// Whether the file says the name.
    written: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Servers {
    pub(super) fn new(trust: Trust, written: bool) -> Self {
        Self { trust, written, algorithms: provider().signature_verification_algorithms }
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let wanted = WantedName { name, written: self.written };
        let issuers = match &self.trust {
            Trust::Pins(pins) => {
                judge_pin(certificate, |pin| pins.contains(pin))?;
                return judge_itself(certificate, Role::Server, None, now);
            }
            Trust::Issuers(issuers) if issuers.holds(certificate) => {
                return judge_itself(certificate, Role::Server, Some(wanted), now);
            }
            Trust::Issuers(issuers) => issuers.issuing(),
        };
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, issuers, intermediates, now, algorithms)?;
        judge_name(&parsed, certificate, wanted, || !is_constrained(issuers, intermediates))
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates, server_name, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Verifies clients.
#[derive(Debug)]
pub(super) struct Clients {
    trust: Trust,
    /// `None`: no certificate may issue others.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    /// `None`: revocation is not asked for.
    lists: Option<Vec<RevocationList>>,
    hints: Vec<DistinguishedName>,
    required: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    /// # Errors
    /// A revocation list cannot be read.
    pub(super) fn new(
        trust: Trust,
        revoked: &[CertificateRevocationListDer<'static>],
        required: bool,
    ) -> Result<Self, VerifierBuilderError> {
        let (mut chain, mut lists, mut hints) = (None, None, Vec::new());
        if let Trust::Issuers(issuers) = &trust {
            if !issuers.issuing().is_empty() {
                let anchors = Arc::new(issuers.issuing().clone());
                let builder = WebPkiClientVerifier::builder_with_provider(anchors, provider());
                let builder = builder.with_crls(revoked.iter().cloned()).enforce_revocation_expiration();
                chain = Some(builder.build()?);
            }
            lists = RevocationList::all_for(issuers, revoked)?;
            hints = issuers.hints();
        }
        let algorithms = provider().signature_verification_algorithms;
        Ok(Self { trust, chain, lists, hints, required, algorithms })
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        match &self.trust {
            Trust::Pins(pins) => {
                judge_pin(certificate, |pin| pins.contains(pin))?;
                judge_itself(certificate, Role::Client, None, now)
            }
            Trust::Issuers(issuers) if issuers.holds(certificate) => {
                judge_itself(certificate, Role::Client, None, now)?;
                self.lists.as_ref().map_or(Ok(()), |lists| judge_revocation(certificate, lists, now))
            }
            Trust::Issuers(_) => match &self.chain {
                Some(chain) => chain.verify_client_cert(certificate, intermediates, now).map(drop),
                None => Err(CertificateError::UnknownIssuer.into()),
            },
        }
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The part of a revocation list about certificates that are trusted as themselves.
#[derive(Debug)]
struct RevocationList {
    issuer: Vec<u8>,
    /// `None`: it does not say, and counts as expired.
    due: Option<i64>,
    serials: HashSet<Vec<u8>>,
}

impl RevocationList {
    /// Returns the lists of the issuers of `issuers` themselves. `None`: revocation is not configured.
    fn all_for(
        issuers: &Issuers,
        revoked: &[CertificateRevocationListDer<'static>],
    ) -> Result<Option<Vec<Self>>, VerifierBuilderError> {
        if revoked.is_empty() {
            return Ok(None);
        }
        let mut names = HashSet::new();
        for (der, _) in issuers.themselves() {
            if let Ok((_, read)) = X509Certificate::from_der(der) {
                names.insert(read.issuer().as_raw().to_vec());
            }
        }
        let mut lists = Vec::new();
        for der in revoked {
            let (_, list) = CertificateRevocationList::from_der(der)
                .map_err(|_| VerifierBuilderError::InvalidCrl(CertRevocationListError::ParseError))?;
            if names.contains(list.issuer().as_raw()) {
                lists.push(Self {
                    issuer: list.issuer().as_raw().to_vec(),
                    due: list.next_update().map(|due| due.timestamp()),
                    serials: list
                        .iter_revoked_certificates()
                        .map(|entry| number(entry.raw_serial()).to_vec())
                        .collect(),
                });
            }
        }
        Ok(Some(lists))
    }
}

/// A certificate that a CA issued needs a list of that CA that has not expired. One that signed itself has no CA, and is
/// revoked by leaving the file.
fn judge_revocation(
    certificate: &CertificateDer<'_>,
    lists: &[RevocationList],
    now: UnixTime,
) -> Result<(), Error> {
    let (_, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let own = lists.iter().filter(|list| list.issuer == read.issuer().as_raw());
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut covered = read.issuer().as_raw() == read.subject().as_raw();
    for list in own {
        if list.serials.contains(number(read.raw_serial())) {
            return Err(CertificateError::Revoked.into());
        }
        if list.due.is_none_or(|due| due < now) {
            return Err(CertificateError::ExpiredRevocationList.into());
        }
        covered = true;
    }
    if covered { Ok(()) } else { Err(CertificateError::UnknownRevocationStatus.into()) }
}

/// A serial number without zeros in front of it.
fn number(raw: &[u8]) -> &[u8] {
    let zeros = raw.iter().take_while(|byte| **byte == 0).count();
    raw.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
