use portcullis_resp::command::{lookup, lookup_subcommand};

use super::*;

fn rules(text: &str) -> CommandRules {
    CommandRules::parse(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn check(rules: &CommandRules, line: &str) -> Result<(), Refused> {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    rules.check(lookup(args[0]).unwrap_or(CommandId::UNKNOWN), &args)
}

/// Returns all errors with their positions, one line each.
fn wrong(items: &[&str]) -> String {
    let errors = CommandRules::parse_list(items.iter().copied()).unwrap_err();
    let lines = errors.iter().map(|error| format!("{}:{} {error}", error.item, error.offset));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn later_rules_win() {
    let rules = rules("+@all -@dangerous +info -get +get|a -config +config|get");
    assert_eq!(check(&rules, "INFO"), Ok(()));
    assert_eq!(check(&rules, "FLUSHALL"), Err(Refused::Command));
    assert_eq!(check(&rules, "GET a"), Ok(()));
    assert_eq!(check(&rules, "GET A"), Ok(()), "first arguments are compared as in Redis");
    assert_eq!(check(&rules, "GET b"), Err(Refused::Command));
    assert_eq!(check(&rules, "CONFIG GET x"), Ok(()));
    assert_eq!(check(&rules, "CONFIG SET x y"), Err(Refused::Command));
    assert_eq!(check(&rules, "config"), Err(Refused::Command));
}

#[test]
fn outside_selectors_missing_key_and_channel_rules_allow_all() {
    let all = rules("+get +publish");
    assert_eq!(check(&all, "GET a"), Ok(()));
    assert_eq!(check(&all, "PUBLISH c m"), Ok(()));
    for reset in ["+get resetkeys", "+get ~a resetkeys"] {
        assert_eq!(check(&rules(reset), "GET a"), Err(Refused::Key), "{reset} names keys: none");
    }
    assert_eq!(check(&rules("+publish resetchannels"), "PUBLISH c m"), Err(Refused::Channel));
    assert_eq!(
        check(&rules("(+get)"), "GET a"),
        Err(Refused::Key),
        "a selector has only the keys that it names"
    );
    assert_eq!(
        check(&rules("+get (+set ~b)"), "GET a"),
        Ok(()),
        "a selector's keys do not limit other rules"
    );
}

#[test]
fn one_selector_must_allow_all_of_a_command() {
    let rules = rules("-@all resetkeys (+mget ~a %R~r) (+mget ~b &c) ( +publish &c ~x )");
    assert_eq!(check(&rules, "MGET a r"), Ok(()));
    assert_eq!(check(&rules, "MGET b"), Ok(()));
    assert_eq!(check(&rules, "MGET a b"), Err(Refused::Key));
    assert_eq!(check(&rules, "PUBLISH c m"), Ok(()));
    assert_eq!(check(&rules, "PUBLISH d m"), Err(Refused::Channel));
    assert_eq!(check(&rules, "GET a"), Err(Refused::Command));
}

#[test]
fn unknown_commands_need_their_names_and_all_keys() {
    let by_name = rules("+@all +json.set +CLIENT|maint_notifications");
    assert_eq!(by_name.names_unknown().collect::<Vec<_>>(), ["json.set", "client|maint_notifications"]);
    assert_eq!(check(&by_name, "Json.Set a $ 1"), Ok(()));
    assert_eq!(check(&by_name, "JSON.GET a"), Err(Refused::Command));
    assert_eq!(check(&by_name, "CLIENT MAINT_NOTIFICATIONS on"), Ok(()));
    assert_eq!(check(&by_name, "CLIENT MAINT"), Err(Refused::Command));
    assert_eq!(check(&by_name, "CONFIG MAINT_NOTIFICATIONS"), Err(Refused::Command));
    assert_eq!(check(&rules("+json.set ~app:*"), "JSON.SET app:1 $ 1"), Err(Refused::Key));
    assert_eq!(check(&rules("+@all"), "JSON.SET a $ 1"), Err(Refused::Command));
    for taken_back in ["+json.set -json.set", "+json.set -@all +@all"] {
        assert_eq!(check(&rules(taken_back), "JSON.SET a $ 1"), Err(Refused::Command), "{taken_back}");
    }
}

#[test]
fn replication_needs_its_own_name() {
    for general in ["+@all", "+@admin +@dangerous +@slow", "@public"] {
        for line in ["SYNC", "PSYNC ? -1", "REPLCONF ACK 1"] {
            assert_eq!(check(&rules(general), line), Err(Refused::Command), "{general} {line}");
        }
    }
    assert_eq!(check(&rules("+psync"), "PSYNC ? -1"), Ok(()));
    assert_eq!(check(&rules("+psync +@all"), "PSYNC ? -1"), Ok(()));
    assert_eq!(check(&rules("+psync -@admin"), "PSYNC ? -1"), Err(Refused::Command));
}

#[test]
fn any_rules_allow_login_and_quit_as_in_redis() {
    for line in ["AUTH x", "HELLO 3", "QUIT", "RESET"] {
        assert_eq!(check(&rules("-@all"), line), Ok(()), "{line}");
    }
}

#[test]
fn bytes_after_a_nul_count() {
    let rules = rules("+select|1 +get ~a +psubscribe &c");
    assert_eq!(check(&rules, "SELECT 1\0x"), Err(Refused::Command));
    assert_eq!(check(&rules, "GET a\0x"), Err(Refused::Key));
    assert_eq!(check(&rules, "PSUBSCRIBE c\0x"), Err(Refused::Channel));
}

#[test]
fn patterns_of_subscribers_are_compared_by_letters() {
    let rules = rules("+@pubsub &news:*");
    assert_eq!(check(&rules, "SUBSCRIBE news:1 news:2"), Ok(()));
    assert_eq!(check(&rules, "SUBSCRIBE news:1 other"), Err(Refused::Channel));
    assert_eq!(check(&rules, "PSUBSCRIBE news:*"), Ok(()));
    assert_eq!(check(&rules, "PSUBSCRIBE news:1*"), Err(Refused::Channel));
    assert_eq!(check(&rules, "UNSUBSCRIBE other"), Ok(()), "as in Redis");
}

#[test]
fn keys_from_data_need_all_keys_to_be_readable() {
    let some = rules("+@all ~app:*");
    assert_eq!(check(&some, "SORT app:1 BY nosort GET # STORE app:2"), Ok(()));
    assert_eq!(check(&some, "SORT app:1 BY app:*"), Err(Refused::Key));
    assert_eq!(check(&some, "SORT app:1 STORE b"), Err(Refused::Key));
    let readable = rules("+@all %W~app:* %R~*");
    assert_eq!(check(&readable, "SORT x BY w_* GET k STORE app:1"), Ok(()));
    assert_eq!(check(&readable, "SORT x BY w_* STORE b"), Err(Refused::Key));
    assert_eq!(check(&readable, "SORT x WRONG STORE b"), Err(Refused::Key));
}

#[test]
fn keys_of_other_versions_count_too() {
    let rules = rules("+@all ~app:*");
    for (fine, refused) in [
        ("STRALGO LCS KEYS app:1 app:2", "STRALGO LCS KEYS app:1 b"),
        ("MSETEX 2 app:1 x app:2 y", "MSETEX 2 app:1 x b y"),
        ("DELIFEQ app:1 x", "DELIFEQ b x"),
        ("VADD app:1 FP32 x y", "VADD b FP32 x y"),
        ("HGETEX app:1 FIELDS 1 x", "HGETEX b FIELDS 1 x"),
        ("XREADGROUP GROUP g c CLAIM 1 STREAMS app:1 0", "XREADGROUP GROUP g c CLAIM 1 STREAMS b 0"),
    ] {
        assert_eq!((check(&rules, fine), check(&rules, refused)), (Ok(()), Err(Refused::Key)), "{fine}");
    }
}

#[test]
fn names_alone_decide_about_most_commands() {
    let rules = rules("+@all -flushall ~app:* &news:* -select +select|1 +json.set");
    assert_eq!(rules.by_name(id::PING), ByName::Allowed);
    assert_eq!(rules.by_name(id::FLUSHALL), ByName::Refused);
    assert_eq!(rules.by_name(id::PSYNC), ByName::Refused);
    for depends in [id::GET, id::PUBLISH, id::SELECT, id::CLIENT, CommandId::UNKNOWN] {
        assert_eq!(rules.by_name(depends), ByName::Depends, "{}", depends.name());
    }
    assert_eq!(CommandRules::parse("+@all").unwrap().by_name(id::GET), ByName::Allowed);
}

#[test]
fn scripts_escape_rules() {
    // Any rules close Redis's own channels, but a script can still use these channels.
    for escaped in [
        "+@all",
        "+@all allkeys",
        "+@all ~app:*",
        "+@all -flushall",
        "+eval",
        "+@all &news:*",
        "@public +fcall",
    ] {
        assert!(rules(escaped).scripts_escape(), "{escaped}");
    }
    for held in ["@public", "+@all -@scripting ~app:*", "+get"] {
        assert!(!rules(held).scripts_escape(), "{held}");
    }
}

#[test]
fn every_error_is_reported_with_its_position() {
    assert_eq!(
        wrong(&["+@all get", "  -flushal ~a\t~* ~b -@public >pw", "(+get"]),
        "0:6 command rule 'get': a rule begins with a sign: write +get to allow it or -get to refuse it\n\
         1:2 command rule '-flushal': unknown command; unknown commands are refused unless a rule allows them by name; \
         did you mean -flushall?\n\
         1:17 command rule '~b': a pattern after allkeys has no effect; write resetkeys before it to start over, or \
         remove allkeys\n\
         1:20 command rule '-@public': @public can only allow; write @public, then the commands to refuse\n\
         1:29 command rule '>pw': credentials and user flags are not command rules; a user's passwords are set with \
         its key 'password'\n\
         2:0 command rule '(+get': a selector is not closed: write (rules)"
    );
    assert_eq!(
        wrong(&["-get|a +config|get|x +json.set|x %a ((+get) +", "~[a-\u{e9}]", "+a,b +get|a|b"]),
        "0:0 command rule '-get|a': a rule with a first argument can only allow; refuse the command (-get), then \
         allow it with these arguments (+get|word)\n\
         0:7 command rule '+config|get|x': rules cannot match arguments of a subcommand; write +config|get\n\
         0:21 command rule '+json.set|x': rules cannot match the first argument of an unknown command; write \
         +json.set\n\
         0:33 command rule '%a': write %R~pattern to read, %W~pattern to write, %RW~pattern or ~pattern for both\n\
         0:37 command rule '(+get': a selector cannot contain another selector\n\
         0:44 command rule '+': a name is missing: write +command, +container|subcommand or +@category\n\
         1:0 command rule '~[a-\u{e9}]': a range in brackets may only contain ASCII characters\n\
         2:0 command rule '+a,b': a command's name is at most 64 letters, digits, '.', '-' and '_'\n\
         2:5 command rule '+get|a|b': a name is missing: write +command, +container|subcommand or +@category"
    );
    assert!(
        wrong(&["+@nosuch"])
            .contains("known categories: @all, @public, @public-scripts, @keyspace, @read, @write")
    );
    assert!(wrong(&[&format!("~{}", "a".repeat(MAX_PATTERN + 1))]).contains("at most 1024 bytes"));
    assert!(CommandRules::parse(&format!("~{}", "a".repeat(MAX_PATTERN))).is_ok());
}

#[test]
fn public_scripts_must_follow_public() {
    let with = rules("@public ~app:* @public-scripts");
    assert!(with.is_public() && with.has_public_scripts());
    let added: Vec<_> = CommandId::all()
        .filter(|id| *id != CommandId::UNKNOWN && with.by_name(*id) != rules("@public ~app:*").by_name(*id))
        .collect();
    let mut named = public::SCRIPTS.to_vec();
    named.sort();
    assert_eq!(added, named, "nothing else");
    assert_eq!(check(&with, "EVAL x 1 app:1"), Ok(()));
    assert_eq!(check(&with, "EVAL x 1 other"), Err(Refused::Key));
    assert_eq!(check(&with, "SCRIPT EXISTS x"), Ok(()));
    for line in
        ["SCRIPT FLUSH", "SCRIPT KILL", "SCRIPT DEBUG yes", "FUNCTION LOAD x", "FUNCTION LIST", "SCRIPT"]
    {
        assert_eq!(check(&with, line), Err(Refused::Command), "{line}");
    }
    for wrong_order in [
        "@public-scripts",
        "@public-scripts @public",
        "+@all @public-scripts",
        "@public -@all @public-scripts",
    ] {
        assert!(wrong(&[wrong_order]).contains("write @public before it"), "{wrong_order}");
    }
    assert!(wrong(&["@public (@public-scripts)"]).contains("write @public before it"));
    assert!(wrong(&["@public -@public-scripts"]).contains("can only allow"));
}

#[test]
fn misspelt_names_get_a_suggestion() {
    for (written, meant) in [("gett", "get"), ("hst", "hset"), ("zdad", "zadd"), ("config|gat", "config|get")]
    {
        assert_eq!(nearest(written), Some(meant));
    }
    assert_eq!(nearest("json.set"), None);
}

#[test]
fn a_list_means_the_same_as_one_string() {
    let list = CommandRules::parse_list(["+@all", "-@dangerous ~app:*", "(+keys", "~*)"]).unwrap();
    assert_eq!(check(&list, "KEYS x"), Ok(()));
    assert_eq!(check(&list, "GET other"), Err(Refused::Key));
    let none = CommandRules::parse("").unwrap();
    assert_eq!(check(&none, "PING"), Err(Refused::Command), "an empty list allows no command");
}

#[test]
fn public_is_found_at_any_position() {
    for text in [
        "@public",
        "+@PUBLIC ~a:*",
        "+@read @public -get",
        "-@all resetkeys (@public ~b)",
        "@public nocommands +get",
    ] {
        assert!(rules(text).is_public(), "{text}");
    }
    for text in ["+@all", "+@all -@dangerous ~@public", "&@public +public", "+get|@public"] {
        assert!(!rules(text).is_public(), "{text}");
    }
}

#[test]
fn reports_the_word_that_decided() {
    let decided = |text: &str, name: &str| {
        let (top, sub) = name.split_once('|').unwrap_or((name, ""));
        let id = lookup(top.as_bytes()).unwrap_or(CommandId::UNKNOWN);
        let id = lookup_subcommand(id, sub.as_bytes()).unwrap_or(id);
        rules(text).deciding_rule(id, Refused::Command).to_owned()
    };
    for (text, name, word) in [
        ("+@all -@dangerous", "flushall", "-@dangerous"),
        ("+@all -@dangerous +config -config|GET", "config|get", "-config|GET"),
        ("+@all -@read -get", "get", "-@read"),
        ("+@all -get +get -@read ~a", "get", "-@read"),
        ("+@all -@all +set", "get", "-@all"),
        ("+@all nocommands", "get", "nocommands"),
        ("+set", "get", "no rule allows it"),
        ("-get", "get", "no rule allows it"),
        ("-get (+set ~a)", "get", "no rule allows it"),
        ("+@all -get +get|a", "get", "no rule allows it with these arguments"),
        ("+@all (+get ~a) -set", "client", "no rule allows it with these arguments"),
        ("+@all", "sync", "only a rule with its name allows it"),
        ("+@all", "json.get", "only a rule with its name allows it"),
        ("@public", "keys", "@public"),
        ("@public -blpop", "blpop", "-blpop"),
        ("@public ~a:*", "config|set", "@public"),
    ] {
        assert_eq!(decided(text, name), word, "{name} under {text}");
    }
}
