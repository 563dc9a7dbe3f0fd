//! TLS errors of a peer, in terms of what the peer did or has.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error};

use super::FINGERPRINT;
use super::verify::{NotAcceptable, Role};

/// A certificate may name hundreds of hosts, and its maker chose the names.
const NAMES_SHOWN: usize = 3;
const NAME_SHOWN: usize = 64;

/// The openssl command that adds an extension to a certificate.
const ADD: &str = "openssl req -x509 -addext";

/// The reason for a failed handshake or a broken connection. Displays as what the peer did: "it ...".
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// Its first bytes are not TLS.
    #[error("it sent plain text instead of TLS")]
    Plain,
    /// The peer disconnected before it sent anything, as port checks do.
    #[error("it disconnected without sending anything")]
    Absent,
    /// The peer disconnected during the handshake.
    #[error("it disconnected during the TLS handshake")]
    Gone,
    /// The handshake exceeded its timeout.
    #[error("it did not finish the TLS handshake within {0:?}")]
    Timeout(Duration),
    /// Too many other clients are in their handshakes.
    #[error("too many TLS handshakes are unfinished: no slot for this one was free in time")]
    Crowded,
    /// The socket failed.
    #[error("the connection failed during the TLS handshake: {0}")]
    Io(io::Error),
    /// One side does not accept what the other side sent.
    #[error("{}", describe(.0))]
    Protocol(Error),
}

impl From<Error> for TlsFault {
    fn from(error: Error) -> Self {
        Self::Protocol(error)
    }
}

impl TlsFault {
    /// The fault behind an error of a stream, if it was one of TLS.
    pub fn behind(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }

    /// The remedy for the operator where an upstream caused the fault; `key`: the upstream in the config.
    pub fn advice(&self, key: &str, shows_certificate: bool) -> String {
        match self {
            Self::Plain => {
                format!("remove {key}.tls, or set {key}.address to the TLS port (tls-port)")
            }
            Self::Timeout(_) => {
                format!("check that the server responds, and that {key}.address is a TLS port (tls-port)")
            }
            // Places are for the handshakes of clients.
            Self::Absent | Self::Gone | Self::Crowded | Self::Io(_) => {
                format!("check the server's log, and that {key}.address is a TLS port (tls-port)")
            }
            Self::Protocol(Error::InvalidCertificate(fault)) => certificate_advice(fault, key, Role::Server),
            Self::Protocol(Error::AlertReceived(alert)) => alert_advice(*alert, key, shows_certificate),
            Self::Protocol(Error::PeerIncompatible(_)) => {
                "enable TLS 1.2 or 1.3 on the server (Redis: tls-protocols, tls-ciphers)".to_owned()
            }
            Self::Protocol(_) => format!("set {key}.address to a TLS port of Redis"),
        }
    }
}

impl TlsFault {
    /// Whether a certificate has expired.
    pub const fn is_of_expiry(&self) -> bool {
        matches!(
            self,
            Self::Protocol(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. }
            ))
        )
    }

    /// Whether a certificate is for another name.
    pub const fn is_of_name(error: &Error) -> bool {
        matches!(
            error,
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            )
        )
    }

    /// The remedy for the certificate of a peer; `key`: the owner of the `tls` block in the configuration.
    pub fn advice_on_certificate(&self, key: &str, role: Role) -> String {
        match self {
            Self::Protocol(Error::InvalidCertificate(fault)) => certificate_advice(fault, key, role),
            _ => self.advice(key, false),
        }
    }

    /// The remedy where a client of the proxy caused the fault.
    pub fn advice_for_client(&self) -> &'static str {
        match self {
            Self::Plain => "; connect with TLS (rediss://, redis-cli --tls), or to a listener without tls",
            Self::Protocol(Error::NoCertificatesPresented) => {
                "; use a client certificate issued by client_ca, or set client_auth: optional"
            }
            Self::Protocol(Error::InvalidCertificate(fault)) if is_of_ca(fault) => {
                "; add this certificate to the client_ca file, or pin it"
            }
            Self::Protocol(Error::InvalidCertificate(fault)) if not_acceptable(fault).is_some() => {
                "; use another certificate, or compare pin with openssl x509 -in FILE -noout -fingerprint -sha256"
            }
            Self::Protocol(Error::InvalidCertificate(_)) => "; use a valid certificate issued by client_ca",
            Self::Protocol(Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired,
            )) => {
                "; the client rejects the listener's certificate: check which CA the client trusts, and the file of cert"
            }
            Self::Protocol(Error::PeerIncompatible(_)) => "; this listener supports TLS 1.2 and 1.3",
            Self::Crowded => "; set limits.per_source.clients to limit the handshakes of one source",
            _ => "",
        }
    }
}

fn certificate_advice(fault: &CertificateError, key: &str, role: Role) -> String {
    match not_acceptable(fault) {
        Some(NotAcceptable::Pin(_)) => {
            return format!(
                "if {FINGERPRINT} prints the same for the server's certificate, add it to {key}.tls.pin"
            );
        }
        Some(NotAcceptable::KeyUsage) => {
            return format!("reissue it with {ADD} keyUsage=digitalSignature");
        }
        None => {}
    }
    match fault {
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => format!(
            "it has no alternative name: reissue it with {ADD} subjectAltName=DNS:NAME, or set {key}.tls.server_name to its common name"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("set {key}.tls.server_name to a name in the certificate")
        }
        CertificateError::UnknownIssuer => {
            format!("set {key}.tls.ca to the CA that issued it, with all intermediate certificates")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => match role {
            Role::Server => "renew the server's certificate".to_owned(),
            Role::Client => "renew the client's certificate".to_owned(),
        },
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "check the clock of this machine and of the issuer".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            let purpose = match role {
                Role::Server => "serverAuth",
                Role::Client => "clientAuth",
            };
            format!("reissue it with {ADD} extendedKeyUsage={purpose}")
        }
        fault if is_of_ca(fault) => {
            format!("set {key}.tls.ca to this certificate, or set {key}.tls.pin ({FINGERPRINT})")
        }
        fault if is_of_version_1(fault) => {
            "reissue it with openssl req -x509, which creates version 3".to_owned()
        }
        _ => "install another certificate on the server".to_owned(),
    }
}

/// webpki's own faults have no other name here.
fn is_of_ca(fault: &CertificateError) -> bool {
    matches!(fault, CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity"))
}

fn is_of_version_1(fault: &CertificateError) -> bool {
    matches!(fault, CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion"))
}

fn not_acceptable(fault: &CertificateError) -> Option<&NotAcceptable> {
    match fault {
        CertificateError::Other(other) => other.0.downcast_ref(),
        _ => None,
    }
}

fn alert_advice(alert: AlertDescription, key: &str, shows_certificate: bool) -> String {
    match alert {
        AlertDescription::ProtocolVersion => {
            "enable TLS 1.2 or 1.3 on the server (Redis: tls-protocols)".to_owned()
        }
        AlertDescription::UnrecognisedName => {
            format!("set {key}.tls.server_name to a name that the server knows")
        }
        _ if shows_certificate => {
            format!("check the server's log: it may reject the certificate in {key}.tls.cert")
        }
        _ => format!("if the server requires a client certificate, set {key}.tls.cert and {key}.tls.key"),
    }
}

fn describe(error: &Error) -> String {
    match error {
        Error::NoCertificatesPresented => "it sent no certificate".to_owned(),
        Error::InvalidCertificate(fault) => describe_certificate(fault),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it requires a client certificate".to_owned()
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "it does not support TLS 1.2 or 1.3".to_owned()
        }
        Error::AlertReceived(alert) => format!("it sent the TLS alert {}", alert_name(*alert)),
        Error::PeerIncompatible(_) => {
            "it supports no TLS version, cipher suite or key type that this proxy supports".to_owned()
        }
        Error::InvalidMessage(_) => "it sent data that is not TLS".to_owned(),
        Error::DecryptError => "it sent data that cannot be decrypted".to_owned(),
        Error::PeerMisbehaved(how) => format!("it violated the TLS protocol ({how:?})"),
        other => format!("TLS failed: {other}"),
    }
}

fn describe_certificate(fault: &CertificateError) -> String {
    if let Some(why) = not_acceptable(fault) {
        return why.to_string();
    }
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".to_owned()
        }
        CertificateError::Revoked => "its certificate is revoked".to_owned(),
        CertificateError::UnknownIssuer => "its certificate is from an unknown issuer".to_owned(),
        CertificateError::UnknownRevocationStatus => {
            "there is no revocation list for the issuer of its certificate".to_owned()
        }
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "the revocation list for its certificate has expired".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is for another purpose (extended key usage)".to_owned()
        }
        CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let mut text = format!("its certificate is not for {}", expected.to_str());
            for (index, name) in presented.iter().take(NAMES_SHOWN).enumerate() {
                let before = if index == 0 { " but for" } else { "," };
                // Writing to a string cannot fail.
                let _ = write!(text, "{before} {}", shown(name));
            }
            text
        }
        fault if is_of_ca(fault) => {
            "its certificate is a CA certificate (CA:TRUE) and is not itself trusted".to_owned()
        }
        fault if is_of_version_1(fault) => "its certificate has X.509 version 1".to_owned(),
        other => format!("its certificate is not acceptable: {other}"),
    }
}

/// rustls writes them as `DnsName("a.example")`.
fn shown(name: &str) -> String {
    let name = name.split_once('"').and_then(|(_, rest)| rest.split_once('"')).map_or(name, |(name, _)| name);
    name.chars().filter(|c| !c.is_control()).take(NAME_SHOWN).collect()
}

/// The name in the spelling of the TLS documents: `unknown_ca`.
fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    let mut before_is_small = false;
    for c in format!("{alert:?}").chars() {
        if c.is_ascii_uppercase() && before_is_small {
            name.push('_');
        }
        before_is_small = c.is_ascii_lowercase();
        name.push(c.to_ascii_lowercase());
    }
    name
}
