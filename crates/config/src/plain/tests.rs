use proptest::prelude::*;

use super::*;

/// Line, column and text of each entry.
fn read(text: &str) -> Vec<(u32, u32, &str)> {
    entries(text).map(|listed| (listed.line, listed.column, listed.text)).collect()
}

#[test]
fn lines_commas_and_comments() {
    let text = "\u{feff}# office\r\n 192.0.2.1 ; hq # main\r\n\r\n192.0.2.2,\t192.0.2.3 # é, 192.0.2.9\n;192.0.2.8\n,192.0.2.4,,192.0.2.5,\n192.0.2.6";
    assert_eq!(
        read(text),
        [
            (2, 2, "192.0.2.1"),
            (4, 1, "192.0.2.2"),
            (4, 12, "192.0.2.3"),
            (6, 2, "192.0.2.4"),
            (6, 13, "192.0.2.5"),
            (7, 1, "192.0.2.6"),
        ]
    );
    for nothing in ["", "\n", "#", ";", " , ,\n", "# a;b\n; c#d"] {
        assert_eq!(read(nothing), [], "{nothing:?}");
    }
    assert_eq!(read("büro, 10.0.0.1"), [(1, 1, "büro"), (1, 7, "10.0.0.1")]);
    assert_eq!(read("10.0.0.1 10.0.0.2"), [(1, 1, "10.0.0.1 10.0.0.2")]);
}

/// Some programs separate addresses with semicolons. The second one must not be lost in silence.
#[test]
fn an_address_behind_a_semicolon_is_found() {
    for (text, found) in [
        ("192.0.2.1;192.0.2.2\n", Some((1, 11))),
        ("192.0.2.1 ; 192.0.2.2/32, x\n", Some((1, 13))),
        ("192.0.2.1;192.0.2.2/8\n", Some((1, 11))),
        ("192.0.2.1;192.0.2.2:80\n", Some((1, 11))),
        ("192.0.2.1;192.0.2.2-192.0.2.9\n", Some((1, 11))),
        ("192.0.2.1;;192.0.2.2\n", Some((1, 12))),
        ("192.0.2.1; ,\"192.0.2.2\"\n", Some((1, 13))),
        ("192.0.2.1 ; 2001:db8::1/200\n", Some((1, 13))),
        ("192.0.2.1 ; 2.5 GHz\n", None),
        ("192.0.2.1 ; 10:30 on Monday\n", None),
        ("192.0.2.1 ;# 192.0.2.2\n", None),
        ("192.0.2.1 ;SBL123\n", None),
        ("192.0.2.1 ; was 192.0.2.2\n", None),
        ("192.0.2.1 # 192.0.2.2\n", None),
        ("; 192.0.2.2\n", None),
    ] {
        let hidden: Vec<_> = entries(text).filter(|listed| listed.behind_semicolon).collect();
        assert_eq!(hidden.first().map(|listed| (listed.line, listed.column)), found, "{text}");
        assert!(hidden.len() <= 1);
    }
}

#[test]
fn entries_are_removed_with_their_comma() {
    let text = "a, b ,c # note\nd # own\n\u{e9},e\n";
    for (dropped, rest) in [
        (&[][..], text),
        (&[0], "b ,c # note\nd # own\n\u{e9},e\n"),
        (&[1], "a ,c # note\nd # own\n\u{e9},e\n"),
        (&[2], "a, b # note\nd # own\n\u{e9},e\n"),
        (&[0, 1], "c # note\nd # own\n\u{e9},e\n"),
        (&[1, 2], "a # note\nd # own\n\u{e9},e\n"),
        (&[0, 2], "b # note\nd # own\n\u{e9},e\n"),
        (&[0, 1, 2, 4], "d # own\ne\n"),
        (&[3, 5], "a, b ,c # note\n\u{e9}\n"),
        (&[0, 1, 2, 3, 4, 5], ""),
    ] {
        assert_eq!(without(text, dropped), rest, "{dropped:?}");
    }
    assert_eq!(without("\u{feff}a\nb", &[0]), "\u{feff}b");
}

proptest! {
    /// The entries that are left are those that were not dropped, and each place is exact.
    #[test]
    fn removal_keeps_the_others(text in "\u{feff}?([a-cé,;# ]|\r?\n){0,40}", mask: u64) {
        let all: Vec<String> = entries(&text).map(|listed| listed.text.to_owned()).collect();
        let dropped: Vec<usize> = (0..all.len()).filter(|at| mask >> (at % 64) & 1 == 1).collect();
        let rest = without(&text, &dropped);
        let left: Vec<String> = entries(&rest).map(|listed| listed.text.to_owned()).collect();
        let meant: Vec<String> = (0..all.len()).filter(|at| !dropped.contains(at)).map(|at| all[at].clone()).collect();
        prop_assert_eq!(left, meant);
        for listed in entries(&text) {
            prop_assert_eq!(&text[listed.range()], listed.text);
            let body = text.trim_start_matches('\u{feff}');
            let line = body.split('\n').nth(usize::try_from(listed.line).unwrap() - 1).unwrap();
            let skipped = usize::try_from(listed.column).unwrap() - 1;
            let from_column: String = line.chars().skip(skipped).collect();
            prop_assert!(from_column.starts_with(listed.text));
        }
    }
}
