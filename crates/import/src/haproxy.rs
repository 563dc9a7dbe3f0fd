//! haproxy.cfg: frontends and listen sections in mode tcp, with `acl ... src` and the rules that accept and reject.

mod acl;
mod bind;
mod condition;
mod frontend;
mod global;
mod keywords;
mod limits;
mod proxy;
mod rules;
mod section;
mod server;
mod socket_file;

use std::path::Path;

use super::draft::Draft;
use super::files::Folder;
use super::notes::{Foreign, Notes};
use frontend::Frontend;
use global::Global;
use section::Kind;

/// Imports a whole file. Lists and certificates with relative paths are read from the folder of the file.
pub(super) fn import(text: &str, path: &Path, draft: &mut Draft, notes: &mut Notes) {
    let sections = section::read(text, notes);
    let global = Global::read(&sections, Folder::of(path), draft, notes);
    for section in &sections {
        match section.kind {
            Kind::Frontend | Kind::Listen => {
                if let Err(why) = Frontend::import(section, &sections, &global, draft, notes) {
                    notes.left_out(section.line, Foreign(&section.title), why);
                }
            }
            Kind::Backend | Kind::Defaults | Kind::Global => {}
            Kind::Other => {
                notes.left_out(section.line, Foreign(&section.title), "such a section has no counterpart");
            }
        }
    }
}

#[cfg(test)]
mod tests;
