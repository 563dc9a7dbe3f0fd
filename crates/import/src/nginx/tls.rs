//! The TLS directives: `ssl_*` for clients, and `proxy_ssl*` for Redis.

use portcullis_config::message::{Message, message};

use super::classes;
use super::directive::Directive;
use crate::at::At;
use crate::draft::{ClientCertificates, ClientTls, ServerTls, ServerTrust};
use crate::files::Folder;
use crate::notes::Notes;
use crate::place::NO_SERVER_CRL;
use crate::review::Class;

/// A value, and the place that sets it. `None` if nothing sets it.
type Set = Option<(At, String)>;

/// The TLS settings for clients.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerSide {
    certificates: Vec<(At, String)>,
    keys: Vec<(At, String)>,
    client_ca: Set,
    crl: Set,
    verify: Set,
    depth: Set,
}

/// The most intermediate CAs that the gate accepts between the certificate of a client and its CA.
const MOST_INTERMEDIATES: u32 = 6;
/// The number of intermediate CAs that nginx accepts where `ssl_verify_depth` is not set.
const DEPTH_OF_NGINX: &str = "1";

impl ServerSide {
    pub(super) fn directive(&mut self, directive: &Directive, on: Option<bool>) -> Class {
        let [name, value] = directive.words.as_slice() else { return classes::of(directive.name()) };
        let set = (directive.at.clone(), value.clone());
        match (name.as_str(), on) {
            ("ssl_certificate", _) => self.certificates.push(set),
            ("ssl_certificate_key", _) => self.keys.push(set),
            ("ssl_client_certificate", _) => self.client_ca = Some(set),
            ("ssl_crl", _) => self.crl = Some(set),
            ("ssl_verify_client", Some(_)) => self.verify = Some(set),
            ("ssl_verify_client", _) if value == "optional" => self.verify = Some(set),
            ("ssl_verify_depth", _) => self.depth = Some(set),
            ("ssl_trusted_certificate", _) => {
                return Class::Harmless("only the CAs of ssl_client_certificate are taken");
            }
            ("ssl_reject_handshake" | "ssl_stapling" | "ssl_stapling_verify", Some(false)) => {}
            ("ssl_password_file", _) => {
                return Class::Harmless("the gate takes a key that is not encrypted");
            }
            (name, _) => return classes::of(name),
        }
        Class::Understood
    }

    pub(super) fn over(self, around: &Self) -> Self {
        let own = !self.certificates.is_empty();
        Self {
            certificates: if own { self.certificates } else { around.certificates.clone() },
            keys: if self.keys.is_empty() { around.keys.clone() } else { self.keys },
            client_ca: self.client_ca.or_else(|| around.client_ca.clone()),
            crl: self.crl.or_else(|| around.crl.clone()),
            verify: self.verify.or_else(|| around.verify.clone()),
            depth: self.depth.or_else(|| around.depth.clone()),
        }
    }

    /// Returns the place of the directive by which nginx may refuse the certificate of a client that the gate accepts: one
    /// below more intermediate CAs. `None` if there is none.
    pub(super) fn doubt(&self, notes: &mut Notes) -> Option<At> {
        let (at, _) = self.verify.as_ref().filter(|(_, verify)| verify == "on")?;
        let depth = self.depth.as_ref().map_or(DEPTH_OF_NGINX, |(_, depth)| depth.as_str());
        if depth.parse().is_ok_and(|depth: u32| depth >= MOST_INTERMEDIATES) {
            return None;
        }
        let at = self.depth.as_ref().map_or(at, |(at, _)| at);
        let text = "nginx limits the CAs between a client's certificate and client_ca (ssl_verify_depth, 1 by default), and \
                    the gate accepts more: list the clients in allow if every certificate below client_ca may connect";
        notes.remark(at, text);
        Some(at.clone())
    }

    /// Returns the TLS settings of a listener.
    ///
    /// # Errors
    /// The reason why the settings cannot be carried over.
    pub(super) fn tls(&self, folder: &Folder, notes: &mut Notes) -> Result<ServerTls, Message> {
        let path = |(_, name): &(At, String)| match name.contains('$') || name.contains(':') {
            true => Err("the name of its certificate depends on variables or on an engine"),
            false => Ok(folder.absolute(name)),
        };
        let pairs = self.certificates.iter().zip(&self.keys);
        let pairs: Vec<(String, String)> =
            pairs.map(|(cert, key)| Ok((path(cert)?, path(key)?))).collect::<Result<_, &str>>()?;
        if pairs.is_empty() {
            return Err("it has no ssl_certificate with an ssl_certificate_key".into());
        }
        for (at, _) in self.certificates.iter().skip(1) {
            notes.remark(at, "nginx chooses among certificates by their kind, the gate by the names in them");
        }
        let required = match &self.verify {
            None => None,
            Some((_, verify)) if verify == "off" => None,
            Some((_, verify)) => Some(verify == "on"),
        };
        let clients = match (required, &self.client_ca) {
            (None, _) => None,
            (Some(_), None) => return Err("ssl_verify_client without an ssl_client_certificate".into()),
            (Some(required), Some(ca)) => {
                let crl = self.crl.as_ref().map(path).transpose()?;
                Some(ClientCertificates { ca: path(ca)?, crl, required })
            }
        };
        Ok(ServerTls { pairs, clients })
    }
}

/// The TLS settings for Redis.
#[derive(Clone, Debug, Default)]
pub(super) struct UpstreamSide {
    on: Option<(At, bool)>,
    verify: Option<bool>,
    ca: Set,
    name: Set,
    certificate: Set,
    key: Set,
}

impl UpstreamSide {
    pub(super) fn directive(&mut self, directive: &Directive, on: Option<bool>) -> Class {
        let [name, value] = directive.words.as_slice() else { return classes::of(directive.name()) };
        let set = Some((directive.at.clone(), value.clone()));
        match (name.as_str(), on) {
            ("proxy_ssl", Some(on)) => self.on = Some((directive.at.clone(), on)),
            ("proxy_ssl_verify", Some(on)) => self.verify = Some(on),
            ("proxy_ssl_trusted_certificate", _) => self.ca = set,
            ("proxy_ssl_name", _) => self.name = set,
            ("proxy_ssl_certificate", _) => self.certificate = set,
            ("proxy_ssl_certificate_key", _) => self.key = set,
            ("proxy_ssl_crl", _) => {
                return Class::Harmless(NO_SERVER_CRL);
            }
            ("proxy_ssl_verify_depth", _) => {
                return Class::Harmless(
                    "the gate does not count the CAs above the server's certificate; tls.pin accepts one key only",
                );
            }
            ("proxy_ssl_password_file", _) => {
                return Class::Harmless("the gate takes a key that is not encrypted");
            }
            (name, _) => return classes::of(name),
        }
        Class::Understood
    }

    pub(super) fn over(self, around: &Self) -> Self {
        Self {
            on: self.on.or_else(|| around.on.clone()),
            verify: self.verify.or(around.verify),
            ca: self.ca.or_else(|| around.ca.clone()),
            name: self.name.or_else(|| around.name.clone()),
            certificate: self.certificate.or_else(|| around.certificate.clone()),
            key: self.key.or_else(|| around.key.clone()),
        }
    }

    /// Returns the TLS settings of an upstream. `None` if it has no TLS. `pass` is the name of the `upstream` block, if
    /// `proxy_pass` names one.
    pub(super) fn tls(&self, pass: Option<&str>, folder: &Folder, notes: &mut Notes) -> Option<ClientTls> {
        let (at, _) = self.on.as_ref().filter(|(_, on)| *on)?;
        let trust = match (self.verify, &self.ca) {
            (Some(true), Some((_, ca))) => ServerTrust::Ca(folder.absolute(ca)),
            _ => {
                let text = "nginx does not verify the server's certificate; the gate always does, so tls of the \
                            upstream needs ca or pin, and check refuses the configuration until it has one";
                notes.remark(at, text);
                ServerTrust::Missing
            }
        };
        let server_name = match &self.name {
            Some((at, name)) if name.contains('$') => {
                let why = "a name that depends on variables; the gate verifies the host in the address, or server_name";
                notes.left_out(at, message!("{}", notes.quote("proxy_ssl_name ***")), why);
                None
            }
            Some((_, name)) => Some(name.clone()),
            // nginx verifies the name in proxy_pass, which is the name of the upstream block.
            None => pass.filter(|_| self.verify == Some(true)).map(str::to_owned),
        };
        let pair = match (&self.certificate, &self.key) {
            (Some((_, cert)), Some((_, key))) => Some((folder.absolute(cert), folder.absolute(key))),
            _ => None,
        };
        Some(ClientTls { trust, server_name, pair })
    }
}
