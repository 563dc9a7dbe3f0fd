//! Helpers for unit tests.

use std::sync::Arc;

use portcullis_config::{Config, LoadOptions, load};

use crate::generation::store::Generation;
use crate::metrics::Metrics;

/// Returns a generation with one listener, named `public`.
pub(crate) fn generation() -> Arc<Generation> {
    let config = config_of(
        "upstreams: {main: {address: '127.0.0.1:1'}}\nlisteners: [{name: public, bind: '127.0.0.1:19', upstream: main}]\n",
    );
    Arc::new(Generation::first(config, &Metrics::new(1, Vec::new()), 10))
}

/// Parses this text as a configuration.
pub(crate) fn config_of(yaml: &str) -> Config {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("portcullis.yaml");
    std::fs::write(&path, yaml).expect("a file");
    load(&path, &LoadOptions::new()).unwrap_or_else(|problems| panic!("{problems:?}")).config
}
