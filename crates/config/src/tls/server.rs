//! The server's side: the certificates that the proxy presents, and which clients are trusted.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use portcullis_acl::UnixSeconds;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, ServerConfig, SignatureScheme};

use super::certificate::{Facts, NameFrom, peer_name};
use super::pin::Pin;
use super::trust::Trust;
use super::{TlsFingerprint, VERSIONS, provider, verify};

/// So many clients of a listener can come back with a shorter handshake; at some 300 bytes each this is a megabyte.
const RESUMABLE: usize = 4096;

/// One is enough for a client that comes back; each is a record more in every handshake.
const TICKETS: usize = 1;

/// TLS for the clients of one listener.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    name_from: Option<NameFrom>,
    /// The fingerprints of its own certificates.
    pins: BTreeSet<Pin>,
    not_after: Option<UnixSeconds>,
    fingerprint: [u8; 32],
}

/// A certificate with its chain and its key, and the names it is for.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    not_after: Option<UnixSeconds>,
}

/// The client certificates that are trusted.
pub struct Clients {
    /// The certificates or pins that make them trusted.
    pub trust: Trust,
    /// Which of them no longer count. With any, each certificate of a chain must be covered by a list that has not expired.
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
    /// A client without a certificate is refused.
    pub required: bool,
    /// The part of a certificate that names the client's user; `None`: no part does.
    pub name_from: Option<NameFrom>,
}

impl ServerTls {
    /// The first identity is for clients that name no host, or one that no identity has. Without any, every handshake
    /// fails: for a config that was read without its keys.
    ///
    /// # Errors
    /// A revocation list cannot be read.
    pub fn new(identities: Vec<Identity>, clients: Option<Clients>) -> Result<Self, VerifierBuilderError> {
        let fingerprint = fingerprint(&identities, clients.as_ref());
        let pins = identities.iter().filter_map(|identity| identity.key.cert.first()).map(Pin::of).collect();
        let not_after = identities.iter().filter_map(Identity::not_after).min();
        let provider = provider();
        let verifier = match &clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(clients) => {
                let trust = clients.trust.clone();
                Arc::new(verify::Clients::new(trust, &clients.revoked, clients.required)?)
            }
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(VERSIONS)
            .map_err(|_| VerifierBuilderError::NoRootAnchors)?;
        let mut config =
            builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(ByName(identities)));
        if clients.is_some() {
            // A session that is resumed shows no certificate: one that has expired since would still count.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.session_storage = ServerSessionMemoryCache::new(RESUMABLE);
            config.send_tls13_tickets = TICKETS;
        }
        let name_from = clients.and_then(|clients| clients.name_from);
        Ok(Self { config: Arc::new(config), name_from, pins, not_after, fingerprint })
    }

    /// The name in the certificate of a client, if the client showed one: `chain` begins with its own.
    pub fn peer_name(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<String> {
        let from = self.name_from.unwrap_or(NameFrom::CommonName);
        chain?.first().and_then(|own| peer_name(own, from))
    }

    /// The fingerprints of the certificates that it presents, for a client that must meet one of them.
    pub fn pins(&self) -> &BTreeSet<Pin> {
        &self.pins
    }

    /// Whether certificates say which user a client is.
    pub fn names_users(&self) -> bool {
        self.name_from.is_some()
    }

    /// The end of the validity of the certificate that expires first; `None`: there is no certificate.
    pub fn not_after(&self) -> Option<UnixSeconds> {
        self.not_after
    }

    /// The configuration for rustls.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

fn fingerprint(identities: &[Identity], clients: Option<&Clients>) -> [u8; 32] {
    let mut fingerprint = TlsFingerprint::default();
    identities.iter().for_each(|identity| fingerprint.identity(identity));
    if let Some(clients) = clients {
        clients.trust.mark(&mut fingerprint);
        clients.revoked.iter().for_each(|list| fingerprint.part(list));
        fingerprint.part(format!("{} {:?}", clients.required, clients.name_from).as_bytes());
    }
    fingerprint.finish()
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for ServerTls {}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl Identity {
    /// Joins a chain, the certificate itself first, and its key.
    ///
    /// # Errors
    /// The key cannot be used, or it is not the certificate's ([`Error::InconsistentKeys`]).
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, Error> {
        let facts = chain.first().and_then(Facts::of);
        let not_after = facts.as_ref().map(|facts| facts.not_after);
        let names = facts.map(|facts| facts.names).unwrap_or_default();
        let key = Arc::new(CertifiedKey::from_der(chain, key, &provider())?);
        Ok(Self { key, names, not_after })
    }

    /// The end of the validity of its own certificate; `None`: the certificate cannot be read.
    pub fn not_after(&self) -> Option<UnixSeconds> {
        self.not_after
    }

    /// The names it is for, in small letters.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    fn serves(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            // A wildcard stands for one label (RFC 6125, 6.4.3).
            Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest == domain),
            None => name == host,
        })
    }

    fn suits(&self, schemes: &[SignatureScheme]) -> bool {
        self.key.key.choose_scheme(schemes).is_some()
    }
}

/// Chooses by the name that the client asks for, among those whose kind of key the client knows.
struct ByName(Vec<Identity>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let named = hello.server_name().map(str::to_ascii_lowercase).and_then(|host| {
            let mut own = self.0.iter().filter(|identity| identity.serves(&host));
            own.find(|identity| identity.suits(schemes))
        });
        let chosen = named.or_else(|| self.0.iter().find(|identity| identity.suits(schemes)));
        chosen.or_else(|| self.0.first()).map(|identity| Arc::clone(&identity.key))
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").field("identities", &self.0.len()).finish()
    }
}
