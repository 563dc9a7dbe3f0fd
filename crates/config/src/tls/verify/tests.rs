use std::slice;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CustomExtension,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    NameConstraints, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;
use crate::tls::Signing;
use crate::tls::certificate::signing;

/// 2026-11-25.
const NOW: u64 = 1_795_564_800;
/// The default dates of [`params`]: 2020-01-01 and 2099-01-01.
const FIRST: u64 = 1_577_836_800;
const LAST: u64 = 4_070_908_800;

type Der = CertificateDer<'static>;

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn params(
    common_name: &str,
    names: &[&str],
    adapt: impl FnOnce(&mut CertificateParams),
) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    adapt(&mut params);
    params
}

/// A certificate as `openssl req -x509` makes it: CA:TRUE, and no key usage.
fn openssl(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn leaf(_: &mut CertificateParams) {}

/// A certificate that signed itself, with which others can be signed.
struct Own(CertifiedIssuer<'static, KeyPair>);

impl Own {
    fn new(common_name: &str, names: &[&str], adapt: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params(common_name, names, adapt), key).unwrap())
    }

    fn der(&self) -> Der {
        self.0.der().clone()
    }

    fn signs(&self, common_name: &str, names: &[&str], adapt: impl FnOnce(&mut CertificateParams)) -> Der {
        let params = params(common_name, names, adapt);
        params.signed_by(&KeyPair::generate().unwrap(), &self.0).unwrap().der().clone()
    }

    fn revokes(&self, serials: &[u64], until: i32) -> CertificateRevocationListDer<'static> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().der().clone()
    }
}

fn ca(certificates: &[&Der]) -> Trust {
    let certificates: Vec<Der> = certificates.iter().map(|der| (*der).clone()).collect();
    Trust::Issuers(Issuers::of(&certificates).unwrap())
}

fn pins(certificates: &[&Der]) -> Trust {
    Trust::Pins(certificates.iter().map(|der| Pin::of(der)).collect())
}

fn name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

fn server(trust: Trust, certificate: &Der) -> Result<(), Error> {
    Servers::new(trust, false).judge(certificate, &[], &name("redis.internal"), at(NOW))
}

/// With `server_name: redis.internal` in the file.
fn named_server(trust: Trust, certificate: &Der) -> Result<(), Error> {
    Servers::new(trust, true).judge(certificate, &[], &name("redis.internal"), at(NOW))
}

fn client(trust: Trust, certificate: &Der) -> Result<(), Error> {
    Clients::new(trust, &[], true).unwrap().judge(certificate, &[], at(NOW))
}

#[track_caller]
fn refuses(judged: Result<(), Error>, why: &str) {
    let fault = crate::tls::TlsFault::from(judged.expect_err(why)).to_string();
    assert!(fault.contains(why), "{fault}");
}

#[test]
fn a_certificate_is_trusted_as_itself() {
    for adapt in [openssl, leaf] {
        let own = Own::new("redis", &["redis.internal"], adapt);
        for trust in [ca(&[&own.der()]), pins(&[&own.der()])] {
            assert_eq!(server(trust.clone(), &own.der()), Ok(()));
            assert_eq!(client(trust, &own.der()), Ok(()));
        }
        let elsewhere = Own::new("redis", &["elsewhere"], adapt);
        refuses(
            server(ca(&[&elsewhere.der()]), &elsewhere.der()),
            "is not for redis.internal but for elsewhere",
        );
        assert_eq!(server(pins(&[&elsewhere.der()]), &elsewhere.der()), Ok(()), "a pin asks for no name");
    }
}

/// rustls takes every certificate of a file of CAs for an issuer, whatever it says.
#[test]
fn it_signs_nothing() {
    type Adapt = fn(&mut CertificateParams);
    let not_to_sign: Adapt = |params| {
        openssl(params);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    };
    for adapt in [openssl as Adapt, leaf, |params| params.is_ca = IsCa::ExplicitNoCa, not_to_sign] {
        let own = Own::new("redis", &["redis.internal"], adapt);
        let signed = own.signs("redis", &["redis.internal"], leaf);
        let trust = ca(&[&own.der()]);
        refuses(server(trust.clone(), &signed), "from an unknown issuer");
        refuses(client(trust.clone(), &signed), "from an unknown issuer");
        // Sent along, it is no issuer either.
        let judged =
            Servers::new(trust, false).judge(&signed, &[own.der()], &name("redis.internal"), at(NOW));
        assert!(judged.is_err());
        refuses(server(pins(&[&own.der()]), &signed), "matches no pin: its fingerprint is sha256:");
        refuses(client(pins(&[&own.der()]), &signed), "matches no pin");
    }
}

/// A CA of everyday use is made by the same command.
#[test]
fn a_ca_signs_as_ever() {
    type Adapt = fn(&mut CertificateParams);
    let declared: Adapt = |params| {
        openssl(params);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    };
    for adapt in [openssl as Adapt, declared] {
        let own = Own::new("Example CA", &[], adapt);
        let trust = ca(&[&own.der(), &Own::new("other", &["other"], leaf).der()]);
        assert_eq!(server(trust.clone(), &own.signs("x", &["redis.internal"], leaf)), Ok(()));
        assert_eq!(client(trust.clone(), &own.signs("x", &[], leaf)), Ok(()));
        refuses(server(trust.clone(), &own.signs("x", &["redis.internal"], openssl)), "CA:TRUE");
        assert!(server(trust, &Own::new("Example CA", &["redis.internal"], leaf).der()).is_err());
    }
}

#[test]
fn the_same_key_in_another_certificate_is_another() {
    let key = KeyPair::generate().unwrap();
    let make = |serial: u64| {
        let params = params("redis", &["redis.internal"], |params| {
            openssl(params);
            params.serial_number = Some(SerialNumber::from(serial));
        });
        params.self_signed(&key).unwrap().der().clone()
    };
    let (one, other) = (make(1), make(2));
    for trust in [ca(&[&one]), pins(&[&one])] {
        assert_eq!(server(trust.clone(), &one), Ok(()));
        assert!(server(trust.clone(), &other).is_err() && client(trust, &other).is_err());
    }
    let both = pins(&[&one, &other]);
    assert!(server(both.clone(), &one).is_ok() && server(both, &other).is_ok(), "rotation");
}

#[test]
fn dates_always_count() {
    let own = Own::new("redis", &["redis.internal"], openssl);
    let rows = [
        (FIRST - 1, "is not valid yet"),
        (FIRST, ""),
        (LAST, ""),
        (LAST + 1, "has expired"),
        (u64::MAX, "has expired"),
    ];
    for trust in [ca(&[&own.der()]), pins(&[&own.der()])] {
        for (now, why) in rows {
            let servers = Servers::new(trust.clone(), false);
            let clients = Clients::new(trust.clone(), &[], true).unwrap();
            let as_server = servers.judge(&own.der(), &[], &name("redis.internal"), at(now));
            for judged in [as_server, clients.judge(&own.der(), &[], at(now))] {
                if why.is_empty() { assert_eq!(judged, Ok(())) } else { refuses(judged, why) }
            }
        }
    }
}

#[test]
fn usages_always_count() {
    let with = |usages: &[KeyUsagePurpose], purposes: &[ExtendedKeyUsagePurpose]| {
        Own::new("redis", &["redis.internal"], |params| {
            openssl(params);
            params.key_usages = usages.to_vec();
            params.extended_key_usages = purposes.to_vec();
        })
        .der()
    };
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    use KeyUsagePurpose::{DigitalSignature, KeyCertSign, KeyEncipherment};
    let signing = "does not allow signatures (key usage without digitalSignature)";
    let purpose = "for another purpose (extended key usage)";
    let rows = [
        (with(&[DigitalSignature, KeyCertSign], &[]), "", ""),
        (with(&[KeyCertSign], &[]), signing, signing),
        (with(&[KeyEncipherment], &[ServerAuth]), signing, signing),
        (with(&[], &[ServerAuth]), "", purpose),
        (with(&[], &[ClientAuth]), purpose, ""),
        (with(&[], &[ServerAuth, ClientAuth]), "", ""),
        (with(&[], &[Any]), purpose, purpose),
    ];
    for (der, as_server, as_client) in rows {
        for trust in [ca(&[&der]), pins(&[&der])] {
            for (judged, why) in
                [(server(trust.clone(), &der), as_server), (client(trust.clone(), &der), as_client)]
            {
                if why.is_empty() { assert_eq!(judged, Ok(())) } else { refuses(judged, why) }
            }
        }
    }
}

/// Faults that webpki must find are found here too.
#[test]
fn critical_extensions_always_count() {
    let own = Own::new("redis", &["redis.internal"], |params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    });
    assert!(server(pins(&[&own.der()]), &own.der()).is_err());
}

#[test]
fn when_the_common_name_counts() {
    let by_ca = Own::new("Example CA", &[], openssl);
    let rows: [(&str, &[&str], bool); 6] = [
        ("redis.internal", &[], true),
        ("REDIS.internal", &[], true),
        ("*.internal", &[], true),
        ("other.internal", &[], false),
        ("redis.internal", &["other.internal"], false),
        ("internal", &[], false),
    ];
    for (common_name, names, counts) in rows {
        let own = Own::new(common_name, names, openssl).der();
        let issued = by_ca.signs(common_name, names, leaf);
        for (trust, der) in [(ca(&[&own]), &own), (ca(&[&by_ca.der()]), &issued)] {
            assert_eq!(named_server(trust.clone(), der).is_ok(), counts, "{common_name} {names:?}");
            refuses(server(trust, der), "is not for redis.internal");
        }
    }
    let two = Own::new("redis.internal", &[], |params| {
        params.distinguished_name.push(DnType::OrganizationName, "x");
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "evil.example");
    });
    refuses(named_server(ca(&[&two.der()]), &two.der()), "is not for redis.internal");
    let by_address = Own::new("10.0.0.5", &[], openssl).der();
    let judge = |name: &str| {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Servers::new(ca(&[&by_address]), true).judge(&by_address, &[], &name, at(NOW))
    };
    assert!(judge("10.0.0.5").is_ok() && judge("10.0.0.6").is_err());
}

/// A CA that may issue for some names only has no say over common names.
#[test]
fn no_common_name_where_names_are_constrained() {
    let constrained = |params: &mut CertificateParams| {
        openssl(params);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let permitted_subtrees = vec![GeneralSubtree::DnsName("branch.example".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    };
    let root = Own::new("Example CA", &[], openssl);
    let key = KeyPair::generate().unwrap();
    let branch = CertifiedIssuer::signed_by(params("Branch CA", &[], constrained), key, &root.0).unwrap();
    let leaf = params("redis.internal", &[], leaf);
    let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &branch).unwrap().der().clone();
    let judge = |trust: Der, along: &[Der]| {
        Servers::new(ca(&[&trust]), true).judge(&leaf, along, &name("redis.internal"), at(NOW))
    };
    let branch = branch.der().clone();
    refuses(judge(root.der(), slice::from_ref(&branch)), "is not for redis.internal");
    refuses(judge(branch, &[]), "is not for redis.internal");
}

#[test]
fn lists_revoke_what_is_trusted_as_itself() {
    let by_ca = Own::new("Example CA", &[], |params| {
        openssl(params);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    });
    let issued =
        |serial: u64| by_ca.signs("x", &[], |params| params.serial_number = Some(SerialNumber::from(serial)));
    let (good, bad, own) = (issued(1), issued(200), Own::new("own", &["own"], openssl));
    let other = Own::new("Other CA", &[], |params| {
        openssl(params);
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    let own_der = own.der();
    let all = [&good, &bad, &own_der];
    let judge = |lists: &[CertificateRevocationListDer<'static>], der: &Der| {
        Clients::new(ca(&all), lists, true).unwrap().judge(der, &[], at(NOW))
    };
    assert_eq!(judge(&[], &bad), Ok(()), "no list is asked for");
    let list = by_ca.revokes(&[200], 2099);
    assert_eq!(judge(slice::from_ref(&list), &good), Ok(()));
    refuses(judge(slice::from_ref(&list), &bad), "is revoked");
    assert_eq!(judge(slice::from_ref(&list), &own.der()), Ok(()), "it has no CA");
    refuses(judge(&[by_ca.revokes(&[], 2021)], &good), "has expired");
    refuses(judge(&[other.revokes(&[], 2099)], &good), "no revocation list");
}

#[test]
fn which_certificates_may_issue_others() {
    let with = |names: &[&str], usages: &[KeyUsagePurpose], purposes: &[ExtendedKeyUsagePurpose]| {
        let own = Own::new("x", names, |params| {
            openssl(params);
            params.key_usages = usages.to_vec();
            params.extended_key_usages = purposes.to_vec();
        });
        signing(&own.der())
    };
    use KeyUsagePurpose::{DigitalSignature, KeyCertSign};
    assert_eq!(with(&[], &[], &[]), Signing::Unclear);
    assert_eq!(with(&[], &[KeyCertSign], &[]), Signing::Declared);
    assert_eq!(with(&["kubernetes"], &[KeyCertSign], &[]), Signing::Declared);
    assert_eq!(with(&["redis"], &[], &[]), Signing::Never);
    assert_eq!(with(&[], &[], &[ExtendedKeyUsagePurpose::ServerAuth]), Signing::Never);
    assert_eq!(with(&[], &[DigitalSignature], &[]), Signing::Never);
    assert_eq!(signing(&Own::new("x", &[], leaf).der()), Signing::Never);
    assert_eq!(
        signing(&Own::new("x", &[], |params| params.is_ca = IsCa::ExplicitNoCa).der()),
        Signing::Never
    );
    assert_eq!(signing(&CertificateDer::from(vec![0x30, 0])), Signing::Never);
}

/// Every client's own certificate may stand in the file: their names are not to break the handshake.
#[test]
fn names_are_sent_while_there_are_few() {
    let file = |count: usize| {
        let own = |index: usize| Own::new(&format!("{index:0>60}"), &["x"], leaf).der();
        let all: Vec<Der> = (0..count).map(own).collect();
        Clients::new(ca(&all.iter().collect::<Vec<_>>()), &[], true).unwrap().root_hint_subjects().len()
    };
    assert_eq!((file(3), file(300)), (3, 0));
}
