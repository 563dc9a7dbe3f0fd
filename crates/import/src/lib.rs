//! Imports the rules of other programs as a configuration of Portcullis.
//!
//! The module of each program reads its file line by line or block by block, and adds listeners and lists to a draft.
//! Lines that the module cannot carry over go to the notes, with the reason. An address in doubt is never allowed: the
//! draft takes entries only as a review grants them that has classified every directive (`review`).

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

/// The longest file that is imported, in bytes. It is a configuration file; longer lists stand in files of their own.
pub const MAX_BYTES: u64 = 32 << 20;

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
    /// The IP whitelist groups of ApsaraDB.
    Apsaradb,
    /// Any text or JSON with addresses.
    Cidrs,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] =
        [Self::Rinetd, Self::Netsh, Self::Nginx, Self::Haproxy, Self::Apsaradb, Self::Cidrs];

    /// Returns its name on the command line.
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

    /// Returns the file or output that is read, for the help.
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
    /// The configuration; none where nothing could be imported.
    pub yaml: Option<String>,
    /// The lines that were not carried over, each with the reason, as one text.
    pub notes: String,
}

/// Imports the content of the file at `path`, in whatever encoding its program wrote it. `-` is standard input. Files
/// that the configuration names by relative paths are read from the folder of `path`.
#[must_use]
pub fn import(format: Format, bytes: &[u8], path: &Path) -> Imported {
    import_text(format, &text::decode(bytes), path)
}

fn import_text(format: Format, text: &str, path: &Path) -> Imported {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let mut notes = Notes::of(&name);
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

#[cfg(test)]
mod tests;
