use std::fs;
use std::os::unix::fs::symlink;

use notify::event::{CreateKind, DataChange};

use super::*;

const CREATE: EventKind = EventKind::Create(CreateKind::File);
const WRITE: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
const CLOSE: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
const MOVE: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));

#[test]
fn files_are_open_until_they_are_closed_and_created_until_another_is_renamed_over_them() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list.txt");
    fs::write(&list, "192.0.2.1\n").unwrap();
    let id = fs::metadata(&list).map(|file| (file.dev(), file.ino())).unwrap();
    let writers = Writers::default();
    writers.note(&Event::new(WRITE).add_path(list.clone()));
    assert!(!writers.has_open(&list), "it is not followed");
    writers.follow(&[ConfigFile::unread(&list)]);
    let states = [
        (WRITE, true, None),
        (CLOSE, false, None),
        (CREATE, true, Some(&id)),
        (WRITE, true, Some(&id)),
        (CLOSE, false, Some(&id)),
        (MOVE, false, None),
    ];
    for (kind, is_open, created) in states {
        writers.note(&Event::new(kind).add_path(list.clone()));
        assert_eq!((writers.has_open(&list), writers.created().get(&list)), (is_open, created), "{kind:?}");
    }
    writers.note(&Event::new(CREATE).add_path(list.clone()));
    writers.follow(&[]);
    assert!(writers.created().is_empty());
}

#[test]
fn a_file_is_known_by_its_own_name_and_through_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (list, link) = (directory.path().join("list.txt"), directory.path().join("link.txt"));
    fs::write(&list, "192.0.2.1\n").unwrap();
    symlink("list.txt", &link).unwrap();
    let writers = Writers::default();
    writers.follow(&[ConfigFile::unread(&link)]);
    writers.note(&Event::new(WRITE).add_path(list.canonicalize().unwrap()));
    assert!(writers.has_open(&link));
    writers.note(&Event::new(CREATE).add_path(link.clone()));
    assert!(!writers.has_open(&link), "a new link has its content at once");
    assert!(writers.created().is_empty());
}
