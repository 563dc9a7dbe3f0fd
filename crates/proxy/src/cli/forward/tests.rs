use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use portcullis_config::{Auth, LoadOptions, Loaded, load, read_document};

use super::*;

fn args(listen: &str, to: &str, allow: &[&str]) -> ForwardArgs {
    ForwardArgs {
        listen: vec![listen.to_owned()],
        to: Some(to.to_owned()),
        allow: allow.iter().map(|word| (*word).to_owned()).collect(),
        ..ForwardArgs::default()
    }
}

/// The problems, each as a line.
fn problems(args: &ForwardArgs) -> Vec<String> {
    let document = Arc::new(args.document(Comments::Without).unwrap());
    match read_document(&document, &LoadOptions::new()).result {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn options_and_their_yaml_mean_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("pass: \"word\" #1");
    std::fs::write(&password, "secret\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut forwards = vec![
        args("0.0.0.0:6380", "redis:6379", &["203.0.113.0/24"]),
        args("[::1]:6380", "unix:/run/redis: 1.sock", &["2001:db8::/32", "10.0.0.1", "10.0.0.2"]),
        args("unix:gate.sock", "redis.internal:6379", &["unix", "127.0.0.1"]),
        ForwardArgs {
            admin: Some("off".to_owned()),
            ..args("127.0.0.1:1", "[2001:db8::7]:6379", &["10.0.0.1"])
        },
        ForwardArgs { admin: Some("127.0.0.1:9".to_owned()), ..args("127.0.0.1:1", "r:1", &["10.0.0.1"]) },
    ];
    forwards[0].listen.push("[::]:6380".to_owned());
    let password = password.to_str().map(str::to_owned);
    let with_password = forwards
        .clone()
        .into_iter()
        .map(|forward| ForwardArgs { password_file: password.clone(), ..forward });
    let with_password: Vec<_> = with_password.collect();
    for forward in forwards.iter().chain(&with_password) {
        let plain = Arc::new(forward.document(Comments::Without).unwrap());
        let Loaded { config, warnings } = read_document(&plain, &LoadOptions::new()).result.unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let [listener] = config.listeners() else { panic!("{config:?}") };
        let trust = forward.password_file.is_some();
        assert_eq!(listener.auth(), if trust { Auth::Trust } else { Auth::Passthrough });
        assert_eq!(listener.acl().is_some_and(|acl| acl.rules().is_public()), trust);
        assert_eq!(config.policy().allowed_entries(0), forward.allow.len());
        for comments in [Comments::With, Comments::Without] {
            let text = forward.document(comments).unwrap().text().to_owned();
            // Elsewhere, because relative paths have become absolute.
            let file = dir.path().join("portcullis.yaml");
            std::fs::write(&file, &text).unwrap();
            let loaded =
                load(&file, &LoadOptions::new()).unwrap_or_else(|problems| panic!("{text}{problems:?}"));
            assert!(loaded.warnings.is_empty(), "{text}{:?}", loaded.warnings);
            let shown = |config: &portcullis_config::Config| {
                format!("{:?} {:?} {:?}", config.listeners(), config.upstreams(), config.admin())
            };
            assert_eq!(shown(&loaded.config), shown(&config), "{text}");
            assert_eq!(loaded.config.policy().allowed_entries(0), forward.allow.len());
        }
    }
}

#[test]
fn problems_name_the_option() {
    for (forward, start) in [
        (args("6380", "r:1", &["10.0.0.1"]), "--listen: error: '6380' is not a valid listen address"),
        (args("127.0.0.1:1", "r", &["10.0.0.1"]), "--to: error: 'r' is not a valid upstream address"),
        (args("127.0.0.1:1", "r:1", &["10.0.0.1", "10.1.2.3/8"]), "--allow: error: "),
        (args("127.0.0.1:1", "r:1", &["10.0.0.1", "office"]), "--allow: error: "),
        (
            ForwardArgs {
                password_file: Some("/nonexistent".to_owned()),
                ..args("127.0.0.1:1", "r:1", &["10.0.0.1"])
            },
            "--password-file: error: cannot read the password from /nonexistent",
        ),
        (
            ForwardArgs { password_file: Some(String::new()), ..args("127.0.0.1:1", "r:1", &["10.0.0.1"]) },
            "--password-file: error: file has no value",
        ),
        (
            ForwardArgs { admin: Some("0.0.0.0:9".to_owned()), ..args("127.0.0.1:1", "r:1", &["10.0.0.1"]) },
            "--admin: error: ",
        ),
        (
            args("127.0.0.1:1", "r:1", &["0.0.0.0/0"]),
            "--allow: warning: listener 'public' admits the whole IPv4 internet",
        ),
    ] {
        let found = problems(&forward);
        assert!(found.len() == 1 && found[0].starts_with(start), "{forward:?}: {found:#?}");
    }
    // A value that is not YAML, or more than one line of it.
    for odd in ["a\nb: 1", "\u{7}", "'", "\"", "#", "{a: b}", "", "- x", "*a", "\u{85}"] {
        for forward in [
            args(odd, "r:1", &["10.0.0.1"]),
            args("127.0.0.1:1", odd, &["10.0.0.1"]),
            args("127.0.0.1:1", "r:1", &[odd]),
        ] {
            let found = problems(&forward);
            assert!(
                !found.is_empty() && found.iter().all(|line| line.starts_with("--")),
                "{odd:?}: {found:#?}"
            );
        }
    }
}

#[test]
fn scalars_are_plain_where_that_is_safe() {
    for text in ["0.0.0.0:6380", "203.0.113.0/24", "redis.internal:6379"] {
        assert_eq!(scalar(text), text);
    }
    for text in
        ["redis:6379", "[::]:1", "2001:db8::/32", "1.5", "a.b:", "off", "", "x.y #", "unix:/run/r: .sock"]
    {
        assert_eq!(scalar(text), serde_json::json!(text).to_string());
    }
}

/// No hint shows a mapping: it cannot be an argument of these options.
#[test]
fn hints_name_what_can_be_typed() {
    let words = [
        "home.dyndns.example",
        "office",
        "{host: a.example}",
        "./list.txt",
        "https://a.example/list",
        "@",
        "any",
    ];
    for word in words {
        let problems = problems(&args("127.0.0.1:1", "r:1", &[word]));
        let shown = problems.iter().find(|line| line.starts_with("--allow: error: ")).unwrap();
        let hint = shown.split("hint: ").nth(1).unwrap_or_default();
        assert!(!hint.contains('{'), "{shown}");
    }
    let home = problems(&args("127.0.0.1:1", "r:1", &["home.dyndns.example"]));
    assert!(home[0].contains("in a configuration file, addresses to refuse"), "{home:?}");
    let admin =
        ForwardArgs { admin: Some("0.0.0.0:9377".to_owned()), ..args("127.0.0.1:1", "r:1", &["10.0.0.1"]) };
    assert!(problems(&admin)[0].contains("hint: bind it to 127.0.0.1 or unix:/path; a configuration file"));
}

#[test]
fn a_forward_to_itself_is_an_error() {
    for (listen, to) in [("127.0.0.1:6380", "127.0.0.1:6380"), ("0.0.0.0:6380", "localhost:6380")] {
        let problems = problems(&args(listen, to, &["10.0.0.1"]));
        let wanted = format!("--to: error: {to} is an address that this proxy listens on");
        assert!(problems[0].starts_with(&wanted) && !problems[0].contains("see line"), "{problems:?}");
    }
}
