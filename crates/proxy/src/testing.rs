//! Helpers of the unit tests.

use portcullis_config::{Config, LoadOptions, load};

/// Returns the configuration of this text.
pub(crate) fn config_of(yaml: &str) -> Config {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("portcullis.yaml");
    std::fs::write(&path, yaml).expect("a file");
    load(&path, &LoadOptions::new()).unwrap_or_else(|problems| panic!("{problems:?}")).config
}
