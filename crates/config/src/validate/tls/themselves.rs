//! Certificates of `ca` and `client_ca` that are refused where a peer shows them, and how to mend that.

use std::fmt;
use std::time::Duration;

use rustls::Error;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::message::{Harmless, message};
use crate::raw::Node;
use crate::scope::Scope;
use crate::tls::{FINGERPRINT, Issuers, Role, Signing, TlsFault, WantedName, judge_itself};

/// The file of certificates of an upstream or a listener.
pub(super) struct File<'f> {
    pub(super) issuers: &'f Issuers,
    /// Its place in the configuration.
    pub(super) node: &'f Node,
    /// The owner of the `tls` block: `upstreams.main`.
    pub(super) key: &'f str,
}

impl File<'_> {
    /// Warns about the certificates of servers with these names; `written`: the configuration says the name.
    pub(super) fn warn_of_servers(&self, names: &[ServerName<'static>], written: bool, scope: &mut Scope) {
        self.warn_of_leaves(Role::Server, scope);
        if let Some(fault) = names.iter().find_map(|name| self.wrong_name(name, written, scope)) {
            self.warn(Role::Server, fault, scope);
        }
    }

    /// Warns about the certificates of clients; `names_users`: their certificates say which users they are.
    pub(super) fn warn_of_clients(&self, names_users: bool, scope: &mut Scope) {
        self.warn_of_leaves(Role::Client, scope);
        let unclear = |(_, signing): &(_, Signing)| *signing == Signing::Unclear;
        if names_users && self.issuers.themselves().any(unclear) {
            scope.problems.warning(
                &self.node.place,
                "a certificate of client_ca has CA:TRUE and no key usage: with user_from, its holder can issue a certificate for any user",
                message!(
                    "for a client certificate, use pin instead of client_ca ({}); for a CA, reissue it with openssl req -x509 -addext keyUsage=critical,keyCertSign,cRLSign",
                    FINGERPRINT
                ),
            );
        }
    }

    /// Warns of certificates that issue no others, which peers present themselves.
    fn warn_of_leaves(&self, role: Role, scope: &mut Scope) {
        for (der, _) in self.issuers.themselves().filter(|(_, signing)| *signing == Signing::Never) {
            if let Err(error) = judge_itself(der, role, None, now(scope)) {
                self.warn(role, error, scope);
            }
        }
    }

    /// `None`: one is good for the name, or an issuer may have issued one that is.
    fn wrong_name(&self, name: &ServerName<'_>, written: bool, scope: &Scope) -> Option<Error> {
        let judge = |der: &CertificateDer<'_>, written| {
            judge_itself(der, Role::Server, Some(WantedName { name, written }), now(scope))
        };
        let mut fault = None;
        for (der, signing) in self.issuers.themselves() {
            let judged = judge(der, written);
            let may_issue = match signing {
                Signing::Never => false,
                // The certificate has the server's name: it is the server's own.
                Signing::Unclear => judge(der, true).is_err(),
                Signing::Declared => true,
            };
            if may_issue || judged.is_ok() {
                return None;
            }
            fault = fault.or_else(|| judged.err().filter(TlsFault::is_of_name));
        }
        fault
    }

    fn warn(&self, role: Role, error: Error, scope: &mut Scope) {
        let whose = match role {
            Role::Server => "a server",
            Role::Client => "a client",
        };
        let fault = TlsFault::from(error);
        // That of expiry was noted as the file was read.
        if !fault.is_of_expiry() {
            let advice = Advice(fault.advice_on_certificate(self.key, role));
            let message = message!("{} that uses a certificate of this file is refused: {}", whose, fault);
            scope.problems.warning(&self.node.place, message, message!("{}", advice));
        }
    }
}

/// Its names are those of a certificate, and the host name that is asked for.
impl Harmless for TlsFault {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The remedy for a fault. It quotes nothing from the file but the name of the upstream or listener.
struct Advice(String);

impl Harmless for Advice {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn now(scope: &Scope) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(scope.now.0).unwrap_or(0)))
}
