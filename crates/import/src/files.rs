//! Reads the files that the imported file names.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use portcullis_config::Input;

use super::text::decode;

/// The size in bytes of the largest file that is read for the imported file. A longer list belongs into a file that a
/// group names.
const MOST_BYTES: u64 = 32 << 20;

/// The folder that relative paths start from.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Returns the folder that contains the file. For standard input it is the working directory.
    pub(super) fn of(file: &Path) -> Self {
        Self(file.parent().unwrap_or_else(|| Path::new("")).to_owned())
    }

    /// Returns the path of a file that is named relative to the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the absolute path of a file, for the configuration, which may be stored in another folder.
    pub(super) fn absolute(&self, name: &str) -> String {
        let path = self.path(name);
        std::path::absolute(&path).unwrap_or(path).display().to_string()
    }
}

/// Reads a file as text.
///
/// # Errors
/// The file cannot be read, or is too large.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    Input::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it has more than {MOST_BYTES} bytes")));
    }
    Ok(decode(&bytes))
}

/// Returns the files that match a path with `*`, `?` and `[...]`, sorted as glob(3) does.
///
/// # Errors
/// A folder on the way cannot be read, so the matching files are not known.
pub(super) fn matching(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str().to_string_lossy().into_owned();
        if !is_pattern(&part) {
            for path in &mut found {
                path.push(&part);
            }
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let folder_name = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            for entry in std::fs::read_dir(folder_name)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if matches(part.as_bytes(), name.as_bytes()) {
                    next.push(folder.join(name));
                }
            }
        }
        next.sort();
        found = next;
    }
    Ok(found)
}

/// Returns whether the path is a pattern for glob(3).
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Returns whether the file name matches the pattern. Only a dot in the pattern matches a leading dot.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    matches_here(pattern, name)
}

fn matches_here(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| matches_here(rest, &name[at..])),
        ([b'?', pattern @ ..], [_, name @ ..]) => matches_here(pattern, name),
        ([b'[', set @ ..], [c, name @ ..]) => match set.iter().skip(1).position(|byte| *byte == b']') {
            Some(end) => is_in(&set[..=end], *c) && matches_here(&set[end + 2..], name),
            None => *c == b'[' && matches_here(set, name),
        },
        ([one, pattern @ ..], [other, name @ ..]) => one == other && matches_here(pattern, name),
        _ => false,
    }
}

/// Returns whether the set contains the byte. A set is written as `a-z_`, or as `!a-z_` for all other bytes.
fn is_in(set: &[u8], byte: u8) -> bool {
    let (wanted, set) = match set {
        [b'!' | b'^', rest @ ..] => (false, rest),
        set => (true, set),
    };
    let mut rest = set;
    let mut found = false;
    while let [first, tail @ ..] = rest {
        rest = match tail {
            [b'-', last, tail @ ..] => {
                found |= (*first..=*last).contains(&byte);
                tail
            }
            tail => {
                found |= *first == byte;
                tail
            }
        };
    }
    found == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_glob_does() {
        for (pattern, name, matched) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", false),
            ("*.conf", "a.conf~", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[x", "[x", true),
            ("*", "anything", true),
            ("**a", "bca", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), matched, "{pattern} {name}");
        }
    }

    #[test]
    fn a_missing_folder_is_an_error_and_no_match_is_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.conf"), "").unwrap();
        std::fs::write(folder.path().join("a.conf"), "").unwrap();
        let found = matching(&folder.path().join("*.conf")).unwrap();
        assert_eq!(found, [folder.path().join("a.conf"), folder.path().join("b.conf")]);
        assert!(matching(&folder.path().join("*.none")).unwrap().is_empty());
        assert!(matching(&folder.path().join("none/*.conf")).is_err());
    }
}
