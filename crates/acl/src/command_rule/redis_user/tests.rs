use super::*;

fn user(rules: &[&str]) -> RedisUser {
    let rules: Vec<_> = rules.iter().map(|text| CommandRules::parse(text).unwrap()).collect();
    RedisUser::new("app", &rules.iter().collect::<Vec<_>>())
}

/// Returns the words for keys and channels.
fn patterns(rules: &[&str]) -> String {
    let user = user(rules);
    let words =
        user.line().split(' ').filter(|word| word.trim_start_matches('"').starts_with(['~', '%', '&']));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_user_begins_without_rights_and_names_the_commands_that_public_refuses() {
    let line = user(&["@public @public-scripts ~app:* &app:*"]).line().to_owned();
    assert!(
        line.starts_with(
            "ACL SETUSER app on clearselectors resetkeys resetchannels -@all +@all -@admin -@dangerous -@scripting "
        ),
        "{line}"
    );
    for word in [
        "-object",
        "-memory",
        "+info",
        "+role",
        "+sort",
        "+eval",
        "+fcall_ro",
        "+script|load",
        "+client|list",
    ] {
        assert!(line.split(' ').any(|own| own == word), "{word}: {line}");
    }
    for word in
        ["+script|flush", "+keys", "-sentinel", "-commandlog", "+function|load", "+cluster|slot-stats"]
    {
        assert!(!line.contains(word), "{word}: {line}");
    }
    assert!(line.ends_with(" ~app:* &app:*"), "{line}");
}

#[test]
fn the_user_has_the_changes_of_later_rules() {
    let line = user(&["@public @public-scripts -@blocking -select +config|get"]).line().to_owned();
    for word in ["-blpop", "-select", "+config|get"] {
        assert!(line.split(' ').any(|own| own == word), "{word}: {line}");
    }
    let both = user(&["@public @public-scripts", "+@all -get"]).line().to_owned();
    assert!(both.contains(" -get ") && both.contains(" +eval "), "{both}");
}

#[test]
fn the_user_has_the_keys_that_all_rules_allow() {
    assert_eq!(patterns(&["@public @public-scripts"]), "~*");
    assert_eq!(patterns(&["@public @public-scripts %R~a* %W~b ~c?"]), "%R~a* %W~b ~c?");
    assert_eq!(patterns(&["@public @public-scripts resetkeys"]), "");
    assert_eq!(patterns(&["@public @public-scripts ~app:*", "+@all ~app:1:* ~other:*"]), "~app:1:*");
    assert_eq!(patterns(&["@public @public-scripts %R~app:*", "+@all"]), "%R~app:*");
    assert_eq!(patterns(&["@public @public-scripts %R~a:*", "+@all %W~a:* ~a:1"]), "%R~a:1");
    assert_eq!(patterns(&["+@all ~x (@public @public-scripts ~y &z)"]), "~y &z");
    assert_eq!(patterns(&[r#"@public @public-scripts ~a"\*"#]), r#""~a\"\\*""#);
}

#[test]
fn the_user_has_no_channel_of_redis_itself() {
    for all in ["", "allchannels", "&*"] {
        assert_eq!(patterns(&[&format!("@public @public-scripts {all}")]), "~*", "{all}");
    }
    let some =
        "@public @public-scripts &news:* &__sentinel__* &_* &?_* &[_]* &__redis__:x &a &__keyevent@0__:del";
    assert_eq!(patterns(&[some]), "~* &news:* &__redis__:x &a &__keyevent@0__:del");
    assert_eq!(user(&[some]).left_out(), ["&__sentinel__*", "&_*", "&?_*", "&[_]*"]);
    assert_eq!(patterns(&["@public @public-scripts &a* &b*", "+@all &a:* &c"]), "~* &a:*");
}
