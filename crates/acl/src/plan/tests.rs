use portcullis_resp::command::keys::Frame;
use portcullis_resp::command::lookup;
use portcullis_resp::encode;
use proptest::prelude::*;

use super::*;

fn rules(text: &str) -> Arc<CommandRules> {
    Arc::new(CommandRules::parse(text).unwrap())
}

fn plan(listener: &str) -> CommandPlan {
    CommandPlan::new(Some(&rules(listener)), None)
}

fn args(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

fn verdict(plan: &CommandPlan, line: &str) -> Result<(), Refusal> {
    let args = args(line);
    plan.verdict(lookup(args[0]).unwrap_or(CommandId::UNKNOWN), &args)
}

/// Returns the error for the client. Empty if the command may run.
fn said(plan: &CommandPlan, line: &str) -> String {
    let mut out = Vec::new();
    if let Err(refusal) = verdict(plan, line) {
        refusal.write(&mut out, plan, b"alice", args(line)[0]);
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn public_in_either_rules_counts() {
    for (text, expected) in [
        ("@public", true),
        ("+@PUBLIC ~app:*", true),
        ("@public +@all", true),
        ("+get (+@public ~a)", true),
        ("+@all -@dangerous", false),
    ] {
        assert_eq!(rules(text).is_public(), expected, "{text}");
        assert_eq!(
            CommandPlan::new(Some(&rules("+@all")), Some(&rules(text))).is_public(),
            expected,
            "{text}"
        );
        assert!(plan(text).has_rules());
    }
    assert!(!CommandPlan::new(None, None).is_public());
    assert!(!CommandPlan::new(None, None).has_rules());
}

#[test]
fn errors_are_those_of_redis() {
    let plan = plan("+@all -config ~app:* &news:*");
    assert_eq!(
        said(&plan, "CONFIG GET x"),
        "-NOPERM User alice has no permissions to run the 'config|get' command\r\n"
    );
    assert_eq!(
        said(&plan, "No\r\n+OK x"),
        "-NOPERM User alice has no permissions to run the 'No  +OK' command\r\n"
    );
    assert_eq!(
        said(&plan, "CLIENT NOSUCH"),
        "-NOPERM User alice has no permissions to run the 'client' command\r\n"
    );
    assert_eq!(said(&plan, "GET b"), "-NOPERM No permissions to access a key\r\n");
    assert_eq!(said(&plan, "PUBLISH b m"), "-NOPERM No permissions to access a channel\r\n");
    assert_eq!(said(&plan, "GET app:1"), "");
}

#[test]
fn listener_and_user_must_agree() {
    let plan = CommandPlan::new(
        Some(&rules("+@all -flushall ~app:* ~tmp:*")),
        Some(&rules("+@read +flushall ~app:*")),
    );
    assert!(verdict(&plan, "GET app:1").is_ok());
    for refused in ["GET tmp:1", "SET app:1 x", "FLUSHALL", "PING"] {
        assert!(verdict(&plan, refused).is_err(), "{refused}");
    }
    let user_alone = CommandPlan::new(None, Some(&rules("+get")));
    assert!(verdict(&user_alone, "GET a").is_ok() && verdict(&user_alone, "SET a b").is_err());
}

#[test]
fn all_rules_must_name_replication() {
    let psync = |listener: Option<&str>, user: Option<&str>| {
        let plan = CommandPlan::new(listener.map(rules).as_ref(), user.map(rules).as_ref());
        verdict(&plan, "PSYNC ? -1").is_ok()
    };
    assert!(
        psync(Some("+psync"), None) && psync(None, Some("+psync")) && psync(Some("+psync"), Some("+psync"))
    );
    assert!(!psync(None, None) && !psync(Some("+psync"), Some("+@all")) && !psync(Some("+@all"), None));
}

#[test]
fn without_rules_all_but_replication_is_allowed() {
    let plan = CommandPlan::new(None, None);
    for id in CommandId::all() {
        let replicates = matches!(id, id::SYNC | id::PSYNC | id::REPLCONF);
        assert_eq!(plan.class(id).is_free(), !replicates, "{}", id.name());
        assert_eq!(plan.class(id).is_refused(), replicates, "{}", id.name());
    }
}

#[test]
fn the_class_alone_decides_about_most_commands() {
    let free = plan("+@all");
    assert!(free.class(id::GET).is_free() && free.class(id::EVAL).is_free());
    assert!(free.class(id::PUBLISH).needs_channels(), "some channels are closed under any rules");
    assert!(free.class(id::CLIENT).needs_subcommand(), "an unknown subcommand is refused");
    assert!(free.class(id::CLIENT_SETNAME).is_free());
    assert!(free.class(CommandId::UNKNOWN).is_refused());
    let keys = plan("+@all ~app:*");
    assert!(keys.class(id::GET).needs_keys() && keys.class(id::MGET).needs_keys());
    assert!(keys.class(id::PING).is_free() && keys.class(id::UNSUBSCRIBE).is_free());
    assert!(plan("+@all &a").class(id::PUBLISH).needs_channels());
    assert!(plan("+get").class(id::SET).is_refused());
    assert_eq!(size_of::<Class>(), 2, "two cache lines hold the classes of 64 commands");
}

#[test]
fn a_decision_waits_for_no_more_than_it_needs() {
    let alike = plan("+@all ~app:* &c -ping +ping|a");
    let apart = plan("+@all %R~app:* %W~app:*x");
    for (plan, command, arguments, needed) in [
        (&alike, id::GET, 2, 2),
        (&alike, id::SET, 9, 2),
        (&apart, id::SET, 3, 2),
        (&apart, id::SET, 5, 5),
        (&alike, id::BITFIELD, 9, 2),
        (&apart, id::BITFIELD, 9, 9),
        (&alike, id::HSET, 1_000, 2),
        (&alike, id::RENAME, 3, 3),
        (&alike, id::MSET, 101, 101),
        (&alike, id::EVAL, 9, 9),
        (&alike, id::PUBLISH, 3, 2),
        (&alike, id::SUBSCRIBE, 7, 7),
        (&alike, id::PING, 1, 1),
        (&alike, id::PING, 2, 2),
        (&alike, id::CLIENT, 5, 2),
        (&alike, id::MIGRATE, 9, 9),
        (&alike, id::ECHO, 2, 0),
        (&alike, id::SYNC, 1, 0),
    ] {
        assert_eq!(plan.needed_arguments(command, arguments), needed, "{}", command.name());
    }
}

#[test]
fn a_decision_does_not_wait_for_a_large_value() {
    let plan = plan("+@all ~app:*");
    let header = |key: &str| format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$536870912\r\nbegin", key.len());
    let judge = |bytes: &str| plan.judge(id::SET, &Frame::new(bytes.as_bytes(), 3), false);
    assert_eq!(judge(&header("app:1")), Judgement::Allow);
    assert!(matches!(judge(&header("b")), Judgement::Refuse(refusal) if refusal.what() == Refused::Key));
    assert_eq!(judge("*3\r\n$3\r\nSET\r\n$9000\r\nap"), Judgement::More);
}

/// For each cut of a frame, the decision is that about the whole frame or [`Judgement::More`].
#[test]
fn a_cut_frame_is_judged_like_the_whole() {
    for listener in [
        "+@all ~app:*",
        "+@all %R~app:* %W~tmp:* &c",
        "+@all -select +select|1 +x (+mset ~b)",
        "+get",
        "@public ~app:*",
    ] {
        let plan = plan(listener);
        for line in [
            "GET app:1",
            "SET app:1 x",
            "SET tmp:1 v EX 1 GET",
            "MSET app:1 1 b 2",
            "MSET b 1",
            "SELECT 1",
            "SELECT 2",
            "CLIENT SETNAME x",
            "CLIENT NOSUCH",
            "XGROUP CREATE app:1 g $",
            "OBJECT FREQ b",
            "EVAL s 1 app:1 b",
            "X a",
            "PUBLISH c m",
            "PUBLISH d m",
            "SUBSCRIBE c d",
            "CONFIG",
            "BITFIELD app:1 GET u8 0",
            "COPY app:1 tmp:2",
            "GET",
            "SCAN 0 COUNT 99999",
            "SCAN 0 COUNT 10 MATCH a*",
            "LPOS app:1 e COUNT 99999",
            "SPOP app:1 99999",
            "SETRANGE app:1 99999999 value",
            "PSUBSCRIBE a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*",
            "PUBSUB CHANNELS a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*",
        ] {
            let args = args(line);
            let id = lookup(args[0]).unwrap_or(CommandId::UNKNOWN);
            let mut frame = Vec::new();
            encode::command(&mut frame, &args);
            let count = u64::try_from(args.len()).unwrap();
            let whole = plan.judge(id, &Frame::new(&frame, count), true);
            assert_ne!(whole, Judgement::More);
            for cut in 4..frame.len() {
                let judged = plan.judge(id, &Frame::new(&frame[..cut], count), false);
                assert!(
                    judged == whole || judged == Judgement::More,
                    "{listener}: {line} cut at {cut}: {judged:?}"
                );
            }
            let all = plan.judge(id, &Frame::new(&frame, count), false);
            assert!(all == whole || line == "GET", "{listener}: {line}");
        }
    }
}

proptest! {
    /// Property: for any rules and arguments, a decision about a cut frame equals that about the whole frame, and
    /// that of the rules.
    #[test]
    fn plan_and_rules_agree(
        words in prop::collection::vec(
            "[+-](get|set|mset|config\\|get|client|select\\|1|@read|@write|@all|x)|[~&][a-c*?]{0,3}|%[rw]~[a-c*]{0,3}|\\([+][a-z]{1,4} ~a\\)",
            0..8,
        ),
        index in 0..CommandId::COUNT,
        rest in prop::collection::vec("[a-c0-2]{0,2}|STORE|KEYS|STREAMS|get|GET", 0..6),
    ) {
        let Ok(rules) = CommandRules::parse(&words.join(" ")) else { return Ok(()) };
        let id = CommandId::from_index(index).unwrap_or(CommandId::UNKNOWN);
        let line: Vec<&[u8]> =
            id.name().split('|').chain(rest.iter().map(String::as_str)).map(str::as_bytes).collect();
        let expected = rules.check(id.top(), &line).err();
        let plan = CommandPlan::new(Some(&Arc::new(rules)), None);
        prop_assert_eq!(plan.verdict(id.top(), &line).err().map(Refusal::what), expected);
        let mut frame = Vec::new();
        encode::command(&mut frame, &line);
        let count = u64::try_from(line.len()).unwrap();
        for cut in 4..frame.len() {
            match plan.judge(id.top(), &Frame::new(&frame[..cut], count), false) {
                Judgement::More => {}
                Judgement::Allow => prop_assert_eq!(None, expected),
                Judgement::Refuse(refusal) => prop_assert_eq!(Some(refusal.what()), expected),
            }
        }
    }
}

#[test]
fn cost_limits_hold_under_public_alone() {
    let limits = CostLimits { count: 7, ..CostLimits::default() };
    let of = |listener: Option<&str>, user: Option<&str>| {
        let plan = CommandPlan::new(listener.map(rules).as_ref(), user.map(rules).as_ref());
        (plan.costs().copied(), plan.with_costs(limits).costs().copied())
    };
    for (listener, user) in
        [(Some("@public"), None), (None, Some("@public")), (Some("+@all"), Some("(@public)"))]
    {
        assert_eq!(of(listener, user), (Some(CostLimits::default()), Some(limits)), "{listener:?} {user:?}");
    }
    assert_eq!(of(Some("+@all -@dangerous"), Some("+get")), (None, None));
    assert_eq!(of(None, None), (None, None));
    assert_eq!(CostLimits::default().offset, 8 << 20);
}

#[test]
fn public_refuses_commands_that_cost_too_much() {
    let public = plan("@public ~app:*");
    let above = "-ERR portcullis: COUNT above 10000 is not allowed here\r\n";
    assert_eq!(said(&public, "SCAN 0 COUNT 10001"), above);
    assert_eq!(said(&public, "SRANDMEMBER app:1 -10001"), above);
    assert_eq!(said(&public, "SRANDMEMBER app:1 -10000"), "");
    assert_eq!(said(&public, "SRANDMEMBER b -10001"), "-NOPERM No permissions to access a key\r\n");
    assert_eq!(said(&public, "CLUSTER GETKEYSINSLOT 1 10001"), above);
    let limits = CostLimits { count: 5, ..CostLimits::default() };
    let less = CommandPlan::new(None, Some(&rules("(@public)"))).with_costs(limits);
    assert_eq!(said(&less, "SCAN 0 COUNT 6"), "-ERR portcullis: COUNT above 5 is not allowed here\r\n");
    for lcs in ["LCS app:1 app:2", "STRALGO LCS KEYS app:1 app:2"] {
        assert!(
            said(&public, lcs).starts_with("-NOPERM User alice has no permissions to run the '"),
            "{lcs}"
        );
    }
    let named = plan("@public +lcs +keys");
    assert_eq!(said(&named, "LCS app:1 app:2"), "");
    assert!(said(&named, &format!("KEYS {}", "a*".repeat(17))).contains("16 stars"));
}

/// Cost limits change the words of commands only under `@public`.
#[test]
fn cost_is_judged_under_public_alone() {
    let (public, all) = (plan("@public"), plan("+@all"));
    for id in CommandId::all().filter(|id| !public.class(*id).is_refused()) {
        let judged = cost::is_judged(id);
        assert_eq!(public.class(id) == all.class(id), !judged, "{}", id.name());
        assert!(!judged || all.class(id).is_free(), "{}", id.name());
    }
}

#[test]
fn reports_the_owner_of_the_deciding_rule() {
    let plan =
        CommandPlan::new(Some(&rules("+@all -flushall ~app:* ~tmp:*")), Some(&rules("@public -del ~app:*")));
    for (line, owner, rule) in [
        ("FLUSHALL", RuleOwner::Listener, "-flushall"),
        ("CONFIG GET x", RuleOwner::User, "@public"),
        ("DEL app:1", RuleOwner::User, "-del"),
        ("GET b", RuleOwner::Listener, "no key pattern allows it"),
        ("GET tmp:1", RuleOwner::User, "no key pattern allows it"),
        ("MGET app:1 tmp:1", RuleOwner::User, "no key pattern allows it"),
        ("SCAN 0 COUNT 10001", RuleOwner::User, "limits.count"),
        ("FOO", RuleOwner::Listener, "only a rule with its name allows it"),
    ] {
        let refusal = verdict(&plan, line).unwrap_err();
        assert_eq!(plan.deciding_rule(refusal), DecidingRule { owner: Some(owner), rule }, "{line}");
    }
    let of_user = CommandPlan::new(None, Some(&rules("+set ~a")));
    for (line, rule) in [("GET a", "no rule allows it"), ("SET b 1", "no key pattern allows it")] {
        let due = DecidingRule { owner: Some(RuleOwner::User), rule };
        assert_eq!(of_user.deciding_rule(verdict(&of_user, line).unwrap_err()), due);
    }
    let none = CommandPlan::new(None, None);
    let refusal = verdict(&none, "SYNC").unwrap_err();
    assert_eq!(
        none.deciding_rule(refusal),
        DecidingRule { owner: None, rule: "only a rule with its name allows it" }
    );
    assert_eq!(size_of::<Judgement>(), 4, "a judgement must fit a register");
}

/// Subscriptions whose channel is not known are compared by the rules alone.
#[test]
fn keeps_commands_that_the_new_rules_allow_too() {
    let keeps = |old: &str, new: &str, name: &str| {
        let id = lookup(name.as_bytes()).unwrap();
        plan(new).keeps(&plan(old), id)
    };
    for (old, new, name) in [
        ("+@all &a* &b", "+@all -flushall &b &a* &c", "SUBSCRIBE"),
        ("+@all &a*", "+@all", "SUBSCRIBE"),
        ("+@all %R~a*", "+@all ~a*", "BLPOP"),
        ("+@all ~a*", "+blpop ~a* ~b*", "BLPOP"),
        ("-@all (+blpop ~a*)", "+@all ~b* (+@all ~a*)", "BLPOP"),
        ("-@all (+blpop ~a*) (+get ~z*)", "-@all (+blpop ~a*)", "BLPOP"),
    ] {
        assert!(keeps(old, new, name), "{name}: {old} -> {new}");
    }
    for (old, new, name) in [
        ("+@all &a* &b", "+@all &a*", "SUBSCRIBE"),
        ("+@all", "+@all &a*", "SUBSCRIBE"),
        ("+@all &a*", "+@all -subscribe &a*", "SUBSCRIBE"),
        ("+@all ~a*", "+@all %R~a*", "BLPOP"),
        ("+@all ~a* ~b*", "+@all ~a* (+@all ~b*)", "BLPOP"),
        ("+@all", "+@all -blpop", "BLPOP"),
        ("+@all ~a*", "+@all -blpop (+blpop ~b*)", "BLPOP"),
    ] {
        assert!(!keeps(old, new, name), "{name}: {old} -> {new}");
    }
    // A command without restrictions needs no comparison, and keys do not matter for a channel command.
    assert!(keeps("+@all ~a* &a", "+@all ~a* &b", "PING"));
    let both = |listener: &str, user: &str| CommandPlan::new(Some(&rules(listener)), Some(&rules(user)));
    let blpop = lookup(b"BLPOP").unwrap();
    assert!(both("+@all ~a*", "+@all ~b*").keeps(&both("+@all ~b*", "+@all -set ~a*"), blpop));
    assert!(!both("+@all ~a*", "+@all ~b*").keeps(&plan("+@all ~a*"), blpop));
    assert!(CommandPlan::new(None, None).keeps(&plan("+@all ~a*"), blpop));
    let psubscribe = lookup(b"PSUBSCRIBE").unwrap();
    assert!(!plan("@public").keeps(&plan("+@all"), psubscribe), "the command may now cost too much");
    assert!(plan("@public").keeps(&plan("@public -get"), psubscribe));
    assert!(plan("+@all ~a* -get").keeps_keys(&plan("+@all ~a*")));
    assert!(CommandPlan::new(None, None).keeps_keys(&CommandPlan::new(None, None)));
    assert!(!plan("+@all ~a*").keeps_keys(&CommandPlan::new(None, None)));
    assert!(!plan("+@all ~a*").keeps_keys(&plan("+@all ~a* ~b*")));
}
