use super::*;

fn play(typed: &str) -> (Result<ForwardArgs, Ended>, String) {
    let mut screen = Vec::new();
    let answer = ask_all(Path::new("portcullis.yaml"), &mut typed.as_bytes(), &mut screen);
    (answer, String::from_utf8(screen).unwrap())
}

#[test]
fn enter_takes_the_defaults() {
    let (forward, screen) = play("\n\n\n\n");
    let forward = forward.unwrap();
    assert_eq!((forward.listen, forward.to.as_deref()), (vec![LISTEN.to_owned()], Some(TO)));
    assert_eq!((forward.allow, forward.password_file), (vec![ALLOW.to_owned()], None));
    assert!(!screen.contains("error"), "{screen}");
}

#[test]
fn a_bad_answer_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let typed = format!(
        "6380\n127.0.0.1:6380\nredis\nredis:6379\n10.1.2.3/8 192.0.2.1\n10.0.0.0/8, 192.0.2.1\n/nonexistent\n{}\n",
        password.display()
    );
    let (forward, screen) = play(&typed);
    let forward = forward.unwrap();
    assert_eq!(
        (forward.listen, forward.to.as_deref()),
        (vec!["127.0.0.1:6380".to_owned()], Some("redis:6379"))
    );
    assert_eq!(forward.allow, ["10.0.0.0/8", "192.0.2.1"]);
    assert_eq!(forward.password_file.as_deref(), password.to_str());
    assert_eq!(screen.matches("error: ").count(), 4, "{screen}");
    assert!(!screen.contains("--"), "a question is not an option: {screen}");
}

#[test]
fn an_input_that_ends_gives_nothing() {
    for typed in ["", "\n", "\n\n\n", "6380\n"] {
        let (forward, _) = play(typed);
        assert!(matches!(forward, Err(Ended::Input)), "{typed:?}");
    }
}

/// Two answers that contradict each other must not end in no file: the user corrects either of them.
#[test]
fn an_earlier_answer_can_be_corrected() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let password = password.display();
    for (again, allow, file) in [
        (format!("10.0.0.0/8\n{password}\n"), "10.0.0.0/8", Some(password.to_string())),
        ("0.0.0.0/0\n\n".to_owned(), "0.0.0.0/0", None),
    ] {
        let (forward, screen) = play(&format!("\n\n0.0.0.0/0\n{password}\n{again}"));
        let forward = forward.unwrap();
        assert_eq!((forward.allow, forward.password_file), (vec![allow.to_owned()], file));
        assert_eq!(screen.matches("error: listener 'public' admits the whole IPv4 internet").count(), 1);
        assert!(screen.contains("These answers do not fit together"), "{screen}");
    }
}

#[test]
fn an_address_that_is_refused_is_named() {
    for (typed, shown) in [
        ("gateway\n\n\n\n\n", "'gateway' is not a valid listen address"),
        ("\nredis\n\n\n\n", "'redis' is not a valid upstream address"),
        ("\nredis:99999\n\n\n\n", "'redis:99999' is not a valid upstream address"),
        ("\nredis://:hunter2@redis:6379\n\n\n\n", "'redis://***@host:port' is not a valid upstream address"),
        ("\n\n10.0.0.1 home.dyndns.example\n\n\n", "'home.dyndns.example': a host name"),
    ] {
        let (forward, screen) = play(typed);
        assert!(forward.is_ok() && screen.contains(shown), "{screen}");
        assert!(!screen.contains("hunter2"), "{screen}");
    }
}

#[test]
fn a_password_in_place_of_its_file_is_not_repeated() {
    for typed in ["hunter2", "pass/word2!", "-----BEGIN hunter2"] {
        let (forward, screen) = play(&format!("\n\n\n{typed}\n\n"));
        assert_eq!(forward.unwrap().password_file, None);
        assert!(screen.contains("cannot read the password from this file: "), "{screen}");
        assert!(screen.contains("hint: type the name of a file that holds the password, not the password"));
        assert!(!screen.contains("hunter2") && !screen.contains("word2"), "{screen}");
    }
}
