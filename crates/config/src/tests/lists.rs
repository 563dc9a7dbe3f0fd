//! Lists that other programs write: JSON files, and what is said about URLs.

use super::*;

/// A configuration whose group `listed` is this.
fn with_group(group: &str) -> Files {
    let yaml = format!(
        "listeners: [{{name: a, bind: \"127.0.0.1:1\", upstream: main, allow: [listed]}}]\n\
         upstreams: {{main: {{address: \"127.0.0.1:6379\"}}}}\n\
         groups: {{listed: {group}}}\n"
    );
    Files::new().with("portcullis.yaml", yaml)
}

/// `explain` and the audit trail name the line of the string.
#[test]
fn an_entry_of_a_json_file_has_its_line() {
    let json = "\u{feff}{\"l\": [\n\"192.0.2.0/24\",\n\n\"2001:db8::/32\"]}";
    let files = with_group("{file: x.ndjson, select: \"l[]\", note: why}").with("x.ndjson", json);
    let config = files.config();
    let rules: Vec<_> = config.policy().group("listed").unwrap().entries().collect();
    let shown: Vec<_> = rules.iter().map(|rule| (rule.entry().to_string(), rule.line, rule.note)).collect();
    assert_eq!(
        shown,
        [("192.0.2.0/24".to_owned(), 2, Some("why")), ("2001:db8::/32".to_owned(), 4, Some("why"))]
    );
    assert_eq!(files.messages(), Vec::<String>::new());
}

/// The file is one of those that are watched, even while it cannot be read.
#[test]
fn a_json_file_is_a_source() {
    for json in [Some("[\"192.0.2.1\"]"), Some("["), None] {
        let files = with_group("{file: x.json, select: \"[]\"}");
        let files = match json {
            Some(json) => files.with("x.json", json),
            None => files,
        };
        let sources = read(&files.path("portcullis.yaml"), &LoadOptions::new()).sources;
        let found = sources.iter().find(|source| source.path == files.path("x.json")).unwrap();
        assert_eq!(found.digest.is_some(), json.is_some());
    }
}

#[test]
fn a_json_file_has_its_cap() {
    let most = usize::try_from(scope::MAX_TEXT_FILE).unwrap();
    let mut json = b"[\"192.0.2.1\"]".to_vec();
    json.resize(most + 1, b' ');
    let files = with_group("{file: x.json, select: \"[]\"}").with("x.json", &json);
    assert!(files.messages()[0].ends_with("it is larger than 67108864 bytes"), "{:?}", files.messages());
    files.with("x.json", &json[..most]).config();
}

/// A minified file is one long line with thousands of mistakes.
#[test]
fn many_mistakes_on_one_line_are_counted_fast() {
    let json = format!("[{}\"x\"]", "\"10.0.0.1/8\",".repeat(300_000));
    let files = with_group("{file: x.json, select: \"[]\"}").with("x.json", json);
    let begun = std::time::Instant::now();
    let problems = files.load().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!((problems[199].line(), problems[199].column()), (1, 2 + 199 * 13));
    assert!(problems[200].message().contains("more problems"), "{}", problems[200].message());
}

#[test]
fn a_url_gets_a_line_for_cron() {
    for (group, file) in [
        ("{url: \"https://example.com/list?7f41\"}", "fetched-listed.txt"),
        ("{url: \"https://example.com/ip-ranges.json\", note: x}", "fetched-listed.json"),
        ("{file: \"https://example.com/list\"}", "fetched-listed.txt"),
        ("[\"https://example.com/list\"]", "fetched-listed.txt"),
        ("[{url: \"https://example.com/7f41\"}]", "fetched-listed.txt"),
    ] {
        let problems = with_group(group).load().unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message().contains("fetches nothing from a URL"), "{problems:?}");
        let hint = problems[0].hint().unwrap();
        assert!(hint.contains(&format!("{{file: {file}")), "{hint}");
        assert!(hint.contains(&format!("&& f={file} &&")) && hint.ends_with("&& mv $f.new $f"), "{hint}");
        assert!(!hint.contains("7f41"), "{hint}");
    }
}

/// All problems with their places.
fn shown(files: &Files) -> Vec<String> {
    let problems = files.load().map_or_else(|problems| problems, |loaded| loaded.warnings);
    problems.iter().map(ToString::to_string).collect()
}

/// In a comment too: `# only 10.0.0.1` may be shown as `# 1.0.0.01 ylno`.
#[test]
fn a_character_that_a_reader_does_not_see_is_an_error() {
    for (odd, name) in [
        ("\u{202e}", "a text-direction character (U+202E)"),
        ("\u{2066}", "a text-direction character (U+2066)"),
        ("\u{200f}", "a text-direction character (U+200F)"),
        ("\u{61c}", "a text-direction character (U+061C)"),
        ("\u{200b}", "an invisible character (U+200B)"),
        ("\u{feff}", "an invisible character (U+FEFF)"),
    ] {
        let files = [
            ("x.txt", format!("192.0.2.1\n# {odd}\n"), (2, 3)),
            ("x.txt", format!("192.0.2.1{odd}\n"), (1, 10)),
            ("x.yaml", format!("- 192.0.2.1{odd}\n"), (1, 12)),
            ("x.yaml", format!("- {{cidr: 192.0.2.1, owner: a{odd}}}\n"), (1, 29)),
        ];
        for (file, text, (line, column)) in files {
            let files = with_group(&format!("{{file: {file}}}")).with(file, &text);
            let messages = shown(&files);
            let expected = format!("{file}:{line}:{column}: error: {name} stands here: ");
            assert!(messages.iter().any(|message| message.contains(&expected)), "{text:?}: {messages:?}");
        }
        let messages = shown(&with_group(&format!("[192.0.2.1] # one{odd}")));
        assert!(messages.iter().any(|message| message.contains(name)), "{messages:?}");
    }
    with_group("{file: x.txt}")
        .with("x.txt", "\u{feff}192.0.2.1 # gr\u{fc}\u{df}e, \u{4f60}\u{597d}\n")
        .config();
}

/// A reader sees the second address on a line of its own. For the list it is in the comment.
#[test]
fn an_address_that_an_odd_line_end_hides_is_an_error() {
    for (odd, name) in [
        ("\r", "a carriage return (CR) without a line feed"),
        ("\u{b}", "a vertical tab (VT)"),
        ("\u{c}", "a form feed (FF)"),
        ("\u{85}", "a next line (NEL)"),
        ("\u{2028}", "a line separator (U+2028)"),
        ("\u{2029}", "a paragraph separator (U+2029)"),
    ] {
        let plain = format!("192.0.2.1\r\n192.0.2.2 # two{odd}192.0.2.3\n");
        let yaml = format!("- 192.0.2.1\n- 192.0.2.2 # two{odd}- 192.0.2.3\n");
        for (file, text, column) in [("x.txt", plain, 16), ("x.yaml", yaml, 18)] {
            let files = with_group(&format!("{{file: {file}}}")).with(file, text);
            let messages = shown(&files);
            let expected =
                format!("{file}:2:{column}: error: {name} stands here: only LF and CRLF end a line");
            assert!(messages.iter().any(|message| message.contains(&expected)), "{odd:?}: {messages:?}");
        }
        let main = format!("[192.0.2.1] # one{odd}");
        let messages = shown(&with_group(&main));
        let expected = format!("portcullis.yaml:3:35: error: {name}");
        assert!(messages.iter().any(|message| message.contains(&expected)), "{odd:?}: {messages:?}");
    }
    // JSON has neither lines nor comments.
    for odd in ["\r", "\u{2028}", "\u{85}"] {
        let space = if odd == "\r" { odd } else { "" };
        let json = format!("{{\"note\": \"a{}\",{space}\"l\": [\"192.0.2.1\"]}}", odd.trim_matches('\r'));
        let files = with_group("{file: x.json, select: \"l[]\"}").with("x.json", json);
        assert_eq!(files.messages(), Vec::<String>::new(), "{odd:?}");
    }
}

/// No message about a text that may take addresses away shows one of them as an entry to write, wherever the text is.
#[test]
fn no_message_turns_an_exclusion_into_an_entry() {
    let texts = [
        "10.9.0.0/16 except 10.9.1.0/24",
        "10.9.0.0/16 but not 10.9.1.*",
        "10.9.0.0/16, !10.9.1.0/24",
        "10.9.0.0/16 -10.9.1.0-10.9.1.255",
        "deny 10.9.1.1",
        "!10.9.1.1",
        "office without 10.9.1.1",
    ];
    let yaml = |allow: &str, deny: &str, office: &str| {
        format!(
            "listeners: [{{name: a, bind: \"127.0.0.1:1\", upstream: main, allow: {allow}, deny: {deny}}}]\n\
             upstreams: {{main: {{address: \"127.0.0.1:6379\"}}}}\n\
             groups: {{office: {office}}}\n"
        )
    };
    for text in texts {
        let quoted = format!("\"{text}\"");
        let places = [
            yaml(&quoted, "[]", "[]"),
            yaml(&format!("[office, {quoted}]"), "[]", "[]"),
            yaml(&format!("{{{quoted}: yes}}"), "[]", "[]"),
            yaml(&format!("[{{cidr: {quoted}}}]"), "[]", "[]"),
            yaml("office", &quoted, "[]"),
            yaml("office", "[]", &quoted),
            yaml("office", "[]", &format!("[{quoted}]")),
            yaml("office", "[]", &format!("[{{host: {quoted}}}]")),
            yaml("office", "[]", &format!("[{{group: {quoted}}}]")),
            yaml("office", "[]", &format!("{{entries: {quoted}}}")),
            yaml("office", "[]", &format!("{{{quoted}: bob}}")),
            yaml("office", "[]", "{file: list.txt}"),
            yaml("office", "[]", "{file: list.json, select: \"[]\"}"),
        ];
        for place in places {
            let files = Files::new()
                .with("portcullis.yaml", &place)
                .with("list.txt", format!("{text}\n"))
                .with("list.json", format!("[{quoted}]"));
            let problems = files.load().unwrap_err();
            let hints: Vec<&str> = problems.iter().filter_map(Problem::hint).collect();
            assert!(!hints.is_empty() && !hints.concat().contains("10.9."), "{place}\n{hints:#?}");
        }
        let error = edit::NewEntry::parse(text).unwrap_err();
        assert!(!error.hint().contains("10.9."), "{}", error.hint());
    }
}
