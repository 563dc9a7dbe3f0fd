use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, Error};

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
        "let upstreams.main.tls.ca name the CA that issued it, intermediate ones included"
    );
    let alert = |alert| Error::AlertReceived(alert);
    assert_eq!(
        TlsFault::from(alert(AlertDescription::BadCertificate)).to_string(),
        "it ends TLS with the alert bad_certificate"
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
