use super::*;

fn server(name: &str) -> Address {
    Address::Host { host: name.to_owned(), port: 6379 }
}

/// Returns the round of three sentinels with answers such as `a7 b6`: a server and an epoch each.
fn round(answers: &str) -> Round {
    let claims = answers.split_whitespace().map(|answer| {
        let (name, epoch) = answer.split_at(1);
        Claim { address: server(name), epoch: epoch.parse().expect("an epoch") }
    });
    Round::new(3, claims.collect())
}

/// Returns roles such as `a:master b:replica`.
fn roles(told: &str) -> Roles {
    let mut roles = Roles::default();
    for one in told.split_whitespace() {
        let (name, role) = one.split_once(':').expect("a role");
        let role = match role {
            "master" => Role::Master,
            "replica" => Role::Replica,
            "silent" => Role::Silent,
            _ => Role::Untold,
        };
        roles.add(server(name), role);
    }
    roles
}

/// Returns the verdict about a view such as `a7`, or `-` for none, in short: `b8`, `stays`, `a8 confirmed`, `asks ab`.
fn judged(view: &str, answers: &str, told: &str, is_epoch_gone: bool) -> String {
    let current = (view != "-").then(|| {
        let (name, epoch) = view.split_at(1);
        Master { address: server(name), epoch: epoch.parse().expect("an epoch") }
    });
    let roles = roles(told);
    let known = Known { current: current.as_ref(), roles: &roles, is_epoch_gone };
    let name = |address: &Address| address.to_string().chars().take(1).collect::<String>();
    match round(answers).judge(known) {
        Verdict::Undecided => "stays".to_owned(),
        Verdict::Confirmed(epoch) => format!("confirmed {epoch}"),
        Verdict::Ask(servers) => format!("asks {}", servers.iter().map(name).collect::<String>()),
        Verdict::Moves(master) => format!("{}{}", name(&master.address), master.epoch),
    }
}

#[test]
fn verdicts() {
    let all = "a:master b:master c:master x:master";
    for (view, answers, told, expected) in [
        // The highest epoch decides.
        ("a7", "a7 a7 a7", "", "confirmed 7"),
        ("a7", "a7 a7", "", "confirmed 7"),
        ("a7", "b8 b8 a7", "", "asks ab"),
        ("a7", "b8 b8 a7", all, "b8"),
        ("a7", "b8 b8 b8", "a:master b:untold", "b8"),
        ("a7", "b8 b8 b8", "a:silent b:silent", "b8"),
        // A replica gets no command.
        ("a7", "b8 b8 b8", "a:silent b:replica", "stays"),
        // One of three moves nothing, whatever it says and whoever is down.
        ("a7", "x999 a7 a7", all, "confirmed 7"),
        ("a7", "x999 a7 a7", "a:silent x:master", "confirmed 7"),
        ("a7", "x999 b8 a7", "a:silent x:master b:master", "stays"),
        ("a7", "a999 b8 b8", all, "b8"),
        // A stale sentinel that returns.
        ("b8", "b8 b8 a7", all, "confirmed 8"),
        ("b8", "b8 a7", all, "confirmed 8"),
        ("b8", "a7 a7 b8", all, "stays"),
        // One of two, or the only one, needs the roles.
        ("a7", "b8 a7", "", "asks ab"),
        ("a7", "b8 a7", "a:master b:master", "confirmed 7"),
        ("a7", "b8 a7", "a:replica b:master", "b8"),
        ("a7", "b8 a7", "a:silent b:master", "b8"),
        ("a7", "b8 a7", "a:silent b:untold", "stays"),
        ("a7", "b8", "a:master b:master", "stays"),
        ("a7", "b8", "a:silent b:master", "b8"),
        ("a7", "b6", "a:silent b:master", "b6"),
        ("a7", "b6", "a:master b:master", "stays"),
        ("a7", "a7", "", "confirmed 7"),
        // Equal epochs: the other server if it says master, then the majority, then the current one.
        ("a7", "b7 b7 a7", all, "b7"),
        ("a7", "b7 b7 a7", "a:master b:untold", "b7"),
        ("a7", "b7 a7 a7", all, "confirmed 7"),
        ("a7", "b7 a7", "a:master b:master", "confirmed 7"),
        ("a7", "b7 a7", "a:replica b:master", "b7"),
        ("a7", "b7", "a:silent b:master", "b7"),
        // No view yet.
        ("-", "a7 a7 a7", "a:master", "a7"),
        ("-", "a7 a7 a7", "a:untold", "a7"),
        ("-", "a7 a7 a7", "a:replica", "stays"),
        ("-", "a7", "", "asks a"),
        ("-", "a7", "a:master", "a7"),
        ("-", "a7", "a:untold", "stays"),
        ("-", "x999 a7 a7", all, "a7"),
        ("-", "a7 b6", all, "a7"),
        ("-", "a7 a6", "a:untold", "a7"),
        ("-", "a7 a6", "a:silent", "stays"),
        ("-", "a7 a5 b6", all, "a7"),
        ("-", "", "", "stays"),
        ("a7", "", "", "stays"),
    ] {
        assert_eq!(judged(view, answers, told, false), expected, "{view}: {answers} ({told})");
    }
}

#[test]
fn a_lower_epoch_counts_when_the_epoch_of_the_view_is_gone() {
    let roles = "a:master b:master";
    assert_eq!(judged("a41", "b1 b1 b1", roles, false), "stays");
    assert_eq!(judged("a41", "b1 b1 b1", roles, true), "b1");
    assert_eq!(judged("a41", "b1 b1 b1", "a:silent b:master", false), "b1");
    assert_eq!(judged("a41", "a0 a0 a0", "", false), "confirmed 0");
    // With fewer than half of the sentinels, the epoch may be known to the others.
    assert_eq!(judged("a41", "b1", roles, true), "stays");
}

#[test]
fn names_are_compared_without_case() {
    let claim = |host: &str| Claim { address: server(host), epoch: 1 };
    assert!(Round::new(3, vec![claim("redis-1.example"), claim("Redis-1.Example")]).agrees());
    assert!(Round::new(3, vec![claim("2001:db8::1"), claim("2001:DB8:0::1")]).agrees());
    assert!(!Round::new(3, vec![claim("192.0.2.1"), claim("192.0.2.2")]).agrees());
}
