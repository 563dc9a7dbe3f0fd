//! Gives the binary its commit and build, for `portcullis version`.
//!
//! The commit is the value of the variable `PORTCULLIS_COMMIT`. Without it, a release build asks git. Other builds do not,
//! so that a commit does not rebuild the crate. In a source archive there is neither, and the commit is unknown.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that names the commit, for builds without the directory `.git`.
const COMMIT: &str = "PORTCULLIS_COMMIT";

/// A SHA-256 of git has 64 digits.
const LONGEST: usize = 64;

/// So many digits tell the commits of a repository apart.
const SHORT: usize = 12;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={COMMIT}");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = env::var(COMMIT).ok().filter(|commit| !commit.is_empty());
    let commit = commit.or_else(|| if is_release { from_git() } else { None });
    let commit = commit.filter(|commit| is_commit(commit)).unwrap_or_else(|| "unknown".to_owned());
    let short = if commit.bytes().all(|byte| byte.is_ascii_hexdigit()) { SHORT } else { LONGEST };
    println!("cargo:rustc-env=PORTCULLIS_BUILD_COMMIT={commit:.short$}");
    println!("cargo:rustc-env=PORTCULLIS_BUILD_PROFILE={}", if is_release { "release" } else { "debug" });
    println!("cargo:rustc-env=PORTCULLIS_BUILD_TARGET={}", env::var("TARGET").unwrap_or_default());
}

/// Returns the commit of the working tree, and has cargo run this again after the next commit or checkout.
fn from_git() -> Option<String> {
    let top = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).parent()?.parent()?.to_owned();
    // The repository around an unpacked archive is another one.
    if !top.join(".git").exists() {
        return None;
    }
    // Each commit and checkout adds a line to the log. Cargo would take a file that does not exist for one that changes.
    let watched = ["logs/HEAD", "HEAD"].map(|file| git(&top, &["rev-parse", "--git-path", file]));
    let watched =
        watched.into_iter().flatten().map(|file| top.join(file)).find(|file: &PathBuf| file.exists());
    println!("cargo:rerun-if-changed={}", watched?.display());
    git(&top, &["rev-parse", "HEAD"])
}

fn git(top: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(top).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// A name of a commit or of a release, and nothing that cargo would take for another instruction.
fn is_commit(text: &str) -> bool {
    text.len() <= LONGEST && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_+".contains(c))
}
