//! URLs of admin endpoints.

use std::path::PathBuf;

use super::*;

#[test]
fn urls_of_endpoints() {
    let tcp = |host: &str, port| Ok(At::Tcp { host: host.to_owned(), port });
    for (url, meant) in [
        ("http://127.0.0.1:9377", tcp("127.0.0.1", 9377)),
        ("http://gate.example:80/", tcp("gate.example", 80)),
        ("http://[::1]:9377", tcp("[::1]", 9377)),
        ("unix:/run/portcullis/admin.sock", Ok(At::Unix(PathBuf::from("/run/portcullis/admin.sock")))),
        ("https://127.0.0.1:9377", Err(BadUrl::Tls)),
        ("127.0.0.1:9377", Err(BadUrl::Form)),
        ("http://127.0.0.1", Err(BadUrl::NoPort)),
        ("http://[::1]", Err(BadUrl::NoPort)),
        ("http://::1:9377", Err(BadUrl::Form)),
        ("http://user:password@gate:9377", Err(BadUrl::Form)),
        ("http://gate:9377/status", Err(BadUrl::Form)),
        ("http://gate:99999", Err(BadUrl::Form)),
        ("http://", Err(BadUrl::Form)),
        ("unix:", Err(BadUrl::Form)),
    ] {
        assert_eq!(At::parse(url), meant, "{url}");
    }
}

#[test]
fn the_newline_is_no_part_of_a_token() {
    use secrecy::ExposeSecret;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "one two\r\n").unwrap();
    assert_eq!(read_token(&file).unwrap().expose_secret(), "one two");
    std::fs::write(&file, "\n").unwrap();
    assert!(read_token(&file).unwrap_err().to_string().contains("empty"));
    assert!(read_token(&directory.path().join("absent")).is_err());
}
