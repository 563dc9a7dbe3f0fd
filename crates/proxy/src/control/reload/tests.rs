use super::*;

const CONFIG: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:0', upstream: main, allow: [office]}
upstreams:
  main: {address: '127.0.0.1:6379'}
groups:
  office: {file: office.txt}
";

#[tokio::test]
async fn a_pipe_without_a_writer_does_not_block_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portcullis.yaml");
    std::fs::write(&path, CONFIG).unwrap();
    let known = vec![ConfigFile::unread(&path)];
    let pipe = dir.path().join("office.txt");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let origin = Origin::File(path.clone());
    let late = read_within(Duration::from_millis(500), origin.clone(), known.clone(), LoadOptions::new())
        .await
        .unwrap_err();
    assert!(late.to_string().contains("a pipe without a writer"), "{late}");
    let Unread::Late { seen: Some(seen) } = late else { panic!("{late:?}") };
    assert!(seen.iter().all(|source| source.path == path && source.digest.is_some()), "{seen:?}");
    // The thread that waits for it ends with the test.
    std::fs::write(&pipe, "192.0.2.1\n").unwrap();

    std::fs::remove_file(&pipe).unwrap();
    std::fs::write(&pipe, "192.0.2.1\n").unwrap();
    let reading = read_within(READING, origin, known, LoadOptions::new()).await.unwrap();
    assert!(reading.result.is_ok(), "{:?}", reading.result);
}
