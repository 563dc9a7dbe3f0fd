use proptest::prelude::*;

use super::*;

fn is_match(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern).unwrap().matches(text.as_bytes())
}

#[test]
fn usual_patterns_have_short_cuts() {
    assert_eq!(Pattern::new("app:1"), Ok(Pattern::Exact(b"app:1".as_slice().into())));
    assert_eq!(Pattern::new("app:*"), Ok(Pattern::Prefix(b"app:".as_slice().into())));
    for glob in ["a*b", "a?", "[a]", "\\*", "a**"] {
        assert!(matches!(Pattern::new(glob), Ok(Pattern::Glob(_))), "{glob}");
    }
}

#[test]
fn a_star_alone_does_not_match_an_empty_text() {
    assert!(!is_match("*", "") && !is_match("**", "") && is_match("", ""));
    assert!(is_match("a*", "a") && is_match("a**", "a") && is_match("*a*", "a"));
}

/// The time would grow exponentially if each star restarted its search for every position of the earlier stars.
#[test]
fn many_stars_take_little_time() {
    let pattern = Pattern::new(&"a*".repeat(MAX_PATTERN / 2)).unwrap();
    let text = "a".repeat(100_000) + "b";
    assert!(pattern.matches(text.as_bytes()));
    let pattern = Pattern::new(&("*a".repeat(MAX_PATTERN / 2 - 1) + "c")).unwrap();
    assert!(!pattern.matches(text.as_bytes()));
}

/// Matches naively: tries every length of each star.
fn naive(pattern: &[u8], text: &[u8], has_matched: bool) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], []) => has_matched && naive(rest, text, true),
        ([b'*', rest @ ..], [_, after @ ..]) => {
            naive(rest, text, has_matched)
                || naive(pattern, after, true)
                || rest.iter().all(|byte| *byte == b'*')
        }
        (_, []) => false,
        (_, [byte, after @ ..]) => one(pattern, *byte).is_some_and(|rest| naive(rest, after, true)),
    }
}

proptest! {
    #[test]
    fn matches_agrees_with_a_naive_matcher(pattern in "[ab*?]{0,9}|[ab*?\\[\\]^\\\\-]{0,9}", text in "[abc]{0,9}") {
        let expected = naive(pattern.as_bytes(), text.as_bytes(), false);
        prop_assert_eq!(is_match(&pattern, &text), expected, "{} {}", pattern, text);
    }

    #[test]
    fn nothing_panics(pattern in "\\PC{0,20}", text in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(pattern) = Pattern::new(&pattern) {
            pattern.matches(&text);
        }
    }
}
