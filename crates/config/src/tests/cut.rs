//! Files that were cut or are not finished: what a reload takes, and what `check` says.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;

const YAML: &str = "\
listeners:
  - {name: public, bind: \"127.0.0.1:6380\", upstream: main, allow: [office, listed], deny: [abusers]}
upstreams:
  main: {address: \"127.0.0.1:6379\"}
groups:
  abusers: {file: abusers.txt}
  listed: {file: listed.yaml}
  office:
    - 10.0.0.1
    - 128.0.0.0/16
";
const ABUSERS: &str = "# scans\n203.0.113.66\n198.51.100.128/25\n128.0.0.0/16\n";
const LISTED: &str = "- 192.0.2.1\n- 192.0.2.128/25\n";
const CUT: &str = "does not end with a newline";

fn files() -> Files {
    Files::new()
        .with("portcullis.yaml", YAML)
        .with("abusers.txt", ABUSERS)
        .with("listed.yaml", LISTED)
        .with("tmp", "")
}

/// Reads as a running proxy does, which has read `in_force` before.
fn reload(files: &Files, in_force: &[ConfigFile]) -> Reading {
    reload_after(files, in_force, in_force, HashMap::new())
}

fn reload_after(
    files: &Files,
    in_force: &[ConfigFile],
    last: &[ConfigFile],
    written: HashMap<PathBuf, FileId>,
) -> Reading {
    read(&files.path("portcullis.yaml"), &LoadOptions::new().at(NOW).after(in_force, last, written))
}

fn start(files: &Files) -> Vec<ConfigFile> {
    let reading = reload(files, &[]);
    assert!(reading.result.is_ok(), "{:?}", reading.result);
    reading.sources
}

fn problems(reading: &Reading) -> Vec<String> {
    let list = match &reading.result {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    };
    list.iter().map(ToString::to_string).collect()
}

fn rename(files: &Files, name: &str, content: &str) {
    let new = files.path("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, files.path(name)).unwrap();
}

/// The start of each of the last two lines, and the end.
fn last_two_lines(text: &str) -> usize {
    text.trim_end().rmatch_indices('\n').nth(1).map_or(0, |(at, _)| at + 1)
}

#[test]
fn a_file_that_was_cut_within_a_line_is_refused() {
    let files = files();
    let in_force = start(&files);
    for (name, whole) in [("abusers.txt", ABUSERS), ("listed.yaml", LISTED), ("portcullis.yaml", YAML)] {
        for cut in last_two_lines(whole)..whole.len() {
            let text = &whole[..cut];
            fs::write(files.path(name), text).unwrap();
            let reading = reload(&files, &in_force);
            let shown = problems(&reading).join("\n");
            if text.ends_with('\n') {
                // Nothing shows that a line is missing.
                assert!(reading.result.is_ok(), "{name} {cut}: {shown}");
                continue;
            }
            assert!(reading.result.is_err(), "{name} {cut}: {text:?}");
            if !text.is_empty() {
                let place = format!("{name}:{}:1: error: ", text.lines().count());
                assert!(shown.contains(&place) && shown.contains(CUT), "{name} {cut}: {shown}");
            }
        }
        fs::write(files.path(name), whole).unwrap();
    }
    assert!(reload(&files, &in_force).result.is_ok());
}

/// The rules of the listener are its last lines, and each line end is the end of a valid configuration.
#[test]
fn a_yaml_file_that_was_cut_after_a_line_is_refused_until_it_is_another() {
    const LAST: &str = "\
upstreams: {main: {address: \"127.0.0.1:6379\"}}
groups:
  bad: [203.0.113.0/24]
listeners:
  - name: public
    bind: \"127.0.0.1:6380\"
    upstream: main
    allow: [192.0.2.0/24]
    acl: \"@public\"
    deny: [bad]
    # the end

";
    let files = Files::new().with("portcullis.yaml", LAST).with("tmp", "");
    let path = files.path("portcullis.yaml");
    let in_force = start(&files);
    let lines: Vec<&str> = LAST.split_inclusive('\n').collect();
    for count in 1..lines.len() {
        fs::write(&path, lines[..count].concat()).unwrap();
        let reading = reload(&files, &in_force);
        let shown = problems(&reading).join("\n");
        if count >= 10 {
            assert!(reading.result.is_ok(), "only comments are cut: {shown}");
            continue;
        }
        for _ in 0..2 {
            assert!(reload(&files, &in_force).result.is_err(), "{count}: it stays so");
        }
        if lines[count - 1] == "listeners:\n" {
            // No listener lost anything, and a proxy without listeners is an error of its own.
            continue;
        }
        let place = format!("portcullis.yaml:{count}:1: error: the file ends on line {count}, ");
        assert!(shown.contains(&place) && shown.contains("has 10 lines"), "{count}: {shown}");
        assert!(shown.contains("hint: write the whole file, or "), "{count}: {shown}");
    }
    let cut = lines[..8].concat();
    for accepted in [format!("{cut}# the end\n"), format!("# begin\n{cut}"), LAST.to_owned()] {
        fs::write(&path, &accepted).unwrap();
        assert!(reload(&files, &in_force).result.is_ok(), "{accepted:?}");
    }
    rename(&files, "portcullis.yaml", &cut);
    assert!(reload(&files, &in_force).result.is_ok(), "a rename");
    // Without a newline at its end, a file can be cut within a line.
    rename(&files, "portcullis.yaml", LAST.trim_end());
    let in_force = start(&files);
    fs::write(&path, cut.trim_end()).unwrap();
    let shown = problems(&reload(&files, &in_force)).join("\n");
    assert!(shown.contains("portcullis.yaml:8:1: error: the file ends on line 8"), "{shown}");
}

/// A writer that has changed an earlier line can pause as well.
#[test]
fn a_file_that_lost_a_setting_in_place_is_doubtful() {
    let files = files();
    let in_force = start(&files);
    let without = YAML.replace(", deny: [abusers]", "");
    for (text, lost) in [
        (without.replace("127.0.0.1:6380", "127.0.0.1:6390"), Some("listeners.public.deny")),
        (YAML.replace("office, listed", "office"), None),
        (YAML.replace("    - 10.0.0.1\n", ""), None),
    ] {
        fs::write(files.path("portcullis.yaml"), text).unwrap();
        let [doubt] = reload(&files, &in_force).doubts.try_into().unwrap();
        assert_eq!(doubt.loss, lost.map(|path| Loss::Setting(path.to_owned())));
    }
    rename(&files, "portcullis.yaml", &without);
    assert_eq!(reload(&files, &in_force).doubts, []);
}

#[test]
fn a_cut_file_is_refused_however_it_came_there_and_however_long_it_stays() {
    let files = files();
    let in_force = start(&files);
    let cut = ABUSERS.trim_end();
    fs::write(files.path("abusers.txt"), cut).unwrap();
    for _ in 0..3 {
        let shown = problems(&reload(&files, &in_force)).join("\n");
        assert!(shown.contains("abusers.txt:4:1: error: ") && shown.contains(CUT), "{shown}");
        assert!(shown.contains("hint: end the file with a newline, or "), "{shown}");
    }
    fs::write(files.path("abusers.txt"), format!("{cut}\n")).unwrap();
    assert!(reload(&files, &in_force).result.is_ok());
    // Whether a program made a new file or renamed one, only the system's events tell.
    rename(&files, "abusers.txt", cut);
    let made = fs::metadata(files.path("abusers.txt")).map(|file| (file.dev(), file.ino())).unwrap();
    let created = HashMap::from([(files.path("abusers.txt"), made)]);
    assert!(reload_after(&files, &in_force, &in_force, created).result.is_err());
    let renamed = reload(&files, &in_force);
    assert!(renamed.result.is_ok(), "{:?}", renamed.result);
    // From then on the version in force has no newline either.
    fs::write(files.path("abusers.txt"), format!("{cut}2")).unwrap();
    let again = reload(&files, &renamed.sources);
    assert!(again.result.is_err(), "a bad prefix length");
    fs::write(files.path("abusers.txt"), cut.replace("128.0", "129.0")).unwrap();
    assert!(reload(&files, &renamed.sources).result.is_ok());
}

#[test]
fn a_start_warns_of_a_plain_list_that_may_be_cut() {
    let files = files();
    assert_eq!(files.messages(), Vec::<String>::new());
    fs::write(files.path("abusers.txt"), "203.0.113.66\n128.0.0.0/1").unwrap();
    fs::write(files.path("listed.yaml"), "- 192.0.2.1").unwrap();
    let reading = reload(&files, &[]);
    assert!(reading.result.is_ok());
    let [warning] = problems(&reading).try_into().unwrap();
    assert!(warning.contains("abusers.txt:2:1: warning: the list does not end with a newline"), "{warning}");
}

#[test]
fn a_list_that_was_emptied_in_place_is_refused_unless_that_only_refuses_more() {
    let wide_open = |key: &str| {
        YAML.replace("abusers.txt}", &format!("abusers.txt{key}}}")).replace("office, listed", "office")
    };
    let with_deny = |key: &str| files().with("portcullis.yaml", wide_open(key));
    let without_deny =
        |key: &str| files().with("portcullis.yaml", wide_open(key).replace("[office], deny: [", "[office, "));
    let cases = [
        (with_deny(", allow_empty: true"), true),
        (with_deny(""), true),
        (without_deny(", allow_empty: true"), false),
        (without_deny(""), true),
    ];
    for (files, refused) in cases {
        let in_force = start(&files);
        fs::write(files.path("abusers.txt"), "").unwrap();
        let reading = reload(&files, &in_force);
        assert_eq!(reading.result.is_err(), refused, "{:?}", problems(&reading));
    }
    let files = with_deny(", allow_empty: true");
    let in_force = start(&files);
    fs::write(files.path("abusers.txt"), "# none\n").unwrap();
    assert!(reload(&files, &in_force).result.is_ok());
    rename(&files, "abusers.txt", "");
    assert!(reload(&files, &in_force).result.is_ok());
}

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("10.0.{}.{}\n", n / 256, n % 256)).collect()
}

#[test]
fn a_list_that_lost_most_of_its_entries_in_place_is_doubtful() {
    let files = files();
    for (before, after, shrank) in
        [(1000, 499, true), (1000, 500, false), (11, 5, true), (10, 5, false), (10, 4, true), (9, 1, false)]
    {
        fs::write(files.path("abusers.txt"), lines(before)).unwrap();
        let in_force = start(&files);
        fs::write(files.path("abusers.txt"), lines(after)).unwrap();
        let [doubt] = reload(&files, &in_force).doubts.try_into().unwrap();
        assert_eq!(doubt.loss, shrank.then_some(Loss::Entries { before, after }));
        assert_eq!(doubt.path, files.path("abusers.txt"));
        assert!(doubt.changed.is_some());
        fs::remove_file(files.path("abusers.txt")).unwrap();
        rename(&files, "abusers.txt", &lines(before));
        let in_force = start(&files);
        rename(&files, "abusers.txt", &lines(after));
        assert_eq!(reload(&files, &in_force).doubts, []);
    }
}

#[test]
fn entries_of_yaml_files_count_as_well() {
    let list: String = lines(20).lines().map(|line| format!("- {line}\n")).collect();
    let own: String = lines(20).lines().map(|line| format!("    - {line}\n")).collect();
    let files = files().with("listed.yaml", &list).with("portcullis.yaml", format!("{YAML}{own}"));
    let in_force = start(&files);
    fs::write(files.path("listed.yaml"), "- 10.0.0.1\n").unwrap();
    fs::write(files.path("portcullis.yaml"), format!("{YAML}# the end\n")).unwrap();
    let doubts = reload(&files, &in_force).doubts;
    let losses: Vec<_> = doubts.into_iter().map(|doubt| doubt.loss).collect();
    let entries = |before, after| Some(Loss::Entries { before, after });
    assert_eq!(losses, [entries(22, 2), entries(20, 1)]);
}

#[test]
fn a_file_that_only_gained_text_is_not_doubtful() {
    let files = files();
    let in_force = start(&files);
    fs::write(files.path("abusers.txt"), format!("{ABUSERS}203.0.113.67\n")).unwrap();
    assert_eq!(reload(&files, &in_force).doubts, []);
    fs::write(files.path("abusers.txt"), format!("203.0.113.67\n{ABUSERS}")).unwrap();
    let [doubt] = reload(&files, &in_force).doubts.try_into().unwrap();
    assert_eq!(doubt.loss, None);
    fs::write(files.path("abusers.txt"), ABUSERS).unwrap();
    assert_eq!(reload(&files, &in_force).doubts, []);
}

/// Which file is written in place, if the version in force or the last one was replaced.
#[test]
fn a_file_that_replaced_another_is_known_once_it_was_read() {
    let cut = ABUSERS.trim_end();
    let is_cut = |reading: &Reading| reading.result.is_err() && problems(reading).join("\n").contains(CUT);
    // A copy of the directory takes its place, and is written later.
    let files = files();
    let mut in_force = start(&files);
    rename(&files, "abusers.txt", ABUSERS);
    let now: Vec<_> = in_force.iter().map(ConfigFile::now).collect();
    assert_eq!(now, in_force);
    let other = in_force.iter().zip(&now).filter(|(file, now)| !file.is_same_file(now)).count();
    assert_eq!(other, 1);
    in_force.iter_mut().zip(&now).for_each(|(file, now)| file.follow(now));
    fs::write(files.path("abusers.txt"), cut).unwrap();
    assert!(is_cut(&reload(&files, &in_force)));
    // Other content is no reason to follow.
    let before = in_force.clone();
    rename(&files, "abusers.txt", "203.0.113.66\n");
    let now: Vec<_> = in_force.iter().map(ConfigFile::now).collect();
    in_force.iter_mut().zip(&now).for_each(|(file, now)| file.follow(now));
    assert!(in_force.iter().zip(&before).all(|(file, before)| file.is_same_file(before)));
    fs::write(files.path("abusers.txt"), cut).unwrap();
    assert!(!is_cut(&reload(&files, &in_force)), "a new file");
    // A list with an error takes its place, and is written later.
    rename(&files, "abusers.txt", "203.0.113.999\n");
    let rejected = reload(&files, &in_force);
    assert!(rejected.result.is_err());
    fs::write(files.path("abusers.txt"), cut).unwrap();
    assert!(is_cut(&reload_after(&files, &in_force, &rejected.sources, HashMap::new())));
}

#[test]
fn a_file_with_another_path_in_the_configuration_is_the_same_file() {
    let files = files();
    let in_force = start(&files);
    fs::write(files.path("portcullis.yaml"), YAML.replace("abusers.txt", "./abusers.txt")).unwrap();
    assert_eq!(reload(&files, &in_force).doubts.len(), 1, "the main file");
    fs::write(files.path("abusers.txt"), ABUSERS.trim_end()).unwrap();
    let reading = reload(&files, &in_force);
    assert!(reading.result.is_err(), "{:?}", reading.result);
}
