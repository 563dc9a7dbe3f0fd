use super::*;
use crate::tests::pair::show;

fn apply(listening: &mut Listening, verb: Verb, names: &str) -> String {
    let names: Vec<&[u8]> = names.split_whitespace().map(str::as_bytes).collect();
    listening.apply(verb, &names).map_or_else(|| "too many".to_owned(), |bytes| show(&bytes))
}

#[test]
fn confirmations_are_those_of_redis() {
    let mut listening = Listening::default();
    assert_eq!(
        apply(&mut listening, Verb::Subscribe, "+switch-master a +switch-master"),
        "*3|$9|subscribe|$14|+switch-master|:1|*3|$9|subscribe|$1|a|:2|*3|$9|subscribe|$14|+switch-master|:2|"
    );
    assert_eq!(apply(&mut listening, Verb::Psubscribe, "*"), "*3|$10|psubscribe|$1|*|:3|");
    listening.set_resp3(true);
    assert_eq!(apply(&mut listening, Verb::Unsubscribe, "nosuch"), ">3|$11|unsubscribe|$6|nosuch|:3|");
    assert_eq!(
        apply(&mut listening, Verb::Unsubscribe, ""),
        ">3|$11|unsubscribe|$14|+switch-master|:2|>3|$11|unsubscribe|$1|a|:1|"
    );
    assert_eq!(apply(&mut listening, Verb::Unsubscribe, ""), ">3|$11|unsubscribe|_|:1|");
    assert_eq!(apply(&mut listening, Verb::Punsubscribe, "*"), ">3|$12|punsubscribe|$1|*|:0|");
    listening.set_resp3(false);
    assert_eq!(apply(&mut listening, Verb::Punsubscribe, ""), "*3|$12|punsubscribe|$-1|:0|");
    assert_eq!(listening.held, 0);
}

#[test]
fn names_are_bounded() {
    let mut listening = Listening::default();
    let mut last = String::new();
    for number in 0..MAX_NAMES {
        last = apply(&mut listening, Verb::Subscribe, &number.to_string());
        if last == "too many" {
            break;
        }
    }
    assert_eq!(last, "too many");
    assert!(listening.held() <= MAX_NAMES + size_of::<Listening>());
    // A name that the client holds already costs nothing.
    assert!(apply(&mut listening, Verb::Subscribe, "0").starts_with("*3|$9|subscribe|$1|0|"));
}
