use super::*;

fn names(subscribed: &Subscribed, verb: Verb) -> Vec<String> {
    subscribed.names(verb).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

#[test]
fn confirmations_add_and_remove_names() {
    let mut subscribed = Subscribed::default();
    assert_eq!(subscribed.held(), 0);
    subscribed.confirm(Verb::Subscribe, Some(b"b"), 1);
    subscribed.confirm(Verb::Subscribe, Some(b"a"), 2);
    subscribed.confirm(Verb::Subscribe, Some(b"a"), 2);
    subscribed.confirm(Verb::Psubscribe, Some(b"a"), 3);
    subscribed.confirm(Verb::Ssubscribe, Some(b"a"), 1);
    assert_eq!((names(&subscribed, Verb::Subscribe).concat(), subscribed.counts().total()), ("ab".into(), 4));
    assert!(subscribed.has(Verb::Psubscribe, b"a") && !subscribed.has(Verb::Psubscribe, b"b"));
    assert!(!subscribed.has_unnamed(Verb::Subscribe));
    subscribed.confirm(Verb::Unsubscribe, Some(b"b"), 2);
    subscribed.confirm(Verb::Unsubscribe, Some(b"nothing"), 2);
    subscribed.confirm(Verb::Unsubscribe, None, 2);
    assert_eq!(names(&subscribed, Verb::Subscribe), ["a"]);
    let held = subscribed.held();
    subscribed.confirm(Verb::Unsubscribe, Some(b"a"), 1);
    assert_eq!(subscribed.held(), held - 1 - NAME_COST);
    subscribed.lose_shard(Some(b"a"));
    assert_eq!(names(&subscribed, Verb::Ssubscribe).len(), 0);
    subscribed.confirm(Verb::Punsubscribe, Some(b"a"), 0);
    assert_eq!(subscribed.held(), 0, "without subscriptions nothing is held");
}

#[test]
fn an_unknown_name_is_counted() {
    let mut subscribed = Subscribed::default();
    subscribed.confirm(Verb::Subscribe, None, 1);
    assert!(subscribed.has_unnamed(Verb::Subscribe));
    subscribed.confirm(Verb::Subscribe, Some(b"a"), 2);
    subscribed.confirm(Verb::Subscribe, Some(&vec![b'x'; MAX_NAME + 1]), 3);
    assert!(subscribed.has_unnamed(Verb::Subscribe) && !subscribed.has_unnamed(Verb::Psubscribe));
    subscribed.confirm(Verb::Unsubscribe, None, 2);
    subscribed.confirm(Verb::Unsubscribe, Some(&vec![b'x'; MAX_NAME + 1]), 1);
    assert!(!subscribed.has_unnamed(Verb::Subscribe));
    // A slot moves to another server, so one subscription ends. The server names it in a push that is too long to be
    // held.
    subscribed.confirm(Verb::Ssubscribe, Some(b"s1"), 1);
    subscribed.confirm(Verb::Ssubscribe, Some(b"s2"), 2);
    subscribed.lose_shard(None);
    assert!(subscribed.has_unnamed(Verb::Ssubscribe));
}

#[test]
fn the_memory_for_names_is_bounded() {
    let mut subscribed = Subscribed::default();
    for i in 1..=50_000_u64 {
        subscribed.confirm(Verb::Subscribe, Some(format!("channel:{i:050}").as_bytes()), i);
    }
    assert!(subscribed.held() <= MAX_NAMES + size_of::<Names>());
    assert!(names(&subscribed, Verb::Subscribe).len() > 9_000);
    assert!(subscribed.has_unnamed(Verb::Subscribe));
}
