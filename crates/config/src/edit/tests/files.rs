//! Groups with a file of their own, and what becomes of a file that is replaced.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

pub(super) struct Scene {
    pub(super) directory: tempfile::TempDir,
}

impl Scene {
    /// A configuration in which `office` is the file of that name.
    pub(super) fn new(name: &str, text: &str) -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.path("groups")).unwrap();
        fs::write(
            scene.config(),
            format!("groups: {{office: {{file: groups/{name}, allow_empty: true}}}}\n{FRAME}"),
        )
        .unwrap();
        fs::write(scene.path("groups").join(name), text).unwrap();
        scene
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path("portcullis.yaml")
    }

    pub(super) fn plan(&self, command: &str) -> Result<Edit, EditError> {
        plan(&self.config(), command)
    }

    #[track_caller]
    fn gives(&self, command: &str, expected: &str) {
        let edit = self.plan(command).unwrap();
        assert_eq!(edit.after(), expected);
        assert!(edit.file().starts_with(self.path("groups")));
    }
}

#[test]
fn a_plain_list_gets_and_loses_a_line() {
    let text = "# partners\n192.0.2.1 # one\n\n192.0.2.0/28\t# net\n # end\n";
    let scene = Scene::new("list.txt", text);
    scene.gives("add 203.0.113.9", &format!("{text}203.0.113.9\n"));
    scene.gives("add 2001:db8::/32 note=six", &format!("{text}2001:db8::/32  # six\n"));
    scene.gives("remove 192.0.2.1", "# partners\n\n192.0.2.0/28\t# net\n # end\n");
    scene.gives("remove 192.0.2.0/28", "# partners\n192.0.2.1 # one\n\n # end\n");
}

#[test]
fn entries_between_commas_are_removed_alone() {
    let scene = Scene::new("list.txt", "192.0.2.1, 192.0.2.2,192.0.2.3 ; hq\n203.0.113.9 ; 2 of 3\n");
    scene.gives("remove 192.0.2.1", "192.0.2.2,192.0.2.3 ; hq\n203.0.113.9 ; 2 of 3\n");
    scene.gives("remove 192.0.2.3", "192.0.2.1, 192.0.2.2 ; hq\n203.0.113.9 ; 2 of 3\n");
    scene.gives("remove 203.0.113.9", "192.0.2.1, 192.0.2.2,192.0.2.3 ; hq\n");
}

/// A note of a plain list is the comment of the line.
#[test]
fn the_comment_of_a_line_is_changed() {
    let text = "\u{feff}192.0.2.1 # one\r\n192.0.2.2\t; two\r\n192.0.2.3\r\n192.0.2.4, 192.0.2.5 # both\r\n";
    let scene = Scene::new("list.txt", text);
    scene.gives("add 192.0.2.1 note=first", &text.replace("# one", "# first"));
    scene.gives("add 192.0.2.1 note=", &text.replace(" # one", ""));
    scene.gives("add 192.0.2.2 note=second", &text.replace("; two", "# second"));
    scene.gives(
        "add 192.0.2.3,192.0.2.6 note=x",
        &format!("{}192.0.2.6  # x\r\n", text.replace(".3", ".3  # x")),
    );
    scene.gives("add 192.0.2.1 note=one", text);
    assert_eq!(scene.plan("add 192.0.2.4 note=x").unwrap_err().kind(), "cannot_edit");
    assert_eq!(scene.plan("add 192.0.2.1 owner=ops").unwrap_err().kind(), "plain_text");
    assert_eq!(scene.plan("add 192.0.2.1").unwrap_err().kind(), "duplicate");
}

#[test]
fn a_json_file_is_not_edited() {
    let scene = Scene::new("cloud.json", "{\"prefixes\": [{\"ip_prefix\": \"192.0.2.0/24\"}]}\n");
    let group = "{file: groups/cloud.json, select: \"prefixes[].ip_prefix\"}";
    fs::write(scene.config(), format!("groups: {{office: {group}}}\n{FRAME}")).unwrap();
    let error = scene.plan("add 203.0.113.9").unwrap_err();
    assert_eq!(error.kind(), "json_list");
    assert!(error.to_string().contains("cloud.json is a JSON file"), "{error}");
    assert_eq!(scene.plan("remove 192.0.2.0/24").unwrap_err().kind(), "json_list");
}

/// One bad entry, and none of the others is written.
#[test]
fn several_entries_are_one_edit() {
    let scene = Scene::new("list.txt", "192.0.2.1\n192.0.2.2\n");
    scene
        .gives("add 203.0.113.9,203.0.113.8,203.0.113.9", "192.0.2.1\n192.0.2.2\n203.0.113.9\n203.0.113.8\n");
    scene.gives("remove 192.0.2.2,192.0.2.1,192.0.2.2", "");
    assert_eq!(scene.plan("add 203.0.113.9,192.0.2.1").unwrap_err().kind(), "duplicate");
    assert_eq!(scene.plan("remove 192.0.2.1,192.0.2.9").unwrap_err().kind(), "not_there");
}

#[test]
fn the_form_of_a_plain_list_is_kept() {
    Scene::new("l.txt", "192.0.2.1").gives("add 203.0.113.9", "192.0.2.1\n203.0.113.9");
    Scene::new("l.txt", "192.0.2.1").gives("remove 192.0.2.1", "");
    Scene::new("l.txt", "").gives("add 203.0.113.9", "203.0.113.9\n");
    let dos = "\u{feff}192.0.2.1\r\n192.0.2.2\r\n";
    Scene::new("l.txt", dos).gives("add 203.0.113.9", &format!("{dos}203.0.113.9\r\n"));
    Scene::new("l.txt", dos).gives("remove 192.0.2.2", "\u{feff}192.0.2.1\r\n");
    Scene::new("l.txt", "\u{feff}").gives("add 203.0.113.9", "\u{feff}203.0.113.9\n");
}

#[test]
fn plain_text_has_room_for_a_note_only() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    for (said, key) in [("owner=ops", "owner"), ("until=2027-01-01T00:00:00Z", "until")] {
        let error = scene.plan(&format!("add 203.0.113.9 {said}")).unwrap_err();
        assert!(matches!(&error, EditError::PlainText { key: named, .. } if *named == key), "{error}");
        assert!(error.hint().unwrap().contains("list.yaml"), "{:?}", error.hint());
    }
}

#[test]
fn a_list_file_is_a_list() {
    let text = "# balancers\n- 192.0.2.1 # one\n- {cidr: 192.0.2.2, note: two}\n# end\n";
    let scene = Scene::new("list.yaml", text);
    scene.gives(
        "add 203.0.113.9 until=2027-01-01T00:00:00Z",
        &text.replace("# end", "- {cidr: 203.0.113.9, until: 2027-01-01T00:00:00Z}\n# end"),
    );
    scene.gives("remove 192.0.2.2", "# balancers\n- 192.0.2.1 # one\n# end\n");
    Scene::new("l.yml", "- 192.0.2.1 # one\n# end\n").gives("remove 192.0.2.1", "# end\n");
    Scene::new("l.yml", "# nobody\n").gives("add 203.0.113.9", "# nobody\n- 203.0.113.9\n");
    Scene::new("l.yml", "# nobody").gives("add 203.0.113.9", "# nobody\n- 203.0.113.9");
    Scene::new("l.yml", "---\n").gives("add 203.0.113.9", "---\n- 203.0.113.9\n");
    Scene::new("l.yml", "").gives("add 203.0.113.9", "- 203.0.113.9\n");
    Scene::new("l.yml", "\u{feff}").gives("add 203.0.113.9", "\u{feff}- 203.0.113.9\n");
    Scene::new("l.yml", "[]\n").gives("add 203.0.113.9", "[203.0.113.9]\n");
    Scene::new("l.yml", "---\n- 192.0.2.1\n").gives("add 203.0.113.9", "---\n- 192.0.2.1\n- 203.0.113.9\n");
    Scene::new("l.yml", "[\n  192.0.2.1,\n]\n").gives("remove 192.0.2.1", "[\n]\n");
}

#[test]
fn a_file_of_two_groups_changes_both() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    fs::write(
        scene.config(),
        format!("groups: {{office: {{file: groups/list.txt}}, two: {{file: ./groups/list.txt}}}}\n{FRAME}"),
    )
    .unwrap();
    assert_eq!(scene.plan("add 203.0.113.9").unwrap().shared_with(), ["two"]);
}

/// Removing the last address under deny would leave an empty file that refuses no client.
#[test]
fn what_would_not_load_is_not_planned() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    let text = format!("groups: {{office: {{file: groups/list.txt}}}}\n{FRAME}");
    fs::write(scene.config(), text.replace("allow: [office]", "allow: [10.0.0.1], deny: [office]")).unwrap();
    let error = scene.plan("remove 192.0.2.1").unwrap_err();
    let EditError::Invalid(problems) = &error else { panic!("{error}") };
    assert!(problems.iter().any(|problem| problem.hint().is_some_and(|hint| hint.contains("allow_empty"))));

    let trusting = FRAME.replace("allow: [office]", "allow: [office], auth: trust");
    fs::write(scene.config(), format!("groups: {{office: [192.0.2.1]}}\n{trusting}")).unwrap();
    let error = scene.plan("add 0.0.0.0/0").unwrap_err();
    assert!(matches!(error, EditError::Invalid(_)), "{error}");
    // And the way out of it.
    fs::write(scene.config(), format!("groups: {{office: [192.0.2.1, 0.0.0.0/0]}}\n{trusting}")).unwrap();
    let edit = scene.plan("remove 0.0.0.0/0").unwrap();
    assert!(edit.after().starts_with("groups: {office: [192.0.2.1]}\n"));
}

#[test]
fn groups_that_cannot_be_edited() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    let entries = [NewEntry::parse("203.0.113.9").unwrap()];
    let error = add(&scene.config(), "ofice", &entries, &options()).unwrap_err();
    assert_eq!((error.kind(), error.hint().unwrap().as_str()), ("unknown_group", "did you mean 'office'?"));
    assert_eq!(add(&scene.config(), "unix", &entries, &options()).unwrap_err().kind(), "built_in");
    let error = add(&scene.path("absent.yaml"), "office", &entries, &options()).unwrap_err();
    assert_eq!(error.kind(), "invalid");
    fs::write(scene.config(), format!("groups: {{office: {{file: groups/absent.txt}}}}\n{FRAME}")).unwrap();
    assert_eq!(scene.plan("add 203.0.113.9").unwrap_err().kind(), "invalid");
    fs::write(scene.config(), "groups: [").unwrap();
    assert_eq!(scene.plan("add 203.0.113.9").unwrap_err().kind(), "invalid");
    fs::write(scene.config(), format!("groups: {{office: {{note: x}}}}\n{FRAME}")).unwrap();
    assert_eq!(scene.plan("add 203.0.113.9").unwrap_err().kind(), "invalid");
    fs::write(scene.config(), format!("groups: {{office: {{file: groups/list.txt, entries: []}}}}\n{FRAME}"))
        .unwrap();
    assert_eq!(scene.plan("add 203.0.113.9").unwrap_err().kind(), "invalid");
}

#[test]
fn what_a_removal_leaves_open_is_told() {
    let scene = Scene::new("list.txt", "");
    fs::write(
        scene.config(),
        format!("groups: {{office: [10.0.0.1, 10.0.0.0/8], other: [10.0.0.0/16]}}\n{FRAME}")
            .replace("[office]", "[office, other]"),
    )
    .unwrap();
    let edit = scene.plan("remove 10.0.0.1").unwrap();
    let told = told(&Ok(edit), scene.directory.path());
    assert!(told.contains("covered by 10.0.0.0/8 of group office, portcullis.yaml:1\n"), "{told}");
    assert!(
        told.contains("public still admits by 10.0.0.0/16 of group other, portcullis.yaml:1\n"),
        "{told}"
    );
}

#[test]
fn a_file_is_replaced_whole_with_its_mode() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    let file = scene.path("groups/list.txt");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&file).unwrap();
    let applied = scene.plan("add 203.0.113.9").unwrap().apply(Method::Replace).unwrap();
    assert!(!applied.owner_changed);
    assert_eq!(fs::read_to_string(&file).unwrap(), "192.0.2.1\n203.0.113.9\n");
    let after = fs::metadata(&file).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino(), "replaced, not written into");
    assert_eq!(fs::read_dir(scene.path("groups")).unwrap().count(), 1, "nothing is left lying about");
}

#[test]
fn a_link_stays_a_link() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    fs::create_dir(scene.path("data")).unwrap();
    fs::rename(scene.path("groups/list.txt"), scene.path("data/real.txt")).unwrap();
    symlink("../data/real.txt", scene.path("groups/list.txt")).unwrap();
    scene.plan("add 203.0.113.9").unwrap().apply(Method::Replace).unwrap();
    assert!(fs::symlink_metadata(scene.path("groups/list.txt")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(scene.path("data/real.txt")).unwrap(), "192.0.2.1\n203.0.113.9\n");
}

#[test]
fn a_file_that_changed_meanwhile_is_left_alone() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    let edit = scene.plan("add 203.0.113.9").unwrap();
    fs::write(scene.path("groups/list.txt"), "192.0.2.2\n").unwrap();
    assert!(matches!(edit.apply(Method::Replace), Err(EditError::Changed { .. })));
    assert_eq!(fs::read_to_string(scene.path("groups/list.txt")).unwrap(), "192.0.2.2\n");
    fs::remove_file(scene.path("groups/list.txt")).unwrap();
    assert!(matches!(edit.apply(Method::Replace), Err(EditError::Io { .. })));
}

/// Many at a time: each finds its text or is told that it changed, and none undoes another.
#[test]
fn edits_at_the_same_time_do_not_undo_each_other() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    std::thread::scope(|scope| {
        for last in 1..=8 {
            let scene = &scene;
            scope.spawn(move || {
                loop {
                    match scene.plan(&format!("add 203.0.113.{last}")).unwrap().apply(Method::Replace) {
                        Ok(_) => break,
                        Err(EditError::Changed { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let text = fs::read_to_string(scene.path("groups/list.txt")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 9, "{text}");
}

#[test]
fn the_diff_names_the_file_and_the_lines_around() {
    let scene = Scene::new("list.txt", "1.1.1.1\n1.1.1.2\n1.1.1.3\n1.1.1.4\n1.1.1.5\n");
    let name = scene.path("groups/list.txt").display().to_string();
    assert_eq!(
        scene.plan("remove 1.1.1.1").unwrap().diff(),
        format!("--- {name}\n+++ {name}\n@@ -1,4 +1,3 @@\n-1.1.1.1\n 1.1.1.2\n 1.1.1.3\n 1.1.1.4\n")
    );
}

#[test]
fn entries_are_strict_and_errors_name_the_corrected_form() {
    for (text, hint) in [
        ("10.1.2.3/8", "write 10.0.0.0/8"),
        ("010.0.0.1", "write 10.0.0.1"),
        ("fe80::1%eth0", "without %zone"),
        ("::ffff:10.0.0.1", "write 10.0.0.1"),
        ("10.0.0.0/33", "10.0.0.0/32"),
        ("office", "write an address"),
        ("home.example.org", "write {host: home.example.org} into the group"),
    ] {
        let error = NewEntry::parse(text).unwrap_err();
        assert!(error.hint().contains(hint), "{text}: {}", error.hint());
    }
    let entry = || NewEntry::parse("10.0.0.1").unwrap();
    for bad in ["", " ", "a\nb", "\u{1b}[2J"] {
        assert!(entry().with_note(bad).is_err() && entry().with_owner(bad).is_err(), "{bad:?}");
    }
    let past = entry().with_until("2001-01-01T01:00:00+01:00", NOW).unwrap_err();
    assert_eq!(
        (past.to_string().as_str(), past.hint().as_str()),
        (
            "'2001-01-01T01:00:00+01:00' has passed: the entry would have ended at \
             2001-01-01T01:00:00+01:00 (2001-01-01T00:00:00Z)",
            "give a later time; to end an entry now, remove it"
        )
    );
    for bad in ["tomorrow", "2027-01-01T00:00:00", "2027-02-30T00:00:00Z"] {
        assert!(entry().with_until(bad, NOW).is_err(), "{bad:?}");
    }
}
