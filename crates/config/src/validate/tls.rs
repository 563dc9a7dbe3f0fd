//! The `tls` mappings of listeners and upstreams.

mod files;
mod pins;
mod themselves;

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;

use crate::address::Address;
use crate::fields::Fields;
use crate::message::{Harmless, Masked, message};
use crate::problem::Position;
use crate::raw::{Node, Value};
use crate::scope::Scope;
use crate::tls::{ClientTls, Clients, Identity, Issuers, NameFrom, ServerTls, Trust};
use crate::value;

use self::files::{Found, Use};
use self::themselves::File;

/// The advice where rustls refuses files that are valid one by one.
const INSPECT: &str =
    "check that the files belong together: openssl x509 -noout -text -in FILE shows a certificate";
const PAIR: &str = "write tls: {cert: server.pem, key: server.key}";

/// Reads the TLS settings of a listener. `None`: a problem was noted.
pub(super) fn listener(node: &Node, scope: &mut Scope) -> Option<Arc<ServerTls>> {
    let mut fields = Fields::of(node, "tls", &mut scope.problems)?;
    let own = pair(&mut fields, Use::Server, scope);
    let more = fields.take("certificates").map(|node| certificates(node, scope));
    let clients = clients(&mut fields, scope);
    let place = fields.place;
    fields.finish(&mut scope.problems);
    let mut identities = Vec::new();
    match (own, &more) {
        (Found::Absent, None) => {
            scope.problems.error(place, "tls has no certificate", PAIR);
            return None;
        }
        (Found::Absent, Some(_)) => {}
        (Found::Bad, _) => return None,
        (Found::Good(own), _) => identities.extend(own),
    }
    if let Some(more) = more {
        identities.extend(more?);
    }
    match ServerTls::new(identities, clients?) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(error) => {
            scope.problems.error(place, message!("cannot set up tls: {}", OfRustls(&error)), INSPECT);
            None
        }
    }
}

/// Reads the TLS settings of an upstream at `addresses`. `key`: the upstream in the configuration.
pub(super) fn upstream(
    node: &Node,
    key: &str,
    addresses: Option<&[Address]>,
    scope: &mut Scope,
) -> Option<Arc<ClientTls>> {
    let mut fields = Fields::of(node, "tls", &mut scope.problems)?;
    let ca = fields.take("ca");
    let pins = fields.take("pin").map(|node| pins::pins(node, ca.map(|ca| ("ca", ca)), scope));
    let trust = match (pins, ca) {
        (Some(pins), _) => pins,
        (None, Some(node)) => files::issuers(node, scope).map(Trust::Issuers),
        (None, None) => {
            system_roots(fields.place, scope).map(|roots| Trust::Issuers(Issuers::anchors(roots)))
        }
    };
    let name = fields.take("server_name").map(|node| server_name(node, scope));
    let identity = pair(&mut fields, Use::Client, scope);
    let place = fields.place;
    fields.finish(&mut scope.problems);
    let name = match name {
        None => None,
        Some(name) => Some(name?),
    };
    let identity = match identity {
        Found::Absent => None,
        Found::Bad => return None,
        Found::Good(identity) => identity,
    };
    let trust = trust?;
    match ClientTls::new(trust.clone(), name.clone(), identity.as_ref()) {
        Ok(tls) => {
            let mut nameless = addresses.unwrap_or_default().iter().filter(|at| tls.name_of(at).is_none());
            if let Some(address) = nameless.next() {
                let message =
                    message!("cannot verify the certificate of {}: no server name", address.clone());
                scope.problems.error(place, message, "write server_name: redis.internal");
                return None;
            }
            if let (Trust::Issuers(issuers), Some(ca)) = (&trust, ca) {
                let names = addresses.unwrap_or_default().iter().filter_map(|at| tls.name_of(at));
                let names: Vec<_> = names.collect();
                File { issuers, node: ca, key }.warn_of_servers(&names, name.is_some(), scope);
            }
            Some(Arc::new(tls))
        }
        Err(error) => {
            scope.problems.error(place, message!("cannot set up tls: {}", OfRustls(&error)), INSPECT);
            None
        }
    }
}

/// The error of rustls about a configuration. It quotes nothing from the files.
struct OfRustls<'e, E>(&'e E);

impl<E: fmt::Display> Harmless for OfRustls<'_, E> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `cert` and `key` of a mapping. Without secrets there is nothing to join them to: `Good(None)`.
fn pair(fields: &mut Fields<'_>, r#use: Use, scope: &mut Scope) -> Found<Option<Identity>> {
    match (fields.take("cert"), fields.take("key")) {
        (None, None) => Found::Absent,
        (Some(cert), Some(key)) => match files::identity(cert, key, r#use, scope) {
            Some(identity) => Found::Good(identity),
            None => Found::Bad,
        },
        (Some(node), None) => {
            scope.problems.error(&node.place, "'cert' without 'key'", "add key: the file of its private key");
            Found::Bad
        }
        (None, Some(node)) => {
            scope.problems.error(
                &node.place,
                "'key' without 'cert'",
                "add cert: the file of its certificate",
            );
            Found::Bad
        }
    }
}

/// The further ones, which clients get by the name that they ask for.
fn certificates(node: &Node, scope: &mut Scope) -> Option<Vec<Identity>> {
    let Value::List(items) = &node.value else {
        let message = message!("certificates must be a list, not {}", node.kind());
        scope.problems.error(&node.place, message, "write certificates: [{cert: other.pem, key: other.key}]");
        return None;
    };
    let mut identities = Some(Vec::new());
    for item in items {
        let Some(mut fields) = Fields::of(item, "certificates", &mut scope.problems) else {
            identities = None;
            continue;
        };
        let found = pair(&mut fields, Use::Server, scope);
        let place = fields.place;
        fields.finish(&mut scope.problems);
        match found {
            Found::Good(Some(identity)) if identity.names().is_empty() => scope.problems.warning(
                &item.place,
                "the certificate has no DNS name: no client can select it by SNI",
                "issue it with a DNS name as subject alternative name",
            ),
            Found::Good(identity) => {
                if let Some(identities) = &mut identities {
                    identities.extend(identity);
                }
            }
            Found::Absent => {
                scope.problems.error(
                    place,
                    "the entry has no certificate",
                    "write {cert: other.pem, key: other.key}",
                );
                identities = None;
            }
            Found::Bad => identities = None,
        }
    }
    identities
}

/// `Some(None)`: clients are not asked for certificates.
fn clients(fields: &mut Fields<'_>, scope: &mut Scope) -> Option<Option<Clients>> {
    let requirements = [("required", true), ("optional", false)];
    let ca = fields.take("client_ca");
    let pin = fields.take("pin");
    let auth = fields.take("client_auth");
    let crl = fields.take("client_crl");
    let words = [("cn", NameFrom::CommonName), ("san", NameFrom::AlternativeName)];
    let from = fields.take("user_from");
    let name_from = from.map(|node| value::word(node, "user_from", &words, &mut scope.problems));
    let required = auth.map(|node| value::word(node, "client_auth", &requirements, &mut scope.problems));
    // A pinned certificate has no issuer that counts, and no list revokes it.
    let without = if pin.is_some() { [None, crl, None] } else { [auth, crl, from] };
    if ca.is_none() {
        for (node, name) in without.iter().zip(["client_auth", "client_crl", "user_from"]) {
            if let Some(node) = node {
                scope.problems.error(
                    &node.place,
                    message!("'{}' without 'client_ca'", name),
                    "add client_ca: the file of the CA that issues the clients' certificates",
                );
            }
        }
        if without.iter().any(Option::is_some) {
            return None;
        }
    }
    let trust = match (pin, ca) {
        (Some(node), ca) => pins::pins(node, ca.map(|ca| ("client_ca", ca)), scope),
        (None, Some(node)) => {
            let issuers = files::issuers(node, scope);
            if let Some(issuers) = &issuers {
                let key = "the listener";
                File { issuers, node, key }.warn_of_clients(from.is_some(), scope);
            }
            issuers.map(Trust::Issuers)
        }
        (None, None) => return Some(None),
    };
    let revoked = crl.map(|node| files::revoked(node, scope));
    Some(Some(Clients {
        trust: trust?,
        revoked: match revoked {
            None => Vec::new(),
            Some(revoked) => revoked?,
        },
        name_from: match name_from {
            None => None,
            Some(name_from) => Some(name_from?),
        },
        // A CA or a pin is named where certificates are wanted.
        required: match required {
            None => true,
            Some(required) => required?,
        },
    }))
}

fn server_name(node: &Node, scope: &mut Scope) -> Option<ServerName<'static>> {
    let text = value::text(node, "server_name", &mut scope.problems)?;
    match ServerName::try_from(text) {
        Ok(name) => Some(name.to_owned()),
        Err(_) => {
            let message = message!("'{}' is not a host name", Masked::of(text));
            scope.problems.error(&node.place, message, "write the name in the upstream's certificate");
            None
        }
    }
}

/// Reads the system's roots for each configuration, like the files of `ca`.
fn system_roots(place: &Position, scope: &mut Scope) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // A certificate of the system that webpki cannot parse is ignored, as long as others are there.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        scope.problems.error(
            place,
            "the system has no CA certificates",
            "write ca: the file of the CA that issued the upstream's certificate, or install the ca-certificates package",
        );
        return None;
    }
    Some(roots)
}
