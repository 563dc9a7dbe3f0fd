//! Decides which requests are answered.

use std::net::{IpAddr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use portcullis_config::{Admin, AdminBind};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Paths that need no token: monitoring and orchestrators use them and cannot keep a secret.
const OPEN: [&str; 3] = ["/metrics", "/live", "/ready"];

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

    /// Whether the request may be answered.
    ///
    /// # Errors
    /// It may not, and why.
    pub(super) fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if !self.is_for_us(uri, headers) {
            return Err(Refusal::Host);
        }
        if OPEN.contains(&uri.path()) {
            return Ok(());
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            return if self.has_token(headers) { Ok(()) } else { Err(Refusal::Token) };
        }
        if is_foreign(headers) {
            return Err(Refusal::Origin);
        }
        if self.token.is_none() {
            return Err(Refusal::NoToken);
        }
        if self.has_token(headers) { Ok(()) } else { Err(Refusal::Token) }
    }

    fn is_for_us(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(bound) = self.loopback else { return true };
        // Without any it is HTTP/1.0, which no browser speaks but load balancers do.
        let mut named = headers.get_all(header::HOST).iter().map(host);
        named.all(|host| host.is_some_and(|host| means_us(&host, bound)))
            && uri.host().is_none_or(|host| means_us(host, bound))
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.token else { return true };
        let mut presented = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(one), None) = (presented.next(), presented.next()) else { return false };
        one.to_str().ok().and_then(bearer).is_some_and(|token| digest(token).ct_eq(expected).into())
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
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Host | Self::NoToken | Self::Origin => StatusCode::FORBIDDEN,
        }
    }
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
