use std::path::Path;

use super::*;

#[test]
fn a_plain_file_loads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portcullis.yaml");
    std::fs::write(
        &path,
        "listeners:\n  - {name: public, bind: \"127.0.0.1:6380\", upstream: main, allow: [office, 192.0.2.1]}\n\
         upstreams:\n  main: {address: \"127.0.0.1:6379\"}\n\
         groups:\n  office: [203.0.113.0/24]\n",
    )
    .unwrap();
    let loaded = load(Path::new(&path), &LoadOptions::new()).unwrap();
    assert_eq!(loaded.warnings, []);
}
