//! `{url: ...}`: an error that says how to fetch a list.

use std::path::Path;

use crate::message::{Masked, Message, message};
use crate::problem::Position;
use crate::scope::Scope;

/// Says that lists are not fetched, and gives a line for cron that fetches one. `group` names the list, if it has a
/// name.
pub(super) fn refuse(url: Option<&str>, group: Option<&str>, place: &Position, scope: &mut Scope) {
    let hint = hint(url.unwrap_or_default(), group, scope);
    scope.problems.error(place, "a list is read from a file: the proxy fetches nothing from a URL", hint);
}

/// The line fetches to a new file, checks the configuration with that file in place of the old one, and renames it.
fn hint(url: &str, group: Option<&str>, scope: &Scope) -> Message {
    let is_json = url.split(['?', '#']).next().is_some_and(|path| path.ends_with(".json"));
    let (extension, select) =
        if is_json { ("json", ", select: \"prefixes[].ip_prefix\"") } else { ("txt", "") };
    let name = Masked::name(group.unwrap_or("list"));
    let file = message!("fetched-{}.{}", name, extension);
    let main = Path::new(scope.file.as_ref());
    let here = if scope.base.as_os_str().is_empty() { Path::new(".") } else { &scope.base };
    let directory = std::path::absolute(here).unwrap_or_else(|_| here.to_path_buf());
    let own = Masked::path(Path::new(main.file_name().unwrap_or(main.as_os_str())));
    message!(
        "under groups, write {}: {{file: {}{}}}. Line for a crontab, with the address for URL (% is \\% there): \
         17 * * * * cd '{}' && f={} && curl -fsSo $f.new 'URL' && sed \"s|$f|&.new|\" '{}' >$f.yaml \
         && portcullis check --no-secrets --no-host -c $f.yaml >/dev/null && mv $f.new $f",
        name,
        file,
        select,
        Masked::path(&directory),
        file,
        own
    )
}

/// Whether a text is the address of a file elsewhere.
pub(super) fn is_url(text: &str) -> bool {
    let schemes = ["http://", "https://", "ftp://"];
    schemes.iter().any(|scheme| text.to_ascii_lowercase().starts_with(scheme))
}
