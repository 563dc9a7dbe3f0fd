//! `portcullis version`: the version, the commit and the build.

use std::process::ExitCode;

use super::print;

/// Version, commit and build, as `--version` prints them after the name.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("PORTCULLIS_BUILD_COMMIT"),
    ", ",
    env!("PORTCULLIS_BUILD_PROFILE"),
    ", ",
    env!("PORTCULLIS_BUILD_TARGET"),
    ")"
);

/// Options of `version`.
#[derive(clap::Args, Clone, Debug)]
pub struct VersionArgs {
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints the version to standard output. Exit 0.
pub fn run(args: &VersionArgs) -> ExitCode {
    if !args.json {
        return print(format!("portcullis {VERSION}\n").as_bytes());
    }
    let facts = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": env!("PORTCULLIS_BUILD_COMMIT"),
        "profile": env!("PORTCULLIS_BUILD_PROFILE"),
        "target": env!("PORTCULLIS_BUILD_TARGET"),
    });
    print(format!("{facts:#}\n").as_bytes())
}
