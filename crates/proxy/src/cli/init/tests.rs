use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portcullis.yaml");
    write(&path, "one\n", false).unwrap();
    assert!(matches!(write(&path, "two\n", false), Err(NotWritten::Exists(_))));
    assert!(must_be_new(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let link = dir.path().join("link.yaml");
    std::os::unix::fs::symlink("portcullis.yaml", &link).unwrap();
    write(&link, "three\n", true).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640, "the mode stays");
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(dir.path().read_dir().unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn refusals_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let error = write(&dir.path().join("absent/portcullis.yaml"), "", false).unwrap_err().to_string();
    assert!(error.contains("there is no directory"), "{error}");
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
    let error = must_be_new(&dir.path().join("link")).unwrap_err().to_string();
    assert!(error.contains("--force"), "{error}");
}

#[test]
fn paths_are_one_word_of_a_shell() {
    assert_eq!(shell_word("/etc/portcullis/a-b_c.yaml"), "/etc/portcullis/a-b_c.yaml");
    assert_eq!(shell_word("my file's.yaml"), r"'my file'\''s.yaml'");
    assert_eq!(shell_word(""), "''");
}
