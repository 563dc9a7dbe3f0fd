use std::sync::Arc;

use portcullis_config::{Address, Cluster, LoadOptions, load};

/// Returns the cluster of a configuration with these nodes and translations.
pub(super) fn cluster(nodes: &[Address], translate: &str) -> Arc<Cluster> {
    let directory = tempfile::tempdir().unwrap();
    let nodes: Vec<String> = nodes.iter().map(|node| format!("'{node}'")).collect();
    let yaml = format!(
        "listeners:\n  - {{name: public, bind: '127.0.0.1:6379', upstream: main, auth: trust, allow: [127.0.0.1]}}\n\
         upstreams: {{main: {{cluster: {{nodes: [{}]}}, translate: {{{translate}}}}}}}\n",
        nodes.join(", ")
    );
    let path = directory.path().join("portcullis.yaml");
    std::fs::write(&path, yaml).unwrap();
    let loaded = load(&path, &LoadOptions::new()).unwrap_or_else(|problems| panic!("{problems:?}"));
    Arc::clone(loaded.config.upstreams()[0].cluster().expect("a cluster"))
}
