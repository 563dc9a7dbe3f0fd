use super::message::{Answer, Block, Granted, Listening, Request, State, line};
use super::*;

/// Another release reads these texts, so they stay as they are.
#[test]
fn the_messages_of_version_1() {
    let text = |line: Vec<u8>| String::from_utf8(line).unwrap();
    let request = Request { takeover: vec![1], release: "0.1.0".to_owned() };
    assert_eq!(text(line(&request)), "{\"takeover\":[1],\"release\":\"0.1.0\"}\n");
    assert_eq!(text(line(&Answer::Refused("why".to_owned()))), "{\"refused\":\"why\"}\n");
    let block: Block =
        serde_json::from_str("{\"listener\":\"public\",\"source\":\"192.0.2.1\",\"milliseconds\":5}")
            .unwrap();
    let granted = Granted { version: 1, release: "0.1.0".to_owned(), sockets: 2, blocks: vec![block] };
    assert_eq!(
        text(line(&Answer::Granted(granted))),
        "{\"granted\":{\"version\":1,\"release\":\"0.1.0\",\"sockets\":2,\"blocks\":[{\"listener\":\"public\",\
         \"source\":\"192.0.2.1\",\"milliseconds\":5}]}}\n"
    );
    let tcp = Listening::Tcp { address: "[::]:6379".parse().unwrap(), v6only: true };
    assert_eq!(text(line(&tcp)), "{\"tcp\":{\"address\":\"[::]:6379\",\"v6only\":true}}\n");
    let unix = Listening::Unix { path: "/run/gate.sock".into() };
    assert_eq!(text(line(&unix)), "{\"unix\":{\"path\":\"/run/gate.sock\"}}\n");
    let release = State::Release(vec![unix]);
    assert_eq!(text(line(&release)), "{\"release\":[{\"unix\":{\"path\":\"/run/gate.sock\"}}]}\n");
    assert_eq!(text(line(&State::Released)), "\"released\"\n");
    assert_eq!(text(line(&State::Serving)), "\"serving\"\n");
    assert_eq!(text(line(&State::Stopped)), "\"stopped\"\n");
}

#[test]
fn a_later_release_is_understood_if_it_speaks_version_1() {
    let request = |text: &str| serde_json::from_str::<Request>(text).unwrap().version();
    assert_eq!(request("{\"takeover\":[1,2],\"release\":\"9.0.0\",\"more\":{}}"), Some(1));
    assert_eq!(request("{\"takeover\":[2,3],\"release\":\"9.0.0\"}"), None);
}

#[test]
fn a_name_belongs_to_the_place_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let named = |file: &str| name(&directory.path().join(file));
    assert_eq!(named("a.yaml"), named("./a.yaml"));
    assert_ne!(named("a.yaml"), named("b.yaml"));
    assert_eq!(named("a.yaml").len(), "0123456789abcdef.takeover".len());
}
