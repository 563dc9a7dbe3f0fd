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
