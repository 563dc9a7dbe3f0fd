//! PEM files: certificates, keys and revocation lists.

use std::path::{Path, PathBuf};

use portcullis_acl::UnixSeconds;
use rustls::Error;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer};
use zeroize::Zeroizing;

use crate::message::{Masked, Message, message};
use crate::raw::Node;
use crate::scope::Scope;
use crate::tls::{Facts, Identity, Issuers};
use crate::value;

/// All CAs of a system have some 300 KiB. A revocation list of a busy CA may have more than that.
const MAX_FILE: u64 = 16 << 20;

/// Something that may be absent, and bad where it is not.
pub(super) enum Found<T> {
    Absent,
    Bad,
    Good(T),
}

/// The use of a certificate of the proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Server,
    Client,
}

/// A certificate with its chain, and its key. Without secrets the key is not read: `Some(None)`.
pub(super) fn identity(cert: &Node, key: &Node, r#use: Use, scope: &mut Scope) -> Option<Option<Identity>> {
    let chain = chain(cert, r#use, scope);
    if !scope.options.reads_secrets() {
        value::text(key, "key", &mut scope.problems)?;
        return chain.map(|_| None);
    }
    let key_der = private_key(key, scope);
    match Identity::new(chain?, key_der?) {
        Ok(identity) => Some(Some(identity)),
        Err(Error::InconsistentKeys(_)) => {
            let named = value::text(cert, "cert", &mut scope.problems)?;
            scope.problems.error(
                &key.place,
                message!("the private key does not match the certificate in {}", Masked::path(Path::new(named))),
                "name the key of this certificate; in the file of cert, the server's own certificate must come first",
            );
            None
        }
        Err(_) => {
            scope.problems.error(
                &key.place,
                "the private key cannot be used: its type is unsupported or it is damaged",
                "use RSA with at least 2048 bits, ECDSA on P-256, P-384 or P-521, or Ed25519",
            );
            None
        }
    }
}

/// Certificates that are trusted: as issuers of others, and each as itself.
pub(super) fn issuers(node: &Node, scope: &mut Scope) -> Option<Issuers> {
    let (path, certificates) = certificates(node, "CA certificate", scope)?;
    let Ok(issuers) = Issuers::of(&certificates) else {
        let message = message!("cannot parse a certificate in {}", Masked::path(&path));
        scope.problems.error(&node.place, message, "find it with openssl storeutl -noout -text -certs FILE");
        return None;
    };
    for facts in certificates.iter().filter_map(Facts::of).filter(|facts| facts.not_after < scope.now) {
        let file = Masked::path(&path);
        let message = message!("a CA certificate in {} expired on {}", file, facts.not_after);
        scope.problems.warning(&node.place, message, "remove it, or replace it with the new one");
    }
    Some(issuers)
}

/// Revocation lists.
pub(super) fn revoked(node: &Node, scope: &mut Scope) -> Option<Vec<CertificateRevocationListDer<'static>>> {
    let (path, bytes) = read(node, "revocation list", scope)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let lists = match lists {
        Ok(lists) if !lists.is_empty() => lists,
        _ => {
            let message = message!("no revocation list in {}", Masked::path(&path));
            scope.problems.error(&node.place, message, hint("X509 CRL", "crl", &bytes));
            return None;
        }
    };
    for der in &lists {
        let Ok((_, list)) = CertificateRevocationList::from_der(der) else {
            let message = message!("cannot parse a revocation list in {}", Masked::path(&path));
            scope.problems.error(&node.place, message, "find it with openssl crl -noout -text -in FILE");
            return None;
        };
        let due = list.next_update().map(|at| UnixSeconds(at.timestamp()));
        if due.is_some_and(|due| due < scope.now) {
            scope.problems.warning(
                &node.place,
                message!(
                    "a revocation list in {} has expired: clients with certificates of this CA are refused",
                    Masked::path(&path)
                ),
                "get the new one from the CA",
            );
        }
    }
    Some(lists)
}

fn chain(node: &Node, r#use: Use, scope: &mut Scope) -> Option<Vec<CertificateDer<'static>>> {
    let (path, chain) = certificates(node, "certificate", scope)?;
    let file = Masked::path(&path);
    let Some(facts) = chain.first().and_then(Facts::of) else {
        let message = message!("cannot parse the certificate in {}", file);
        scope.problems.error(&node.place, message, "inspect it with openssl x509 -noout -text -in FILE");
        return None;
    };
    let problems = &mut scope.problems;
    if facts.seconds_left(scope.now) < 0 {
        let message = message!("the certificate in {} expired on {}", file, facts.not_after);
        problems.warning(&node.place, message, "renew it: peers that verify it will refuse it");
    } else if facts.is_due(scope.now) {
        let message = message!("the certificate in {} expires on {}", file, facts.not_after);
        problems.warning(&node.place, message, "renew it");
    }
    if facts.not_before > scope.now {
        let message = message!("the certificate in {} is not valid before {}", file, facts.not_before);
        problems.warning(&node.place, message, "check the clock of this machine");
    }
    let (fits, whose) = match r#use {
        Use::Server => (facts.for_servers, "server"),
        Use::Client => (facts.for_clients, "client"),
    };
    if !fits {
        let message = message!("the certificate in {} is not for {} use (extended key usage)", file, whose);
        problems.warning(
            &node.place,
            message,
            "issue one with that usage: peers that verify this one will refuse it",
        );
    }
    Some(chain)
}

fn certificates(
    node: &Node,
    what: &'static str,
    scope: &mut Scope,
) -> Option<(PathBuf, Vec<CertificateDer<'static>>)> {
    let (path, bytes) = read(node, what, scope)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Some((path, all)),
        Ok(_) => {
            let message = message!("no certificate in {}", Masked::path(&path));
            scope.problems.error(&node.place, message, hint("CERTIFICATE", "x509", &bytes));
            None
        }
        // The broken part is not quoted: it may be part of a key.
        Err(_) => {
            let message = message!("{} is damaged: a PEM section in it is broken", Masked::path(&path));
            scope.problems.error(&node.place, message, "copy the whole file again");
            None
        }
    }
}

fn private_key(node: &Node, scope: &mut Scope) -> Option<PrivateKeyDer<'static>> {
    let (path, bytes) = read(node, "private key", scope)?;
    scope.warn_if_open(&path, "private key", &node.place);
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&bytes) {
        return Some(key);
    }
    if contains(&bytes, b"ENCRYPTED") {
        let message = message!("the private key in {} is encrypted", Masked::path(&path));
        let hint =
            "decrypt it with openssl pkey -in FILE -out NEW, and let only portcullis read the new file";
        scope.problems.error(&node.place, message, hint);
    } else {
        let message = message!("no private key in {}", Masked::path(&path));
        scope.problems.error(&node.place, message, hint("PRIVATE KEY", "pkey", &bytes));
    }
    None
}

fn read(node: &Node, what: &'static str, scope: &mut Scope) -> Option<(PathBuf, Zeroizing<Vec<u8>>)> {
    let path = scope.base.join(value::text(node, what, &mut scope.problems)?);
    match scope.read_bytes(&path, MAX_FILE) {
        Ok(bytes) => Some((path, Zeroizing::new(bytes))),
        Err((reason, hint)) => {
            let message = message!("cannot read the {} from {}: {}", what, Masked::path(&path), reason);
            scope.problems.error(&node.place, message, hint);
            None
        }
    }
}

/// Guesses the content of a file that lacks the wanted section.
fn hint(section: &'static str, command: &'static str, bytes: &[u8]) -> Message {
    /// DER begins with a sequence.
    const SEQUENCE: u8 = 0x30;
    let others = [
        ("CERTIFICATE", "a certificate"),
        ("PRIVATE KEY", "a private key"),
        ("X509 CRL", "a revocation list"),
    ];
    let begins = |name: &str| contains(bytes, format!("{name}-----").as_bytes());
    if bytes.first() == Some(&SEQUENCE) {
        return message!(
            "it seems to be DER: convert it with openssl {} -inform der -in FILE -out FILE.pem",
            command
        );
    }
    match others.iter().find(|(name, _)| *name != section && begins(name)) {
        Some((_, what)) => {
            message!("it contains {}: name the file with '-----BEGIN {}-----'", *what, section)
        }
        None => message!("name a PEM file with '-----BEGIN {}-----'", section),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
