//! nginx's stream module: `server` blocks with `listen`, `allow` and `deny` in order, and `proxy_pass`.

mod access;
mod classes;
mod directive;
mod include;
mod listen;
mod server;
mod settings;
mod tls;
mod upstream;

use std::collections::HashMap;
use std::path::Path;

use portcullis_config::message::Message;

use super::draft::Draft;
use super::files::Folder;
use super::notes::Notes;
use super::review::{Class, Review};
use directive::Directive;
use include::Includes;
use settings::{Settings, Zones};
use upstream::Upstream;

/// Imports nginx.conf or a file for its `stream` block, with all files that the file includes.
///
/// # Errors
/// The line and the reason, if nginx would find the file broken as well.
pub(super) fn import(
    text: &str,
    path: &Path,
    draft: &mut Draft,
    notes: &mut Notes,
) -> Result<(), (usize, Message)> {
    let file = directive::parse(text, None)?;
    let folder = Folder::of(path);
    let file = Includes::new(folder.clone(), notes).expand(file);
    let is_stream = |directive: &&Directive| directive.name() == "stream" && directive.block.is_some();
    if !file.iter().any(|directive| is_stream(&directive)) {
        stream(&file, folder, draft, notes);
        return Ok(());
    }
    for directive in &file {
        match &directive.block {
            Some(block) if is_stream(&directive) => stream(block, folder.clone(), draft, notes),
            // nginx accepts directives of the stream module only inside that block.
            _ => notes.left_out(&directive.at, directive, "it is outside the stream block"),
        }
    }
    Ok(())
}

/// The content of the `stream` block that its servers may use.
struct Stream {
    folder: Folder,
    settings: Settings,
    upstreams: HashMap<String, Upstream>,
    zones: Zones,
    /// The review of the directives that every server inherits.
    review: Review,
}

fn stream(block: &[Directive], folder: Folder, draft: &mut Draft, notes: &mut Notes) {
    let mut settings = Settings::default();
    let (mut upstreams, mut zones) = (HashMap::new(), Zones::new());
    let directives = block.iter().map(|directive| (directive.at.clone(), directive));
    let review = Review::of(directives, notes, |directive, notes| {
        match (directive.name(), &directive.block) {
            ("upstream", Some(block)) => {
                let [_, name] = directive.words.as_slice() else { return Class::unknown() };
                notes.learn(name);
                upstreams.insert(name.clone(), Upstream::read(block, notes));
            }
            ("server", Some(_)) => {}
            ("limit_conn_zone", None) => {
                let Some((name, key)) = settings::zone(directive) else { return Class::unknown() };
                notes.learn(&name);
                zones.insert(name, key);
            }
            _ => return settings.directive(directive, notes),
        }
        Class::Understood
    });
    let stream = Stream { folder, settings, upstreams, zones, review };
    for directive in block.iter().filter(|directive| directive.name() == "server") {
        if let Some(block) = &directive.block {
            server::import(directive, block, &stream, draft, notes);
        }
    }
}

#[cfg(test)]
mod tests;
