//! The status page and the description of the API, which are part of the binary.

use axum::http::{HeaderName, header};

/// The rights of the page: it may load its own script, style and pictures, and talk to this endpoint. A text that gets
/// into the page as markup could still run no script and send nothing elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

type Asset = ([(HeaderName, &'static str); 2], &'static str);

pub(super) async fn index() -> Asset {
    asset("text/html; charset=utf-8", include_str!("page/index.html"))
}

pub(super) async fn script() -> Asset {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

pub(super) async fn style() -> Asset {
    asset("text/css; charset=utf-8", include_str!("page/app.css"))
}

/// Browsers ask for this path on every page, also where no page names it.
pub(super) async fn icon() -> Asset {
    asset("image/svg+xml", include_str!("page/icon.svg"))
}

pub(super) async fn openapi() -> Asset {
    asset("application/json", OPENAPI)
}

/// The script of the page: its parts, one after the other. A browser loads one file, and a reader opens the part that
/// has the name of a view.
const SCRIPT: &str = concat!(
    include_str!("page/app/state.js"),
    include_str!("page/app/elements.js"),
    include_str!("page/app/words.js"),
    include_str!("page/app/api.js"),
    include_str!("page/app/overview.js"),
    include_str!("page/app/commands.js"),
    include_str!("page/app/clients.js"),
    include_str!("page/app/access.js"),
    include_str!("page/app/configuration.js"),
    include_str!("page/app/session.js"),
    include_str!("page/app/life.js"),
);

/// The description of the API.
pub(super) const OPENAPI: &str = include_str!("page/openapi.json");

fn asset(kind: &'static str, text: &'static str) -> Asset {
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)], text)
}
