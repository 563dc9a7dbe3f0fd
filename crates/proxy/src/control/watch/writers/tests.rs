use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;

use super::*;

fn id(path: &Path) -> FileId {
    fs::metadata(path).map(|file| (file.dev(), file.ino())).unwrap()
}

/// Writers of this file.
fn following(path: &Path) -> Writers {
    let writers = Writers::reported().unwrap();
    writers.follow(&[ConfigFile::unread(path)]);
    writers
}

/// Writes and leaves the file open.
fn write(path: &Path, how: &mut fs::OpenOptions) -> File {
    let mut file = how.write(true).open(path).unwrap();
    file.write_all(b"192.0.2.1\n").unwrap();
    file
}

/// As `touch` does.
fn touch(path: &Path) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
}

#[test]
fn a_file_is_open_until_its_writer_closes_it() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list.txt");
    fs::write(&list, "192.0.2.1\n").unwrap();
    let writers = following(&list);
    for truncate in [false, true] {
        let file = write(&list, File::options().truncate(truncate));
        assert!(writers.has_open(&list));
        // Other programs open and close it meanwhile.
        fs::read(&list).unwrap();
        assert!(writers.has_open(&list));
        let reader = File::open(&list).unwrap();
        drop(file);
        assert!(writers.has_open(&list), "the reader may be a writer");
        drop(reader);
        assert!(!writers.has_open(&list));
        touch(&list);
        fs::read(&list).unwrap();
        assert!(!writers.has_open(&list), "it was not written");
    }
    assert_eq!(writers.in_place(), HashMap::from([(list.clone(), id(&list))]));
    writers.follow(&[]);
    assert!(writers.in_place().is_empty());
    drop(write(&list, File::options().append(true)));
    assert!(!writers.has_open(&list), "it is not followed");
}

/// Other programs that can write open and close the list meanwhile. The system joins equal events.
#[test]
fn a_file_that_several_programs_closed_may_still_be_open() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list.txt");
    fs::write(&list, "192.0.2.1\n").unwrap();
    let writers = following(&list);
    for truncate in [false, true] {
        let file = write(&list, File::options().truncate(truncate));
        touch(&list);
        assert!(writers.has_open(&list), "truncate {truncate}");
        drop(write(&list, File::options().append(true)));
        assert!(writers.has_open(&list), "truncate {truncate}");
        let [one, other] = [(); 2].map(|()| File::options().append(true).open(&list).unwrap());
        drop(one);
        other.set_modified(std::time::SystemTime::now()).unwrap();
        drop(other);
        assert!(writers.has_open(&list), "two opens are one event");
        drop(file);
        assert!(writers.has_open(&list), "the last close may have been another");
        writers.lock().files.get_mut(&list).unwrap().written.at = Instant::now().checked_sub(QUIET);
        drop(write(&list, File::options().append(true)));
        assert!(!writers.has_open(&list), "after some time without events");
    }
}

#[test]
fn a_program_that_opened_it_before_it_was_followed() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list.txt");
    let mut file = File::create(&list).unwrap();
    let reader = File::open(&list).unwrap();
    let writers = following(&list);
    file.write_all(b"192.0.2.1\n").unwrap();
    assert!(writers.has_open(&list));
    drop(reader);
    fs::read(&list).unwrap();
    assert!(writers.has_open(&list));
    drop(file);
    assert!(!writers.has_open(&list));
}

#[test]
fn a_file_is_written_in_place_until_another_is_renamed_over_it() {
    let directory = tempfile::tempdir().unwrap();
    let (list, new) = (directory.path().join("list.txt"), directory.path().join("new"));
    let writers = following(&list);
    let file = write(&list, File::options().create(true));
    assert!(writers.has_open(&list));
    assert_eq!(writers.in_place(), HashMap::from([(list.clone(), id(&list))]));
    fs::write(&new, "192.0.2.2\n").unwrap();
    fs::rename(&new, &list).unwrap();
    assert!(writers.in_place().is_empty());
    assert!(!writers.has_open(&list), "the open file has no name");
    (&file).write_all(b"192.0.2.3\n").unwrap();
    drop(file);
    assert!(writers.in_place().is_empty() && !writers.has_open(&list));
    let renamed = write(&list, File::options().append(true));
    assert!(writers.has_open(&list));
    assert_eq!(writers.in_place(), HashMap::from([(list.clone(), id(&list))]));
    drop(renamed);
    fs::remove_file(&list).unwrap();
    assert!(writers.in_place().is_empty());
    // A link has its content at once.
    fs::write(&new, "192.0.2.2\n").unwrap();
    fs::hard_link(&new, &list).unwrap();
    assert!(writers.in_place().is_empty() && !writers.has_open(&list));
}

#[test]
fn a_file_is_known_by_its_own_name_and_through_links() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["links", "files"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("files/list.txt"), "192.0.2.1\n").unwrap();
    symlink("../files/list.txt", at("links/middle.txt")).unwrap();
    symlink("links/middle.txt", at("link.txt")).unwrap();
    let (link, list) = (at("link.txt"), at("files/list.txt"));
    let writers = following(&link);
    let file = write(&list, File::options().append(true));
    assert!(writers.has_open(&link));
    drop(file);
    // Also if the file is made again.
    fs::remove_file(&list).unwrap();
    writers.follow(&[ConfigFile::unread(&link)]);
    let file = write(&list, File::options().create(true));
    assert!(writers.has_open(&link));
    assert_eq!(writers.in_place(), HashMap::from([(link.clone(), id(&list))]));
    drop(file);
    fs::remove_file(at("links/middle.txt")).unwrap();
    symlink("../files/list.txt", at("links/middle.txt")).unwrap();
    assert!(writers.in_place().is_empty(), "a new link has its content at once");
}

#[test]
fn a_directory_that_is_replaced_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let list = at("lists/list.txt");
    for name in ["lists", "new"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("list.txt"), "192.0.2.1\n").unwrap();
    }
    let writers = following(&list);
    let old = write(&list, File::options().append(true));
    fs::rename(at("lists"), at("old")).unwrap();
    fs::rename(at("new"), at("lists")).unwrap();
    assert!(writers.take_told());
    writers.follow(&[ConfigFile::unread(&list)]);
    assert!(!writers.has_open(&list), "another file is open");
    drop(old);
    let new = write(&list, File::options().append(true));
    assert!(writers.has_open(&list));
    assert_eq!(writers.in_place(), HashMap::from([(list.clone(), id(&list))]));
    drop(new);
    assert!(!writers.has_open(&list));
}

#[test]
fn lost_events_could_have_told_of_a_writer() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list.txt");
    fs::write(&list, "192.0.2.1\n").unwrap();
    let writers = following(&list);
    writers.take_told();
    writers.lock().note(ReadFlags::QUEUE_OVERFLOW, &(-1, OsString::new()));
    assert!(writers.take_told());
    assert!(writers.has_open(&list));
    assert_eq!(writers.in_place(), HashMap::from([(list.clone(), id(&list))]));
    fs::read(&list).unwrap();
    assert!(writers.has_open(&list));
    drop(write(&list, File::options().append(true)));
    assert!(!writers.has_open(&list));
}

#[test]
fn only_reading_tells_of_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list.txt");
    fs::write(&list, "192.0.2.1\n").unwrap();
    let writers = following(&list);
    fs::read(&list).unwrap();
    fs::read_dir(directory.path()).unwrap().for_each(drop);
    assert!(!writers.take_told());
    touch(&list);
    assert!(writers.take_told());
    assert!(!writers.take_told());
}
