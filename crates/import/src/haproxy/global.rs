//! The global section, and the files of certificates that other sections name.

use super::keywords;
use super::section::{Kind, Section};
use crate::at::At;
use crate::draft::Draft;
use crate::files::{Folder, read};
use crate::notes::{Foreign, Notes};
use crate::review::{Class, Review};

/// The settings of the process.
pub(super) struct Global {
    pub(super) folder: Folder,
    certificates: String,
    authorities: String,
    /// Whether HAProxy verifies the certificate of a server whose line has no `verify`.
    pub(super) verifies: bool,
    pub(super) review: Review,
}

impl Global {
    /// Reads all global sections, and limits the clients of the draft.
    pub(super) fn read(sections: &[Section], folder: Folder, draft: &mut Draft, notes: &mut Notes) -> Self {
        let globals = || sections.iter().filter(|section| section.kind == Kind::Global);
        for section in globals() {
            notes.left_out(section.line, Foreign(&section.title), "such a section has no counterpart");
        }
        let (mut certificates, mut authorities, mut verifies) = (String::new(), String::new(), true);
        let lines = globals().flat_map(|section| &section.lines).map(|line| (At::from(line.number), line));
        let review = Review::of(lines, notes, |line, _| {
            match line.word(0) {
                // An uncertain line decides nothing by itself. At worst a path that contains its value does not exist.
                _ if line.uncertain => return keywords::of_global(line),
                "maxconn" => {
                    if let Some(clients) = line.word(1).parse().ok().filter(|clients| *clients > 0) {
                        draft.limit_clients(clients);
                    }
                }
                "crt-base" => line.word(1).clone_into(&mut certificates),
                "ca-base" => line.word(1).clone_into(&mut authorities),
                "ssl-server-verify" => verifies = line.word(1) == "required",
                _ => return keywords::of_global(line),
            }
            Class::Understood
        });
        Self { folder, certificates, authorities, verifies, review }
    }

    /// Returns the paths of a certificate and of its key. HAProxy finds the key in the same file or beside it.
    pub(super) fn pair(&self, name: &str) -> Result<(String, String), &'static str> {
        let certificate = self.path(&self.certificates, name)?;
        let key = format!("{certificate}.key");
        let holds_key = read(certificate.as_ref()).is_ok_and(|text| text.contains("PRIVATE KEY"));
        match !holds_key && std::path::Path::new(&key).exists() {
            true => Ok((certificate, key)),
            false => Ok((certificate.clone(), certificate)),
        }
    }

    /// Returns the path of a CA or a revocation list.
    pub(super) fn ca(&self, name: &str) -> Result<String, &'static str> {
        self.path(&self.authorities, name)
    }

    fn path(&self, base: &str, name: &str) -> Result<String, &'static str> {
        if name.starts_with('@') || name.is_empty() {
            return Err("a certificate that is not in a file");
        }
        let path = match base {
            "" => self.folder.absolute(name),
            base => self.folder.absolute(&std::path::Path::new(base).join(name).display().to_string()),
        };
        match std::path::Path::new(&path).is_dir() {
            true => Err("a folder of certificates is not read: write crt with each of its files"),
            false => Ok(path),
        }
    }
}
