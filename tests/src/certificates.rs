//! Certificates that a test makes, and TLS clients that trust or present them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;

/// A CA of one test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// The content of a certificate that is not issued yet.
pub struct Leaf {
    params: CertificateParams,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("a CA");
        Self { issuer }
    }

    /// Returns the CA's own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn issue(&self, leaf: Leaf) -> Pair {
        let key = key();
        let cert = leaf.params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// Issues a server certificate for `localhost` and 127.0.0.1.
    pub fn server(&self) -> Pair {
        self.issue(Leaf::server(&["localhost"]))
    }

    /// Returns a revocation list for the certificates with these serial numbers ([`Leaf::serial`]). It is valid until
    /// the first day of the given year.
    pub fn revocation_list(&self, serials: &[u64], until: i32) -> String {
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
        list.signed_by(&self.issuer).and_then(|list| list.pem()).expect("a revocation list")
    }

    /// Returns a client that trusts this CA.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_with(None, rustls::ALL_VERSIONS)
    }

    /// Returns a client that trusts this CA and presents a certificate.
    pub fn client_as(&self, own: &Pair) -> Arc<ClientConfig> {
        self.client_with(Some(own), rustls::ALL_VERSIONS)
    }

    pub fn client_with(
        &self,
        own: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a CA");
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM")];
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("a certificate and its key")
            }
        })
    }
}

impl Leaf {
    pub fn server(names: &[&str]) -> Self {
        let mut leaf = Self::new(names, ExtendedKeyUsagePurpose::ServerAuth);
        leaf.params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        leaf
    }

    /// Returns a certificate that servers also present to each other, as the nodes of a cluster do.
    pub fn peer(names: &[&str]) -> Self {
        let mut leaf = Self::server(names);
        leaf.params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        leaf
    }

    pub fn client(name: &str) -> Self {
        let mut leaf = Self::new(&[], ExtendedKeyUsagePurpose::ClientAuth);
        leaf.params.distinguished_name.push(DnType::CommonName, name);
        leaf
    }

    fn new(names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        Self { params }
    }

    pub fn expired(mut self) -> Self {
        self.params.not_before = date_time_ymd(2019, 1, 1);
        self.params.not_after = date_time_ymd(2020, 1, 1);
        self
    }

    pub fn not_yet(mut self) -> Self {
        self.params.not_before = date_time_ymd(2098, 1, 1);
        self.params.not_after = date_time_ymd(2099, 1, 1);
        self
    }

    /// Issues a certificate that is signed with its own key, with CA:TRUE, like [`Openssl::make`].
    pub fn alone(mut self) -> Pair {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = key();
        let cert = self.params.self_signed(&key).expect("a certificate");
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }

    pub fn serial(mut self, serial: u64) -> Self {
        self.params.serial_number = Some(SerialNumber::from(serial));
        self
    }
}

impl Pair {
    /// Returns the fingerprint as openssl prints it, in the form of a pin: `sha256:AB:CD:...`.
    pub fn fingerprint(&self) -> String {
        let directory = tempfile::tempdir().expect("a scratch directory");
        std::fs::write(directory.path().join("cert.pem"), &self.cert).expect("writable");
        let arguments = ["x509", "-in", "cert.pem", "-noout", "-fingerprint", "-sha256"];
        let printed = openssl(directory.path(), &arguments);
        let (_, digits) = printed.trim().split_once('=').expect("a fingerprint");
        format!("sha256:{digits}")
    }
}

/// Makes certificates with the openssl command.
pub struct Openssl {
    directory: TempDir,
}

impl Openssl {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a scratch directory") }
    }

    /// Returns a self-signed certificate. The system's openssl configuration adds CA:TRUE.
    pub fn make(&self, arguments: &[&str]) -> Pair {
        self.request(&[&KEY[..], arguments].concat())
    }

    /// Returns another certificate with the key of `of`.
    pub fn again(&self, of: &Pair, arguments: &[&str]) -> Pair {
        self.write("old.key", &of.key);
        let made = self.request(&[&["-key", "old.key"], arguments].concat());
        Pair { cert: made.cert, key: of.key.clone() }
    }

    /// Returns a certificate without CA:TRUE, signed by `issuer`.
    pub fn sign(&self, issuer: &Pair, arguments: &[&str]) -> Pair {
        self.write("issuer.pem", &issuer.cert);
        self.write("issuer.key", &issuer.key);
        self.write("empty.cnf", "[req]\ndistinguished_name = name\n[name]\n");
        let signed = ["-CA", "issuer.pem", "-CAkey", "issuer.key", "-config", "empty.cnf"];
        let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
        self.request(&[&KEY[..], &signed, &leaf, arguments].concat())
    }

    fn request(&self, arguments: &[&str]) -> Pair {
        let all = [&["req", "-x509", "-nodes", "-days", "2", "-out", "new.pem"], arguments].concat();
        openssl(self.directory.path(), &all);
        let read = |name: &str| std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        Pair { cert: read("new.pem"), key: read("new.key") }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).expect("writable");
    }
}

impl Default for Openssl {
    fn default() -> Self {
        Self::new()
    }
}

const KEY: [&str; 6] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", "new.key"];

fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output();
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
