//! Files that try to hang, exhaust or confuse the reader.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// Far above what any of these takes, far below what an unbounded one would.
const PATIENCE: Duration = Duration::from_secs(10);

fn refused(text: &str) -> Vec<Problem> {
    let files = Files::new().with("portcullis.yaml", text);
    let begun = Instant::now();
    let problems = files.load().unwrap_err();
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_complete(&problems);
    problems
}

#[test]
fn nesting_is_bounded() {
    let staircase: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    for text in ["[".repeat(1_000_000), "{a: ".repeat(1_000_000), "- ".repeat(1_000_000), staircase] {
        assert_eq!(refused(&text)[0].message(), "nested too deeply");
    }
}

#[test]
fn aliases_are_bounded() {
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (from, to) in ('a'..='k').zip('b'..='l') {
        bomb += &format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(","));
    }
    assert_eq!(refused(&bomb)[0].message(), "aliases expand to too many values");
}

#[test]
fn values_are_bounded() {
    let problems = refused(&format!("groups: [{}]", "1,".repeat(300_000)));
    assert_eq!(problems[0].message(), "too many values");
    assert!(problems[0].hint().unwrap().contains("plain-text files"));
}

#[test]
fn aliases_serve_where_they_are_modest() {
    let text = PLAIN
        .replace("[office, 192.0.2.1]", "&list [office, 192.0.2.1]")
        .replace("}\nups", ", deny: *list}\nups");
    let config = Files::new().with("portcullis.yaml", text).config();
    let from = ClientAddr::from_socket("203.0.113.1:1".parse().unwrap());
    assert!(matches!(config.policy().judge(0, &from, NOW), Decision::Deny(_)));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_file() {
    let config = Files::new().with("portcullis.yaml", format!("\u{feff}{PLAIN}")).config();
    assert_eq!(config.listeners().len(), 1);
    Files::new().with("portcullis.yaml", PLAIN.replace('\n', "\r\n")).config();
}

#[test]
fn numbers_keep_the_spelling_of_the_file() {
    for spelling in ["0o17", "0x10", "1_000", "1e3", "+5", "05", "5.0", "1:20", "five", "\"5 \""] {
        let problems = refused(&format!("{PLAIN}workers: {spelling}\n"));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message().starts_with("workers must be a whole number"), "{spelling}");
    }
    Files::new().with("portcullis.yaml", format!("{PLAIN}workers: 5\n")).config();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = Files::new().with("portcullis.yaml", text).load();
    }

    /// A valid file with one piece cut out and another put in.
    #[test]
    fn any_damage_is_answered(from in 0..WRITTEN_OUT.len(), len in 0_usize..40, with in "[-{}\\[\\]:,#&*!|>'\"%@`?a-z0-9 \t\n/.]{0,8}") {
        let to = (from + len).min(WRITTEN_OUT.len());
        let text = format!("{}{with}{}", &WRITTEN_OUT[..from], &WRITTEN_OUT[to..]);
        if let Err(problems) = Files::new().with("portcullis.yaml", text).load() {
            prop_assert!(problems.iter().all(|problem| problem.line() > 0 && problem.column() > 0));
            let told: String = problems.iter().map(Problem::message).collect();
            prop_assert!(!told.contains(char::is_control));
        }
    }
}
