use std::fs;

use portcullis_config::UnixSocket;

use super::*;

#[test]
fn what_a_process_holds_is_known_by_its_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let (config, other) = (directory.path().join("portcullis.yaml"), directory.path().join("other.yaml"));
    let tcp = |text: &str| Bind::Tcp { addr: text.parse().unwrap(), v6only: false };
    let unix = |name: &str| Bind::Unix(UnixSocket::at(directory.path().join(name)));
    let mut held = Held::new(&config);
    assert!(HeldElsewhere::by(&config).0.is_empty());
    held.follow(&[tcp("127.0.0.1:6379"), tcp("[::]:6380"), unix("a.sock")]);
    let seen = HeldElsewhere::by(&config);
    assert!(HeldElsewhere::by(&other).0.is_empty());
    for (bind, has) in [
        (tcp("127.0.0.1:6379"), true),
        (tcp("127.0.0.2:6379"), false),
        (tcp("0.0.0.0:6379"), true),
        (tcp("[::1]:6380"), true),
        (tcp("[::1]:6381"), false),
        (unix("a.sock"), true),
        (unix("./a.sock"), true),
        (unix("b.sock"), false),
    ] {
        assert_eq!(seen.has(Address::of(&bind)), has, "{bind}");
    }
    held.follow(&[tcp("127.0.0.1:6379")]);
    assert!(!HeldElsewhere::by(&config).has(Address::of(&tcp("[::]:6380"))));
    drop(held);
    assert!(HeldElsewhere::by(&config).0.is_empty());
}

#[test]
fn a_link_to_the_directory_is_the_same_place() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("real"), directory.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    assert_eq!(prefix(&real.join("portcullis.yaml")), prefix(&link.join("portcullis.yaml")));
}
