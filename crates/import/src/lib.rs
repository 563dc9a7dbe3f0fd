//! Converts the rules of other programs into a configuration of Portcullis.
//!
//! The module of each program reads the file line by line or block by block, and adds listeners and lists to a draft. A
//! line that the module cannot carry over goes to the notes, with the reason. An address in doubt is never allowed: the
//! draft takes entries only from a review that has classified every directive (`review`).

#![forbid(unsafe_code)]

mod apsaradb;
mod at;
mod cidrs;
mod draft;
mod express;
mod files;
mod haproxy;
mod netsh;
mod network;
mod nginx;
mod notes;
mod place;
mod review;
mod rinetd;
mod sources;
mod text;
mod words;

use std::path::Path;

use draft::Draft;
use notes::Notes;
pub use notes::shown;
use portcullis_config::OddCharacter;
use portcullis_config::message::message;

/// The size in bytes of the longest file that can be imported. A configuration file is far shorter, and long lists
/// belong into files of their own.
pub const MAX_BYTES: u64 = 32 << 20;

/// More notes of lines with odd characters say nothing new.
const MOST_ODD_LINES: usize = 20;

/// A program whose rules can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// rinetd.
    Rinetd,
    /// Windows' `netsh interface portproxy`.
    Netsh,
    /// nginx with a stream block.
    Nginx,
    /// HAProxy with frontends in mode tcp.
    Haproxy,
    /// The IP whitelist groups of ApsaraDB (Alibaba Cloud).
    Apsaradb,
    /// Any text or JSON with addresses.
    Cidrs,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] =
        [Self::Rinetd, Self::Netsh, Self::Nginx, Self::Haproxy, Self::Apsaradb, Self::Cidrs];

    /// Returns the name of the format on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rinetd => "rinetd",
            Self::Netsh => "netsh",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Apsaradb => "apsaradb",
            Self::Cidrs => "cidrs",
        }
    }

    /// Returns a description of the file or the output that this format reads, for the help.
    #[must_use]
    pub const fn input(self) -> &'static str {
        match self {
            Self::Rinetd => "rinetd.conf",
            Self::Netsh => {
                "Output of 'netsh interface portproxy show all' or 'dump', or a script with such commands"
            }
            Self::Nginx => "nginx.conf with a stream block, or a file that one includes",
            Self::Haproxy => "haproxy.cfg with frontends in mode tcp",
            Self::Apsaradb => {
                "ApsaraDB's whitelist groups: the answer of its API as JSON, or the console's text"
            }
            Self::Cidrs => "Any text or JSON with addresses: security groups, Terraform, ranges of clouds",
        }
    }
}

/// The result of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The configuration. `None` if nothing could be imported.
    pub yaml: Option<String>,
    /// The lines that were not carried over, each with the reason, as one text.
    pub notes: String,
}

/// Imports the content of the file at `path`, in any encoding that its program writes. The path `-` means standard
/// input. If the file names other files by relative paths, they are read from the folder of `path`.
#[must_use]
pub fn import(format: Format, bytes: &[u8], path: &Path) -> Imported {
    import_text(format, &text::decode(bytes), path)
}

fn import_text(format: Format, text: &str, path: &Path) -> Imported {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let mut notes = Notes::of(&name);
    note_odd_lines(text, &mut notes);
    let mut draft =
        Draft::new(shown(&format!("Imported from {name} by: portcullis import {}", format.name())));
    let whole = match format {
        Format::Rinetd => {
            rinetd::import(text, &mut draft, &mut notes);
            Ok(())
        }
        Format::Netsh => {
            netsh::import(text, &mut draft, &mut notes);
            Ok(())
        }
        Format::Nginx => nginx::import(text, path, &mut draft, &mut notes),
        Format::Haproxy => {
            haproxy::import(text, path, &mut draft, &mut notes);
            Ok(())
        }
        Format::Apsaradb => apsaradb::import(text, &mut draft, &mut notes).map_err(|why| (1, why)),
        Format::Cidrs => cidrs::import(text, path, &mut draft, &mut notes).map_err(|why| (1, why)),
    };
    if let Err((line, why)) = whole {
        notes.left_out(line, "the file", why);
        return Imported { yaml: None, notes: notes.to_string() };
    }
    let yaml = (!draft.is_empty()).then(|| draft.finish(&mut notes));
    Imported { yaml, notes: notes.to_string() }
}

/// Notes lines that a reader can see as several lines. What stands behind such a character belongs to the same line, as
/// in the other program: after a `#`, for example, it is a comment.
fn note_odd_lines(text: &str, notes: &mut Notes) {
    // JSON has no lines.
    if text.trim_start().starts_with(['{', '[']) {
        return;
    }
    let lines = (1_usize..).zip(text.split('\n'));
    let odd = lines.filter_map(|(line, written)| {
        // A CR at the end of the line belongs to CRLF.
        let odd = OddCharacter::first(written.strip_suffix('\r').unwrap_or(written))?;
        Some((line, odd))
    });
    for (line, odd) in odd.take(MOST_ODD_LINES) {
        let message = match odd.is_invisible() {
            true => message!("column {} has {}: the line is not what a reader sees", odd.column, odd),
            false => message!(
                "column {} has {}, which does not end the line: check what stands behind it",
                odd.column,
                odd
            ),
        };
        notes.remark(line, message);
    }
}

#[cfg(test)]
mod tests;
