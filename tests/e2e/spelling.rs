//! Misspelled words on the command line: each is answered with the word that was probably meant.

use e2e::gate::portcullis;

const CONFIG: &str = "\
listeners: [{name: public, bind: \"127.0.0.1:0\", upstream: main, allow: [office]}]
upstreams: {main: {address: \"127.0.0.1:1\"}}
groups: {office: [192.0.2.1]}
";

/// The words, and a part of what is printed.
const MISSPELLED: [(&str, &str); 9] = [
    ("chek", "'check'"),
    ("hash-pasword", "a similar subcommand exists: 'hash-password'"),
    ("check --strct", "a similar argument exists: '--strict'"),
    ("groups ad office 192.0.2.9", "a similar subcommand exists: 'add'"),
    ("import haprox x.cfg", "a similar value exists: 'haproxy'"),
    ("groups show ofice", "did you mean 'office'?"),
    ("groups add ofice 192.0.2.9", "did you mean 'office'?"),
    ("groups suggest --listener publik", "did you mean 'public'?"),
    ("explain 192.0.2.1 --listener publik", "did you mean 'public'?"),
];

#[test]
fn misspelled_words_are_answered_with_the_right_one() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    std::fs::write(directory.path().join("portcullis.yaml"), CONFIG).expect("the configuration is written");
    for (words, told) in MISSPELLED {
        let output = portcullis(directory.path(), words.split(' '));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{words}: {said}");
        assert!(said.contains(told), "{words}: {said}");
    }
    let output = portcullis(directory.path(), ["groups", "show", "unheard-of"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: known groups: "), "{output:?}");
}
