//! Decides which requests are answered.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use portcullis_acl::ClientAddr;
use portcullis_config::{Admin, AdminBind};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::attempts::Attempts;
use super::sessions::{SessionKey, Sessions};

/// Paths that need no token. Monitoring and orchestrators use the first three and cannot keep a secret. The others are
/// the page, which holds no data.
const OPEN: [&str; 7] = ["/metrics", "/live", "/ready", "/", "/app.js", "/app.css", "/favicon.ico"];

/// The path where a browser trades the token for a cookie. Its handler looks at the token.
pub(super) const SESSION_PATH: &str = "/api/session";

/// A header that a form of another page cannot send. A browser asks before a script of another origin may send it, and
/// the answer is no.
const CHANGE_HEADER: &str = "x-portcullis";

/// The right with which a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The path is open, or the configuration has no token: a client may read what is no secret.
    Reader,
    /// The request has the token, or the cookie of a session: it may read and change everything.
    Operator(Credential),
}

/// The proof that a request is an operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// The token with this digest.
    Token([u8; 32]),
    /// The cookie of this session.
    Session(SessionKey),
}

impl Access {
    /// Returns whether the request is an operator's.
    pub(super) fn is_operator(self) -> bool {
        matches!(self, Self::Operator(_))
    }
}

/// The facts of a request on which the guard decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knock<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) from: ClientAddr,
}

#[derive(Debug)]
pub(super) struct Guard {
    /// The address, where it is a loopback one: then a page in the operator's browser could get here under a name of its
    /// own that resolves to it (DNS rebinding), so only names that are known to mean this machine are answered. On other
    /// addresses all that is not open wants the token, which such a page does not have.
    loopback: Option<IpAddr>,
    /// Whether only users of this machine can connect, so that no token is needed.
    open: bool,
    /// The digest of the token; the token itself is not kept.
    token: Option<[u8; 32]>,
}

impl Guard {
    pub(super) fn of(admin: &Admin) -> Self {
        Self::new(admin.bind(), admin.token().map(ExposeSecret::expose_secret))
    }

    /// The same address with another token, or none; one that others can reach keeps the one it had.
    pub(super) fn with_token(&self, token: Option<&str>) -> Self {
        let token = token.map(digest);
        Self {
            loopback: self.loopback,
            open: self.open,
            token: if self.open { token } else { token.or(self.token) },
        }
    }

    pub(super) fn new(bind: &AdminBind, token: Option<&str>) -> Self {
        let loopback = match bind {
            AdminBind::Tcp(addr) => Some(ip(addr)).filter(IpAddr::is_loopback),
            AdminBind::Unix(_) => None,
        };
        let open = loopback.is_some() || matches!(bind, AdminBind::Unix(_));
        Self { loopback, open, token: token.map(digest) }
    }

    /// Returns the right with which the request is answered.
    ///
    /// # Errors
    /// The request is refused, and the reason.
    pub(super) fn check(
        &self,
        knock: Knock<'_>,
        sessions: &Sessions,
        attempts: &Attempts,
    ) -> Result<Access, Refusal> {
        let Knock { method, uri, headers, .. } = knock;
        if !self.is_for_us(uri, headers) {
            return Err(Refusal::Host);
        }
        if !is_usual(method) {
            // No path has this method: the router says so, and no handler runs.
            return Ok(Access::Reader);
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if reads && OPEN.contains(&uri.path()) {
            return Ok(Access::Reader);
        }
        if !reads && is_foreign(headers) {
            return Err(Refusal::Origin);
        }
        if self.token.is_none() {
            return if reads { Ok(Access::Reader) } else { Err(Refusal::NoToken) };
        }
        if *method == Method::POST && uri.path() == SESSION_PATH {
            return Ok(Access::Reader);
        }
        let credential = self.credential(knock, sessions, attempts)?;
        if !reads && matches!(credential, Credential::Session(_)) && !headers.contains_key(CHANGE_HEADER) {
            return Err(Refusal::Header);
        }
        Ok(Access::Operator(credential))
    }

    /// Returns the token or the session of a request.
    fn credential(
        &self,
        knock: Knock<'_>,
        sessions: &Sessions,
        attempts: &Attempts,
    ) -> Result<Credential, Refusal> {
        let mut presented = knock.headers.get_all(header::AUTHORIZATION).iter();
        match (presented.next(), presented.next()) {
            (None, _) => {
                sessions.of(knock.headers, Instant::now()).map(Credential::Session).ok_or(Refusal::Token)
            }
            (Some(one), None) => {
                let token = one.to_str().ok().and_then(bearer).ok_or(Refusal::Token)?;
                self.verify(token, knock.from, attempts)
            }
            (Some(_), Some(_)) => Err(Refusal::Token),
        }
    }

    /// Compares a token with the configured one, and counts a wrong one for its source.
    ///
    /// # Errors
    /// [`Refusal::Token`]; [`Refusal::NoToken`] if no token is configured; [`Refusal::Wait`] after many wrong tokens.
    pub(super) fn verify(
        &self,
        token: &str,
        from: ClientAddr,
        attempts: &Attempts,
    ) -> Result<Credential, Refusal> {
        let Some(expected) = &self.token else { return Err(Refusal::NoToken) };
        if let Some(left) = attempts.wait(from) {
            return Err(Refusal::Wait(left));
        }
        let presented = digest(token);
        if presented.ct_eq(expected).into() {
            return Ok(Credential::Token(presented));
        }
        attempts.wrong(from, token.as_bytes());
        Err(Refusal::Token)
    }

    /// Returns whether an access that was granted before still holds: its token is the current one, or its session is
    /// open.
    pub(super) fn still_holds(&self, access: Access, sessions: &Sessions) -> bool {
        match access {
            Access::Reader => self.token.is_none(),
            Access::Operator(Credential::Token(digest)) => {
                self.token.is_some_and(|token| token.ct_eq(&digest).into())
            }
            Access::Operator(Credential::Session(key)) => {
                self.token.is_some() && sessions.is_open(&key, Instant::now())
            }
        }
    }

    /// Returns whether a token is configured.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Returns whether `other` has the same token, or none like this one.
    pub(super) fn is_same_token(&self, other: &Self) -> bool {
        self.token == other.token
    }

    fn is_for_us(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(bound) = self.loopback else { return true };
        // Without any it is HTTP/1.0, which no browser speaks but load balancers do.
        let mut named = headers.get_all(header::HOST).iter().map(host);
        named.all(|host| host.is_some_and(|host| means_us(&host, bound)))
            && uri.host().is_none_or(|host| means_us(host, bound))
    }
}

/// The reason why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// DNS rebinding, or a name that the guard does not know.
    #[error("the Host header is neither localhost nor an address of this machine")]
    Host,
    /// The path needs the token, and the request has none or a wrong one.
    #[error("this path needs the admin token: send Authorization: Bearer TOKEN")]
    Token,
    /// The configuration has no token, so changes are impossible.
    #[error("changes need an admin token: set admin.token in the configuration")]
    NoToken,
    /// A page of another origin makes the browser of an operator send the request.
    #[error("changes from pages of another origin are refused")]
    Origin,
    /// The request has the cookie of a session, and may come from a form of another page.
    #[error("a change with the cookie needs the header X-Portcullis: 1")]
    Header,
    /// The source has sent too many wrong tokens.
    #[error("too many wrong tokens: try again in {} s", .0.as_secs().max(1))]
    Wait(Duration),
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Wait(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Host | Self::NoToken | Self::Origin | Self::Header => StatusCode::FORBIDDEN,
        }
    }

    /// Returns the word for programs.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Token => "token",
            Self::NoToken => "no_token",
            Self::Origin => "origin",
            Self::Header => "header",
            Self::Wait(_) => "wait",
        }
    }
}

/// Returns whether a path of an API may have this method. TRACE and the like have no meaning here, whoever sends them.
pub(super) fn is_usual(method: &Method) -> bool {
    let usual = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    usual.contains(method)
}

/// Browsers say where the page comes from that makes them ask; programs say nothing.
fn is_foreign(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    if sites.any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return true;
    }
    let named = headers.get(header::HOST).and_then(|named| named.to_str().ok());
    headers.get_all(header::ORIGIN).iter().any(|origin| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        origin.is_none_or(|(_, authority)| Some(authority) != named)
    })
}

fn ip(addr: &SocketAddr) -> IpAddr {
    match addr {
        SocketAddr::V4(v4) => IpAddr::V4(*v4.ip()),
        SocketAddr::V6(v6) => IpAddr::V6(*v6.ip()).to_canonical(),
    }
}

fn host(value: &HeaderValue) -> Option<String> {
    let authority: Authority = value.to_str().ok()?.parse().ok()?;
    // Text before an @ is not part of the name, and no client sends it.
    (!authority.as_str().contains('@')).then(|| authority.host().to_owned())
}

fn means_us(host: &str, bound: IpAddr) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) => ip.is_loopback() || ip == bound,
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
