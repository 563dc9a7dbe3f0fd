use secrecy::ExposeSecret;

use super::*;

const CONFIG: &str = "\
listeners:
  - {name: public, bind: \"127.0.0.1:6380\", upstream: main, auth: trust, allow: [10.0.0.1]}
upstreams:
  main: {address: \"127.0.0.1:6379\", credentials: {username: app, password: SECRET}}
admin: {token: {file: token}}
";

fn files(secret: &str) -> Files {
    Files::new().with("portcullis.yaml", CONFIG.replace("SECRET", secret)).with("token", "t0ken")
}

#[test]
fn one_newline_at_the_end_of_a_file_is_not_the_secret() {
    for (content, secret) in [
        ("CANARY", "CANARY"),
        ("CANARY\n", "CANARY"),
        ("CANARY\r\n", "CANARY"),
        ("CANARY\n\n", "CANARY\n"),
        (" CANARY \n", " CANARY "),
        ("CANARY\r", "CANARY\r"),
    ] {
        let config = files("{file: secrets/pw}").with("secrets/pw", content).config();
        let credentials = config.upstreams()[0].credentials().unwrap();
        assert_eq!(credentials.password().expose_secret(), secret);
        assert_eq!(config.admin().unwrap().token().unwrap().expose_secret(), "t0ken");
    }
}

#[test]
fn the_environment_serves_too() {
    let config = files("{env: CARGO_MANIFEST_DIR}").config();
    let credentials = config.upstreams()[0].credentials().unwrap();
    assert_eq!(credentials.password().expose_secret(), env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn secrets_are_in_no_debug_output() {
    let loaded = files("{file: pw}").with("pw", "CANARY").load().unwrap();
    let shown = format!("{loaded:?} {loaded:#?}");
    assert!(!shown.contains("CANARY") && !shown.contains("t0ken"));
}

#[test]
fn empty_unreadable_and_too_long_ones_are_errors() {
    let errors = |content: &[u8]| {
        let files = files("{file: pw}").with("pw", content);
        let problems = files.load().unwrap_err();
        assert_eq!((problems[0].line(), problems[0].column()), (4, 83));
        problems[0].message().replace(&files.path("pw").display().to_string(), "pw")
    };
    assert_eq!(errors(b""), "the password in pw is empty");
    assert_eq!(errors(b"\n"), "the password in pw is empty");
    assert_eq!(errors(b"CANARY\xff"), "the password in pw is not valid UTF-8");
    assert_eq!(errors(&[b'x'; 65_537]), "cannot read the password from pw: it is larger than 65536 bytes");
}

#[test]
fn without_secrets_nothing_is_read_but_the_form_is_checked() {
    let load = |secret: &str| {
        let files = files(secret);
        std::fs::remove_file(files.path("token")).unwrap();
        load(&files.path("portcullis.yaml"), &LoadOptions::new().without_secrets())
    };
    let loaded = load("{file: not-there}").unwrap();
    assert_eq!(loaded.config.upstreams()[0].credentials().unwrap().password().expose_secret(), "");
    load("{env: PORTCULLIS_TEST_VARIABLE_THAT_NOBODY_SETS}").unwrap();
    let problems = load("CANARY").unwrap_err();
    assert_eq!(problems[0].message(), "plaintext password in a configuration file");
    assert!(problems[0].hint().unwrap().contains("hash-password"));
    load("{}").unwrap_err();
}

/// `--no-host` does not look at the mode of a file.
#[test]
fn a_password_that_every_local_user_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let files = files("{file: pw}").with("pw", "secret");
    let set = |name: &str, mode| {
        std::fs::set_permissions(files.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let warns = |what: &str, options: &LoadOptions| {
        let start = format!("every local user can read the {what} in ");
        let loaded = load(&files.path("portcullis.yaml"), options).unwrap();
        loaded.warnings.iter().any(|problem| problem.message().starts_with(&start))
    };
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        set("pw", mode);
        set("token", mode);
        for what in ["password", "admin token"] {
            assert_eq!(warns(what, &LoadOptions::new()), warned, "{what} {mode:o}");
            assert!(!warns(what, &LoadOptions::new().without_host()), "{what} {mode:o}");
        }
    }
}
