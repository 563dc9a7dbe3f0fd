use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType, date_time_ymd};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, ServerConfig,
    ServerConnection, SignatureScheme, SupportedProtocolVersion,
};

use super::certificate::peer_name;
use super::*;

fn certificate(
    names: &[&str],
    adapt: impl FnOnce(&mut CertificateParams),
) -> (CertificateDer<'static>, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    adapt(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().der().clone(), key)
}

#[test]
fn what_a_certificate_says() {
    let (der, _) = certificate(&["A.example", "*.b.example"], |params| {
        params.distinguished_name.push(DnType::CommonName, "not this one");
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 12, 31);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let facts = Facts::of(&der).unwrap();
    assert_eq!(facts.names, ["a.example", "*.b.example"]);
    assert_eq!((facts.not_before.0, facts.not_after.0), (1_767_225_600, 1_798_675_200));
    assert!(facts.for_servers && !facts.for_clients);
    let (der, _) =
        certificate(&[], |params| params.distinguished_name.push(DnType::CommonName, "Old.example"));
    let facts = Facts::of(&der).unwrap();
    assert_eq!(facts.names, ["old.example"]);
    assert!(facts.for_servers && facts.for_clients);
    assert_eq!(Facts::of(&CertificateDer::from(b"no certificate".to_vec())), None);
}

#[test]
fn what_a_client_is_called() {
    let (der, _) = certificate(&[], |params| {
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, "alice");
        params.subject_alt_names = vec![
            SanType::URI("spiffe://example/alice".try_into().unwrap()),
            SanType::Rfc822Name("alice@example.com".try_into().unwrap()),
        ];
    });
    assert_eq!(peer_name(&der, NameFrom::CommonName).as_deref(), Some("alice"));
    assert_eq!(peer_name(&der, NameFrom::AlternativeName).as_deref(), Some("alice@example.com"));
    let (der, _) = certificate(&["alice.example"], |_| {});
    assert_eq!(peer_name(&der, NameFrom::CommonName), None);
    assert_eq!(peer_name(&der, NameFrom::AlternativeName).as_deref(), Some("alice.example"));
}

#[test]
fn a_key_belongs_to_its_certificate() {
    let (der, key) = certificate(&["a.example"], |_| {});
    let other = KeyPair::generate().unwrap();
    let private = |key: &KeyPair| PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let identity = Identity::new(vec![der.clone()], private(&key)).unwrap();
    assert_eq!(identity.names(), ["a.example"]);
    assert!(matches!(Identity::new(vec![der], private(&other)), Err(Error::InconsistentKeys(_))));
}

/// A reload tells by this whether a listener changed.
#[test]
fn what_is_made_of_the_same_is_the_same() {
    let make = |(der, key): &(CertificateDer<'static>, KeyPair)| {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        ServerTls::new(vec![Identity::new(vec![der.clone()], key).unwrap()], None).unwrap()
    };
    let (one, other) = (certificate(&["a.example"], |_| {}), certificate(&["a.example"], |_| {}));
    assert_eq!(make(&one), make(&one));
    assert_ne!(make(&one), make(&other));
}

#[test]
fn faults_say_what_to_do() {
    let advice = |error: Error, shows| TlsFault::from(error).advice("upstreams.main", shows);
    let issuer = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(
        advice(issuer, false),
        "set upstreams.main.tls.ca to the CA that issued it, with all intermediate certificates"
    );
    let alert = |alert| Error::AlertReceived(alert);
    assert_eq!(
        TlsFault::from(alert(AlertDescription::BadCertificate)).to_string(),
        "it sent the TLS alert bad_certificate"
    );
    assert!(advice(alert(AlertDescription::HandshakeFailure), false).contains("tls.cert"));
    assert!(advice(alert(AlertDescription::HandshakeFailure), true).contains("the server's log"));
    let name = CertificateError::NotValidForNameContext {
        expected: "redis.internal".try_into().unwrap(),
        presented: ["a", "b\u{7}", "c", "d"].map(|name| format!("DnsName({name:?})")).into(),
    };
    assert_eq!(
        TlsFault::from(Error::InvalidCertificate(name)).to_string(),
        "its certificate is not for redis.internal but for a, b\\u{7}, c"
    );
}

/// Shows one certificate, whatever key is behind it.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl Shows {
    fn new(certificate: &CertificateDer<'static>, key: &KeyPair) -> Arc<Self> {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = provider().key_provider.load_private_key(key).unwrap();
        Arc::new(Self(Arc::new(CertifiedKey::new(vec![certificate.clone()], key))))
    }
}

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The fault of the side that finds one first.
fn meet(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<(), Error> {
    let mut client = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    for _ in 0..10 {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        let mut rest = &*flight;
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        let mut rest = &*flight;
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

/// Certificates are public: a peer proves that it has the key, however the certificate is trusted.
#[test]
fn possession_of_the_key_is_always_proven() {
    let (der, key) = certificate(&["localhost"], |_| {});
    let other = KeyPair::generate().unwrap();
    let bad_signature = Err(Error::InvalidCertificate(CertificateError::BadSignature));
    let trusts = [
        Trust::Pins([Pin::of(&der)].into()),
        Trust::Issuers(Issuers::of(std::slice::from_ref(&der)).unwrap()),
    ];
    let versions: [&'static SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];
    for (trust, version) in trusts.iter().flat_map(|trust| versions.map(|version| (trust, version))) {
        let upstream = |key: &KeyPair| {
            let ours = ClientTls::new(trust.clone(), None, None).unwrap();
            let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version]);
            let theirs = builder.unwrap().with_no_client_auth().with_cert_resolver(Shows::new(&der, key));
            meet(Arc::clone(ours.config()), Arc::new(theirs))
        };
        assert_eq!(upstream(&key), Ok(()));
        assert_eq!(upstream(&other), bad_signature);
        let client = |key: &KeyPair| {
            let own = PrivateKeyDer::try_from(other.serialize_der()).unwrap();
            let shown = certificate_of(&other);
            let identity = Identity::new(vec![shown.clone()], own).unwrap();
            let clients =
                Clients { trust: trust.clone(), revoked: Vec::new(), required: true, name_from: None };
            let ours = ServerTls::new(vec![identity], Some(clients)).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(shown).unwrap();
            let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]);
            let theirs = builder
                .unwrap()
                .with_root_certificates(roots)
                .with_client_cert_resolver(Shows::new(&der, key));
            meet(Arc::new(theirs), Arc::clone(ours.config()))
        };
        assert_eq!(client(&key), Ok(()));
        assert_eq!(client(&other), bad_signature);
    }
}

fn certificate_of(key: &KeyPair) -> CertificateDer<'static> {
    CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(key).unwrap().der().clone()
}

/// A reload makes new connections by new pins.
#[test]
fn what_trusts_others_is_another() {
    let (one, other) = (certificate(&["a"], |_| {}).0, certificate(&["a"], |_| {}).0);
    let make = |trust: Trust| ClientTls::new(trust, None, None).unwrap();
    let ca = |der: &CertificateDer<'static>| Trust::Issuers(Issuers::of(std::slice::from_ref(der)).unwrap());
    let pin = |ders: &[&CertificateDer<'static>]| Trust::Pins(ders.iter().map(|der| Pin::of(der)).collect());
    assert_eq!(make(pin(&[&one, &other])), make(pin(&[&other, &one])));
    assert_ne!(make(pin(&[&one])), make(pin(&[&other])));
    assert_ne!(make(pin(&[&one])), make(pin(&[&one, &other])));
    assert_ne!(make(ca(&one)), make(ca(&other)));
    assert_ne!(make(ca(&one)), make(pin(&[&one])));
}
