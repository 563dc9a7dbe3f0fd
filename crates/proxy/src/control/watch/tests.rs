use std::fs;
use std::os::unix::fs::symlink;

use tokio::time::timeout;

use super::*;

/// Longer than a poll and settling take, on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);

fn sources(paths: &[&Path]) -> Vec<ConfigFile> {
    paths.iter().map(|path| ConfigFile::unread(path).now()).collect()
}

/// Whether a change of content is noticed while `change` is made.
async fn notices(paths: &[&Path], change: impl AsyncFnOnce()) -> bool {
    let before = sources(paths);
    let mut watch = Watch::new();
    let (noticed, ()) = tokio::join!(timeout(SOON, watch.changed(&before)), async {
        sleep(Duration::from_millis(50)).await;
        change().await;
    });
    matches!(noticed, Ok(Changed::Content)) && sources(paths) != before
}

#[tokio::test]
async fn a_file_written_in_place_or_replaced_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (file, other) = (dir.path().join("a.yaml"), dir.path().join("b"));
    fs::write(&file, "one").unwrap();
    assert!(notices(&[&file], async || fs::write(&file, "two").unwrap()).await);
    fs::write(&other, "three").unwrap();
    assert!(notices(&[&file], async || fs::rename(&other, &file).unwrap()).await);
    let again = async || {
        fs::remove_file(&file).unwrap();
        sleep(Duration::from_millis(20)).await;
        fs::write(&file, "four").unwrap();
    };
    assert!(notices(&[&file], again).await);
}

/// A file in a Kubernetes ConfigMap is a link through `..data`, and an update replaces that link.
#[tokio::test]
async fn a_link_swapped_above_the_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (version, text) in [("..v1", "one"), ("..v2", "two")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("a.yaml"), text).unwrap();
    }
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/a.yaml", at("a.yaml")).unwrap();
    let swap = async || {
        symlink("..v2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    assert!(notices(&[&at("a.yaml")], swap).await);
}

#[tokio::test]
async fn a_slow_write_is_noticed_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, "old").unwrap();
    let before = sources(&[&file]);
    let mut watch = Watch::new();
    let write = async {
        for n in 1..=15 {
            fs::write(&file, "x".repeat(n)).unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    };
    let (noticed, ()) = tokio::join!(
        async {
            timeout(SOON, watch.changed(&before)).await.expect("noticed");
            fs::read_to_string(&file).unwrap()
        },
        write
    );
    assert_eq!(noticed, "x".repeat(15), "not what was there in between");
}

#[tokio::test]
async fn a_file_that_is_touched_or_written_with_the_same_text_is_no_change() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, "same").unwrap();
    let before = sources(&[&file]);
    let mut watch = Watch::new();
    let (noticed, ()) = tokio::join!(timeout(Duration::from_secs(3), watch.changed(&before)), async {
        sleep(Duration::from_millis(100)).await;
        fs::write(&file, "same").unwrap();
    });
    assert!(noticed.is_err());
}

#[tokio::test]
async fn one_file_of_several_and_one_that_was_not_there_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other, later) = (dir.path().join("a"), dir.path().join("sub/b"), dir.path().join("c"));
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(&one, "one").unwrap();
    fs::write(&other, "other").unwrap();
    let all: [&Path; 3] = [&one, &other, &later];
    assert!(notices(&all, async || fs::write(&other, "changed").unwrap()).await);
    assert!(notices(&all, async || fs::write(&later, "here now").unwrap()).await);
    assert!(notices(&all, async || fs::remove_file(&later).unwrap()).await);
}

/// A directory that is replaced by a copy. Without the inodes of the copy, a later write to its file would count as a
/// rename.
#[tokio::test]
async fn a_copy_in_the_place_of_a_file_or_of_its_directory_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["lists", "copy"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("a.txt"), "192.0.2.1\n").unwrap();
    }
    fs::write(at("file"), "192.0.2.1\n").unwrap();
    let list = at("lists/a.txt");
    fs::write(at("a.yaml"), format!("listeners: []\ngroups: {{g: {{file: {}}}}}\n", list.display())).unwrap();
    let read = || portcullis_config::read(&at("a.yaml"), &portcullis_config::LoadOptions::new()).sources;
    for by_rename_of_directory in [true, false] {
        let before = read();
        assert!(before.iter().any(|file| file.path == list), "{before:?}");
        let mut watch = Watch::new();
        let (noticed, ()) = tokio::join!(timeout(SOON, watch.changed(&before)), async {
            sleep(Duration::from_millis(50)).await;
            if by_rename_of_directory {
                fs::rename(at("lists"), at("old")).unwrap();
                fs::rename(at("copy"), at("lists")).unwrap();
            } else {
                fs::rename(at("file"), &list).unwrap();
            }
        });
        let Ok(Changed::Identity(now)) = noticed else { panic!("{noticed:?}") };
        assert_eq!(now, before);
        let is_other = |(now, before): (&ConfigFile, &ConfigFile)| !now.is_same_file(before);
        assert!(now.iter().zip(&before).any(is_other));
        assert!(now.iter().zip(&read()).all(|(now, file)| now.is_same_file(file)));
    }
}
