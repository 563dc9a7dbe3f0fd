//! Replaces `include` by the directives of the included files.

use std::path::Path;
use std::rc::Rc;

use portcullis_config::message::{Masked, Message, message};

use super::directive::{Directive, parse};
use crate::files::{Folder, is_pattern, matching, read};
use crate::notes::Notes;

/// The most files that are included, so a file that includes itself ends. nginx stops only when it runs out of open
/// files.
const MOST_FILES: usize = 256;

/// The reader of the files that the imported file includes.
pub(super) struct Includes<'n> {
    folder: Folder,
    files: usize,
    notes: &'n mut Notes,
}

impl<'n> Includes<'n> {
    /// Creates the reader. As in nginx, relative paths start from the folder of nginx.conf, in included files too.
    pub(super) fn new(folder: Folder, notes: &'n mut Notes) -> Self {
        Self { folder, files: 0, notes }
    }

    /// Replaces every `include`, also inside `stream` and its blocks. If a file cannot be read, its `include` stays,
    /// with a note.
    pub(super) fn expand(&mut self, directives: Vec<Directive>) -> Vec<Directive> {
        let mut expanded = Vec::with_capacity(directives.len());
        for mut directive in directives {
            if let Some(block) = directive.block.take() {
                // The other blocks of nginx.conf configure web servers and mail, and are not imported.
                let block = match directive.name() {
                    "http" | "mail" | "events" => block,
                    _ => self.expand(block),
                };
                directive.block = Some(block);
            } else if directive.name() == "include" {
                match self.include(&directive) {
                    Ok(included) => {
                        expanded.extend(included);
                        continue;
                    }
                    Err(why) => {
                        self.notes.left_out(&directive.at, &directive, why);
                    }
                }
            }
            expanded.push(directive);
        }
        expanded
    }

    fn include(&mut self, directive: &Directive) -> Result<Vec<Directive>, Message> {
        let [_, name] = directive.words.as_slice() else { return Err("it names no file".into()) };
        let path = self.folder.path(name);
        let files = match is_pattern(name) {
            true => matching(&path).map_err(|error| message!("its folder cannot be read ({})", error))?,
            false => vec![path],
        };
        let mut included = Vec::new();
        for file in files {
            included.extend(self.file(&file)?);
        }
        Ok(included)
    }

    fn file(&mut self, path: &Path) -> Result<Vec<Directive>, Message> {
        self.files += 1;
        if self.files > MOST_FILES {
            return Err(message!("more than {} files are included", MOST_FILES));
        }
        let text =
            read(path).map_err(|error| message!("{} cannot be read ({})", Masked::path(path), error))?;
        let name: Rc<str> = path.display().to_string().into();
        let directives = parse(&text, Some(&name))
            .map_err(|(line, why)| message!("{} is broken in line {}: {}", Masked::path(path), line, why))?;
        Ok(self.expand(directives))
    }
}
