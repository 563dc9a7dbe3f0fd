use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn numbers_of_any_size() {
    for value in [0, 1, -1, 9, 10, 99, 100, i64::MAX, i64::MIN] {
        assert_eq!(written(|out| integer(out, value)), format!(":{value}\r\n"));
    }
    assert_eq!(written(|out| array(out, usize::MAX)), format!("*{}\r\n", usize::MAX));
}

#[test]
fn commands_and_replies() {
    assert_eq!(written(|out| command(out, &[b"GET", b""])), "*2\r\n$3\r\nGET\r\n$0\r\n\r\n");
    assert_eq!(written(|out| status(out, "OK")), "+OK\r\n");
    assert_eq!(written(|out| error(out, "ERR no")), "-ERR no\r\n");
}

#[test]
fn both_versions() {
    assert_eq!(written(|out| map(out, 7, true)), "%7\r\n");
    assert_eq!(written(|out| map(out, 7, false)), "*14\r\n");
    assert_eq!(written(|out| push(out, 3, true)), ">3\r\n");
    assert_eq!(written(|out| push(out, 3, false)), "*3\r\n");
    assert_eq!(written(|out| set(out, 3, true)), "~3\r\n");
    assert_eq!(written(|out| set(out, 3, false)), "*3\r\n");
    assert_eq!(written(|out| null(out, true)), "_\r\n");
    assert_eq!(written(|out| null(out, false)), "$-1\r\n");
    assert_eq!(written(|out| null_array(out, true)), "_\r\n");
    assert_eq!(written(|out| null_array(out, false)), "*-1\r\n");
    assert_eq!(written(|out| verbatim(out, b"a:1", true)), "=7\r\ntxt:a:1\r\n");
    assert_eq!(written(|out| verbatim(out, b"a:1", false)), "$3\r\na:1\r\n");
}

#[test]
fn lines_never_carry_control_bytes() {
    let all: String = (0..=0x7f_u8).map(char::from).collect();
    for line in [written(|out| error(out, &all)), written(|out| status(out, &all))] {
        let text = line.strip_suffix("\r\n").unwrap();
        assert!(text.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{text:?}");
    }
    let quoted = written(|out| sanitise(out, b"FO\r\n+OK\x7f\x1b[0m"));
    assert_eq!(quoted, "FO  +OK  [0m");
    assert_eq!(written(|out| sanitise(out, &[b'a'; 1000])).len(), MAX_QUOTED);
}
