use portcullis_resp::command::lookup;

use crate::command_rule::{CommandRules, Refused};
use crate::plan::CommandPlan;

fn check(rules: &str, line: &str) -> Result<(), Refused> {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let rules = CommandRules::parse(rules).unwrap_or_else(|errors| panic!("{rules}: {errors:?}"));
    rules.check(lookup(args[0]).unwrap(), &args)
}

fn plan(rules: &[&str]) -> CommandPlan {
    let mut rules = rules.iter().map(|text| CommandRules::parse(text).unwrap().into());
    let (listener, user) = (rules.next(), rules.next());
    CommandPlan::new(listener.as_ref(), user.as_ref())
}

const SENTINEL: [&str; 5] = [
    "PUBLISH __sentinel__:hello x",
    "SPUBLISH __sentinel__:hello x",
    "SUBSCRIBE __sentinel__:hello",
    "SUBSCRIBE news __sentinel__:",
    "SSUBSCRIBE __sentinel__:other",
];

#[test]
fn general_rules_do_not_open_channels_of_sentinel() {
    let general = [
        "+@all",
        "+@all allchannels",
        "+@all &*",
        "@public",
        "+@all &__*",
        "+@all &__sentinel__*",
        "+@all &__sentinel__",
        "+@all &?_sentinel__:*",
        "+@all &[_]_sentinel__:hello",
        r"+@all &\__sentinel__:hello",
        "+@pubsub &news* &__*",
        "+@all (+@all ~* &*)",
    ];
    for rules in general {
        for line in SENTINEL {
            assert_eq!(check(rules, line), Err(Refused::Channel), "{rules}: {line}");
        }
    }
}

#[test]
fn a_pattern_that_names_control_channels_opens_them() {
    for rules in [
        "+@all &__sentinel__:*",
        "+@all &__sentinel__:hello",
        "+@all &__sentinel__:h?llo allchannels",
        "+@all allchannels &__sentinel__:*",
        "+@all (+@pubsub &__sentinel__:*)",
    ] {
        assert_eq!(check(rules, "PUBLISH __sentinel__:hello x"), Ok(()), "{rules}");
        assert_eq!(check(rules, "SUBSCRIBE __sentinel__:hello"), Ok(()), "{rules}");
        assert_eq!(check(rules, "PUBLISH __redis__:invalidate x"), Err(Refused::Channel), "{rules}");
    }
    let both = "+@all allchannels &__sentinel__:hello";
    assert_eq!(check(both, "PUBLISH news x"), Ok(()));
    assert_eq!(check(both, "PUBLISH __sentinel__:other x"), Err(Refused::Channel));
    assert_eq!(check("+@all &__sentinel__:* resetchannels &*", SENTINEL[0]), Err(Refused::Channel));
    assert_eq!(
        check("+@all &__sentinel__:*", "PUBLISH news x"),
        Err(Refused::Channel),
        "a channel pattern is a rule"
    );
}

#[test]
fn clients_cannot_forge_events_of_redis() {
    for channel in [
        "__redis__:invalidate",
        "__keyspace@0__:app:1",
        "__keyevent@0__:del",
        "__subkeyspace@0__:h",
        "__subkeyspaceitem@0__:h",
    ] {
        for command in ["PUBLISH", "SPUBLISH"] {
            let line = format!("{command} {channel} x");
            for rules in ["@public", "+@all ~app:*", "+@all &*"] {
                assert_eq!(check(rules, &line), Err(Refused::Channel), "{rules}: {line}");
            }
            assert_eq!(check(&format!("+@all &{channel}"), &line), Ok(()), "{line}");
        }
        let line = format!("SUBSCRIBE {channel}");
        assert_eq!(check("@public", &line), Ok(()), "rules that allow all keys allow their names: {line}");
    }
    assert_eq!(check("@public", "PUBLISH __keys x"), Ok(()), "none of Redis's");
    assert_eq!(
        check("@public ~app:*", "SUBSCRIBE __redis__:invalidate"),
        Ok(()),
        "tracking in RESP2 needs it"
    );
}

#[test]
fn under_key_patterns_no_client_reads_names_of_other_keys() {
    let channels = ["__keyspace@0__:app:1", "__keyevent@0__:del", "__subkeyevent@0__:hset"];
    for rules in ["@public ~app:*", "+@all ~app:* &*", "+@all %R~app:* &__*", "+@all resetkeys allchannels"] {
        for channel in channels {
            for command in ["SUBSCRIBE", "SSUBSCRIBE", "PSUBSCRIBE"] {
                let line = format!("{command} {channel}");
                assert_eq!(check(rules, &line), Err(Refused::Channel), "{rules}: {line}");
            }
        }
        let pattern = "PSUBSCRIBE __key*__:*";
        assert_eq!(check(rules, pattern), Err(Refused::Channel), "{rules}: {pattern}");
    }
    let spring = "@public ~app:* &__keyevent@* &app:*";
    assert_eq!(check(spring, "SUBSCRIBE __keyevent@0__:expired"), Ok(()));
    assert_eq!(check(spring, "PSUBSCRIBE __keyevent@*"), Ok(()));
    assert_eq!(check(spring, "SUBSCRIBE __keyspace@0__:app:1"), Err(Refused::Channel));
    assert_eq!(check("+@all ~app:* allchannels &__key*", "PSUBSCRIBE __keyevent@*:expired"), Ok(()));
    assert_eq!(
        check("+@all ~app:* &*", "PSUBSCRIBE *"),
        Ok(()),
        "messages that the client must not read are withheld"
    );
}

#[test]
fn messages_are_delivered_if_their_channel_is_open() {
    let delivered = |rules: &[&str], channel: &str| plan(rules).delivers(channel.as_bytes(), true);
    assert!(
        delivered(&[], "__sentinel__:hello") && !plan(&[]).withholds(),
        "without rules nothing is withheld"
    );
    for (rules, channel, is_delivered) in [
        ("@public", "__sentinel__:hello", false),
        ("@public", "__sentinel__", true),
        ("@public", "news", true),
        ("@public", "__keyevent@0__:del", true),
        ("@public", "__redis__:invalidate", true),
        ("@public ~app:*", "__keyevent@0__:del", false),
        ("@public ~app:* allchannels &__keyevent@*:expired", "__keyevent@0__:expired", true),
        ("@public ~app:* allchannels &__keyevent@*:expired", "__keyevent@0__:del", false),
        ("+@all &__sentinel__:hello", "__sentinel__:hello", true),
        ("+@all &__sentinel__:hello", "__sentinel__:other", false),
        ("+@all -@pubsub (+get ~*)", "__keyevent@0__:del", false),
        ("+@all ~app:* (+get ~*)", "__keyevent@0__:del", false),
        ("+@all ~app:* (+subscribe ~* &__*)", "__keyevent@0__:del", true),
    ] {
        assert_eq!(delivered(&[rules], channel), is_delivered, "{rules}: {channel}");
    }
    assert!(!delivered(&["@public", "+@all &__sentinel__:*"], "__sentinel__:hello"), "both must agree");
}

#[test]
fn messages_with_a_cut_channel_name_are_withheld_if_the_channel_may_be_redis_own() {
    let under = plan(&["+@all allchannels &__sentinel__:*"]);
    for (beginning, delivered) in
        [("", false), ("__sent", false), ("__sentinel__:hello", false), ("a name of some length", true)]
    {
        assert_eq!(under.delivers(beginning.as_bytes(), false), delivered, "{beginning}");
    }
    assert!(plan(&[]).delivers(b"", false));
}

#[test]
fn prefixes_of_tracking_must_be_covered_by_key_patterns() {
    let rules = "@public ~app:* ~x %W~w:* ~g?:*:* ~a[b]*";
    for (options, allowed) in [
        ("on", true),
        ("on optin noloop", true),
        ("on REDIRECT 7 OPTOUT", true),
        ("off bcast", true),
        ("on bcast", false),
        ("on BCAST PREFIX app:", true),
        ("on prefix app:x PREFIX app: bcast", true),
        ("on prefix app:x bcast prefix ap", false),
        ("on prefix ap bcast", false),
        ("on bcast prefix x", false),
        ("on bcast prefix w:", false),
        ("on bcast prefix g1:2:", true),
        ("on bcast prefix g1:", false),
        ("on bcast prefix ab", false),
        ("on bcast redirect prefix", false),
        ("on redirect bcast", true),
        ("on bcast prefix", false),
        ("on bcast prefix app: later-option", false),
        ("on later-option", false),
    ] {
        let verdict = if allowed { Ok(()) } else { Err(Refused::Key) };
        assert_eq!(check(rules, &format!("CLIENT TRACKING {options}")), verdict, "{options}");
        assert_eq!(check("@public", &format!("CLIENT TRACKING {options}")), Ok(()), "{options}");
    }
    assert_eq!(check("+@all %R~*", "CLIENT TRACKING on bcast prefix "), Ok(()));
}

#[test]
fn pubsub_shows_channels_that_the_client_may_subscribe_to() {
    let tenant: &[&str] = &["@public ~app:* &app:*"];
    let apart: &[&str] = &["@public", "+@all ~app:* &app:*"];
    for rules in [tenant, apart] {
        let plan = plan(rules);
        assert!(plan.filters_channels());
        assert!(plan.shows_channel(b"app:1") && !plan.shows_channel(b"news"));
        let says = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            plan.verdict(lookup(args[0]).unwrap(), &args).is_ok()
        };
        assert!(says("PUBSUB NUMSUB app:1 app:2") && says("PUBSUB NUMSUB") && says("PUBSUB NUMPAT"));
        assert!(!says("PUBSUB NUMSUB app:1 news") && !says("pubsub ShardNumSub news"));
        assert!(
            says("PUBSUB CHANNELS") && says("PUBSUB SHARDCHANNELS *"),
            "their replies are reduced to visible channels"
        );
    }
    let all_channels = plan(&["@public ~app:*"]);
    assert!(all_channels.shows_channel(b"news") && !all_channels.shows_channel(b"__sentinel__:hello"));
    for open in ["@public", "+@all ~app:* &app:*"] {
        assert!(!plan(&[open]).filters_channels(), "{open}");
    }
}
