//! The client's side: which upstreams are trusted, and the certificate that the proxy presents.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portcullis_acl::UnixSeconds;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error};

use super::server::Identity;
use super::trust::Trust;
use super::verify::Servers;
use super::{TlsFingerprint, VERSIONS, provider};
use crate::address::Address;

/// TLS to one upstream.
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    identity: bool,
    not_after: Option<UnixSeconds>,
    pinned: bool,
    fingerprint: [u8; 32],
}

impl ClientTls {
    /// `name`: the name that the upstream's certificate must have, as the file says it; absent, each address is its own.
    /// `identity`: shown where the upstream asks for one.
    ///
    /// # Errors
    /// Those of rustls; none that files could cause.
    pub fn new(
        trust: Trust,
        name: Option<ServerName<'static>>,
        identity: Option<&Identity>,
    ) -> Result<Self, Error> {
        let mut fingerprint = TlsFingerprint::default();
        trust.mark(&mut fingerprint);
        fingerprint.part(format!("{name:?}").as_bytes());
        identity.into_iter().for_each(|identity| fingerprint.identity(identity));
        let pinned = matches!(trust, Trust::Pins(_));
        let verifier = Servers::new(trust, name.is_some());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(resolver(identity.key())),
        };
        let not_after = identity.and_then(Identity::not_after);
        let (config, identity) = (Arc::new(config), identity.is_some());
        Ok(Self { config, name, identity, not_after, pinned, fingerprint: fingerprint.finish() })
    }

    /// The name that the certificate of the server at `address` must have; `None`: it has no name, and none was given.
    pub fn name_of(&self, address: &Address) -> Option<ServerName<'static>> {
        let named = self.name.clone().or_else(|| match address {
            Address::Host { host, .. } => {
                ServerName::try_from(host.as_str()).ok().map(|name| name.to_owned())
            }
            Address::Unix(_) => None,
        });
        // A pin asks for no name, but rustls does; it sends no address to the server.
        named.or_else(|| self.pinned.then(|| ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST))))
    }

    /// Whether all servers must have the same name or key in their certificates, whatever their addresses are.
    pub fn fixes_name(&self) -> bool {
        self.name.is_some() || self.pinned
    }

    /// Whether there is a certificate to show.
    pub fn has_identity(&self) -> bool {
        self.identity
    }

    /// The end of the validity of the certificate to show; `None`: there is none.
    pub fn not_after(&self) -> Option<UnixSeconds> {
        self.not_after
    }

    /// The configuration for rustls.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

fn resolver(key: &Arc<CertifiedKey>) -> Arc<dyn ResolvesClientCert> {
    Arc::new(SingleCertAndKey::from(Arc::clone(key)))
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for ClientTls {}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}
