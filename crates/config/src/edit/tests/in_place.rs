//! Files that are written in place: their old text, their readers, and crashes in the middle.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::files::Scene;
use super::*;
use crate::edit::in_place::{Step, steps};
use crate::scope::UNFINISHED;

/// Makes the first bytes of a step take effect.
fn take(text: &mut Vec<u8>, step: Step<'_>, bytes_done: usize) {
    match step {
        Step::Write { at, bytes } => {
            let at = usize::try_from(at).unwrap();
            let bytes = &bytes[..bytes_done.min(bytes.len())];
            text.resize(text.len().max(at + bytes.len()), 0);
            text[at..at + bytes.len()].copy_from_slice(bytes);
        }
        Step::Resize(length) => text.resize(usize::try_from(length).unwrap(), 0),
    }
}

/// A crash after any byte leaves the old text, the new text, or a file that no loader takes.
#[test]
fn a_crash_leaves_no_half_file_that_loads() {
    let (long, short) = ("- 10.0.0.0/8\n- 192.0.2.1\n- 128.0.0.0/16\n", "- 10.0.0.0/8\n");
    for (before, after) in [(long, short), (short, long), (long, ""), ("", long), ("x", "y"), ("", "")] {
        let all = steps(after.as_bytes());
        for crashed in 0..=all.len() {
            let longest = match all.get(crashed) {
                Some(Step::Write { bytes, .. }) => bytes.len(),
                _ => 0,
            };
            for bytes_done in 0..=longest {
                let mut text = before.as_bytes().to_vec();
                all[..crashed].iter().for_each(|step| take(&mut text, *step, usize::MAX));
                match all.get(crashed) {
                    Some(step @ Step::Write { .. }) if bytes_done > 0 => take(&mut text, *step, bytes_done),
                    _ => {}
                }
                let whole = text == before.as_bytes() || text == after.as_bytes();
                assert!(whole || text.starts_with(&UNFINISHED), "{crashed}.{bytes_done}: {text:?}");
                assert!(crashed < all.len() || text == after.as_bytes(), "{text:?}");
            }
        }
    }
    assert!(String::from_utf8(UNFINISHED.to_vec()).is_err());
}

#[test]
fn the_old_text_is_kept_with_its_mode() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    let (file, backup) = (scene.path("groups/list.txt"), scene.path("groups/list.txt.bak"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(&backup, "an older one\n").unwrap();
    let before = fs::metadata(&file).unwrap();
    let applied = scene.plan("add 203.0.113.9").unwrap().apply(Method::InPlace).unwrap();
    assert_eq!(applied, Applied { owner_changed: false, in_place: true, backup: Some(backup.clone()) });
    assert_eq!(fs::read_to_string(&file).unwrap(), "192.0.2.1\n203.0.113.9\n");
    assert_eq!(fs::read_to_string(&backup).unwrap(), "192.0.2.1\n");
    let after = fs::metadata(&file).unwrap();
    assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()));
    assert_eq!(fs::metadata(&backup).unwrap().mode(), before.mode());

    // Shorter, and then without entries: an empty file would look cut.
    scene.plan("remove 192.0.2.1").unwrap().apply(Method::InPlace).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "203.0.113.9\n");
    scene.plan("remove 203.0.113.9").unwrap().apply(Method::InPlace).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "\n");
    scene.plan("add 203.0.113.9").unwrap().apply(Method::InPlace).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "\n203.0.113.9\n");
    assert_eq!(fs::read_to_string(&backup).unwrap(), "\n");
    assert_eq!(fs::read_dir(scene.path("groups")).unwrap().count(), 2, "nothing is left lying about");
}

/// The backup stands beside the file that was written, not beside the link; a link of its name is not followed.
#[test]
fn links_are_followed_to_the_file_only() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    fs::create_dir(scene.path("data")).unwrap();
    fs::rename(scene.path("groups/list.txt"), scene.path("data/real.txt")).unwrap();
    symlink("../data/real.txt", scene.path("groups/list.txt")).unwrap();
    fs::write(scene.path("precious"), "stays\n").unwrap();
    symlink("../precious", scene.path("data/real.txt.bak")).unwrap();
    scene.plan("add 203.0.113.9").unwrap().apply(Method::InPlace).unwrap();
    assert!(fs::symlink_metadata(scene.path("groups/list.txt")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(scene.path("data/real.txt")).unwrap(), "192.0.2.1\n203.0.113.9\n");
    assert_eq!(fs::read_to_string(scene.path("data/real.txt.bak")).unwrap(), "192.0.2.1\n");
    assert_eq!(fs::read_to_string(scene.path("precious")).unwrap(), "stays\n");
}

#[test]
fn without_a_backup_nothing_is_written() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    fs::create_dir(scene.path("groups/list.txt.bak")).unwrap();
    let error = scene.plan("add 203.0.113.9").unwrap().apply(Method::InPlace).unwrap_err();
    assert_eq!(error.kind(), "no_backup", "{error}");
    assert!(error.to_string().contains("list.txt.bak: is a directory"), "{error}");
    assert_eq!(fs::read_to_string(scene.path("groups/list.txt")).unwrap(), "192.0.2.1\n");
}

/// The loader reads whole texts only while one edit after the other is written. On a busy machine the writer may hold
/// its lock at each attempt of the reader within a second; then the loader refuses the file, and reads no part of it.
#[test]
fn a_reader_never_finds_half_a_file() {
    let scene = Scene::new("list.yaml", "- 192.0.2.1\n");
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let reading = crate::read(&scene.config(), &options());
                let locked = reading.sources.iter().any(|source| source.locked);
                if let Err(problems) = reading.result {
                    assert!(locked, "{problems:?}");
                }
            }
        });
        for _ in 0..20 {
            for command in ["add 203.0.113.9 note=a_note_that_makes_the_file_longer", "remove 203.0.113.9"] {
                scene.plan(command).unwrap().apply(Method::InPlace).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_to_string(scene.path("groups/list.yaml")).unwrap(), "- 192.0.2.1\n");
}

/// A reload takes the file that an edit wrote in place without the last entry.
#[test]
fn a_shorter_yaml_file_is_not_taken_for_a_cut_one() {
    let scene = Scene::new("list.yaml", "- 192.0.2.1\n- 192.0.2.2\n\n- 192.0.2.3\n");
    let mut in_force = crate::read(&scene.config(), &options()).sources;
    for gone in ["192.0.2.3", "192.0.2.2"] {
        scene.plan(&format!("remove {gone}")).unwrap().apply(Method::InPlace).unwrap();
        let options = options().after(&in_force, &in_force, std::collections::HashMap::new());
        let reading = crate::read(&scene.config(), &options);
        assert!(reading.result.is_ok(), "{:?}", reading.result);
        in_force = reading.sources;
    }
}

#[test]
fn edits_in_place_at_the_same_time_all_arrive() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    thread::scope(|threads| {
        for last in 1..=6 {
            let scene = &scene;
            threads.spawn(move || {
                loop {
                    match scene.plan(&format!("add 203.0.113.{last}")).unwrap().apply(Method::InPlace) {
                        Ok(_) => break,
                        Err(EditError::Changed { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(fs::read_to_string(scene.path("groups/list.txt")).unwrap().lines().count(), 7);
}

#[test]
fn the_loader_waits_for_a_writer() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    let writer = OpenOptions::new().write(true).open(scene.path("groups/list.txt")).unwrap();
    writer.lock().unwrap();
    writer.set_len(3).unwrap();
    thread::scope(|threads| {
        threads.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            fs::write(scene.path("groups/list.txt"), "192.0.2.2\n").unwrap();
            writer.unlock().unwrap();
        });
        let loaded = load(&scene.config(), &options()).unwrap_or_else(|problems| panic!("{problems:?}"));
        let office = loaded.config.policy().group("office").unwrap();
        assert_eq!(office.entries().next().unwrap().entry().to_string(), "192.0.2.2");
    });
}

#[test]
fn the_loader_does_not_wait_without_end() {
    let scene = Scene::new("list.txt", "192.0.2.1\n");
    let writer = File::open(scene.path("groups/list.txt")).unwrap();
    writer.lock().unwrap();
    let reading = crate::read(&scene.config(), &options());
    let problems = reading.result.unwrap_err();
    let text: String = problems.iter().map(ToString::to_string).collect();
    assert!(text.contains("list.txt: another program holds a lock on it (flock)"), "{text}");
    let locked: Vec<bool> = reading.sources.iter().map(|source| source.locked).collect();
    assert_eq!(locked, [false, true]);
    drop(writer);
    assert!(load(&scene.config(), &options()).is_ok());
}

#[test]
fn an_interrupted_edit_is_named_with_the_remedy() {
    let scene = Scene::new("list.yaml", "- 192.0.2.1\n");
    fs::write(scene.path("groups/list.yaml"), [&UNFINISHED, b"- 203.0.113.9\n".as_slice()].concat()).unwrap();
    let told = || -> String {
        load(&scene.config(), &options()).unwrap_err().iter().map(ToString::to_string).collect()
    };
    assert!(told().contains("if an edit was interrupted, restore it from your own copy"), "{}", told());
    fs::write(scene.path("groups/list.yaml.bak"), "- 192.0.2.1\n").unwrap();
    let text = told();
    assert!(text.contains("an edit of it was interrupted: restore it from "), "{text}");
    assert!(text.contains("list.yaml.bak"), "{text}");
}
