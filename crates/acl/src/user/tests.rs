use super::*;

fn users() -> Users {
    let user = |name: &str, passwords: &[&str]| {
        User::new(name, passwords.iter().map(|password| Secret::of(password.as_bytes())).collect())
    };
    Users::new(vec![
        user("reporting", &["old", "new"]),
        user("default", &["pw", "reporting:odd", "a:b"]),
        user("a", &["b", "c:d"]),
        user("mute", &[]),
    ])
    .unwrap()
}

fn who(name: Option<&str>, password: &str) -> Option<String> {
    let users = users();
    let id = users.authenticate(name.map(str::as_bytes), password.as_bytes())?;
    Some(users.get(id).unwrap().name().to_owned())
}

#[test]
fn every_form_of_credentials_finds_its_user() {
    let of = |name: &str| Some(name.to_owned());
    assert_eq!(who(None, "pw"), of("default"));
    assert_eq!(who(Some("default"), "pw"), of("default"));
    assert_eq!(who(Some("reporting"), "old"), of("reporting"));
    assert_eq!(who(Some("reporting"), "new"), of("reporting"), "a user may have two secrets");
    assert_eq!(who(None, "reporting:new"), of("reporting"));
    assert_eq!(who(Some("default"), "reporting:new"), of("reporting"), "RESP3 clients send the name default");
    assert_eq!(who(None, "a:c:d"), of("a"), "only the first colon counts");
}

#[test]
fn a_colon_may_be_in_a_password() {
    assert_eq!(who(None, "reporting:odd"), Some("default".to_owned()));
    assert_eq!(who(None, "a:b"), Some("default".to_owned()), "both match: the whole password has priority");
    assert_eq!(who(Some("a"), "c:d"), Some("a".to_owned()));
}

#[test]
fn other_credentials_find_no_user() {
    for (name, password) in [
        (None, ""),
        (None, "wrong"),
        (None, "old"),
        (None, "nobody:pw"),
        (None, ":pw"),
        (None, "reporting:"),
        (None, "Reporting:new"),
        (None, "mute:"),
        (Some("reporting"), "pw"),
        (Some("reporting"), "reporting:new"),
        (Some("a"), "reporting:new"),
        (Some(""), "pw"),
        (Some("nobody"), "pw"),
        (Some("DEFAULT"), "pw"),
        (Some("mute"), ""),
    ] {
        assert_eq!(who(name, password), None, "{name:?} {password:?}");
    }
    assert!(Users::default().authenticate(None, b"pw").is_none());
}

/// The output of `printf secret | sha256sum`.
const DIGEST: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

#[test]
fn digests_are_those_of_redis() {
    let secret = Secret::from_hex(DIGEST).unwrap();
    let upper = Secret::from_hex(&DIGEST.to_ascii_uppercase()).unwrap();
    assert_eq!(*secret.0, *Secret::of(b"secret").0);
    assert_eq!(*upper.0, *secret.0);
    for wrong in
        ["", "5e88", &DIGEST[1..], &DIGEST.replace('2', "g"), &format!("#{}", &DIGEST[1..]), &"é".repeat(32)]
    {
        assert_eq!(Secret::from_hex(wrong).unwrap_err(), NotADigest, "{wrong}");
    }
}

#[test]
fn debug_output_hides_secrets() {
    let shown = format!("{:?} {:?}", users(), Secret::of(b"secret"));
    assert!(shown.contains("redacted") && !shown.contains("43") && !shown.contains("2b"), "{shown}");
}

#[test]
fn refuses_two_users_with_the_same_name() {
    let user = || User::new("twin", Vec::new());
    assert_eq!(Users::new(vec![user(), user()]).unwrap_err(), NamedTwice("twin".into()));
}
