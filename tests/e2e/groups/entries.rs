//! Changes of existing entries, several addresses at once, the forms of `--until`, and new and deleted groups.

use std::process::Command;

use e2e::gate::binary;
use e2e::{Gate, Redis, http};

use super::*;
use crate::reload::{BASE, assert_admits, assert_refuses, edit};

fn groups(gate: &Gate, words: &str) -> Ran {
    let config = gate.directory().join("portcullis.yaml").display().to_string();
    let words =
        ["groups"].into_iter().chain(words.split(' ')).chain(["--config", &config]).map(str::to_owned);
    ran(portcullis(gate.directory(), words.collect::<Vec<_>>()))
}

#[test]
fn a_change_of_an_entry_closes_no_client() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).config(&edit(BASE, "reload: signal", "reload: watch")).start();
    let mut client = assert_admits(&gate, "127.0.0.1");
    for words in [
        "add office 127.0.0.1 --note desk --owner ops",
        "add office 127.0.0.1 --until 8h",
        "add office 127.0.0.1 127.0.0.2 --until 2099-01-01T00:00:00Z",
        "add office 127.0.0.1 --until never --owner",
    ] {
        // An empty word clears the owner.
        let words = if words.ends_with("--owner") { format!("{words} ") } else { words.to_owned() };
        let report = gate.reload_after(|| drop(groups(&gate, &words).assert_exit(0)));
        assert_eq!((&report["result"], &report["cut"]), (&json!("applied"), &json!(0)), "{words}: {report}");
        client.assert_reply("PING", "+PONG");
    }
    let text = fs::read_to_string(gate.directory().join("portcullis.yaml")).expect("readable");
    let entries = "[{cidr: 127.0.0.1, note: desk}, {cidr: 127.0.0.2, until: 2099-01-01T00:00:00Z}]";
    assert!(text.contains(&format!("office: {entries}")), "{text}");

    // The new end counts for the client that is connected.
    groups(&gate, "add office 127.0.0.1 --until 3s").assert_exit(0);
    client.read_to_end();
    assert_refuses(&gate, "127.0.0.1");
    assert_admits(&gate, "127.0.0.2");
}

#[test]
fn several_addresses_are_added_and_removed_together() {
    let files = Files::new(CONFIG);
    let added = files.groups("add office 192.0.2.7 2001:db8::7 192.0.2.7 --note new").assert_exit(0);
    let line = |cidr: &str| format!("added {cidr} to office, portcullis.yaml:6\n");
    assert!(added.out.starts_with(&(line("192.0.2.7") + &line("2001:db8::7"))), "{}", added.out);
    let json = files.groups("add office 192.0.2.7 192.0.2.8 --note newer --json").assert_exit(0).json();
    let changes: Vec<&Value> = json["changes"].as_array().expect("a list").iter().collect();
    assert_eq!((&changes[0]["change"], &changes[0]["entry"]), (&json!("added"), &json!("192.0.2.8")));
    assert_eq!((&changes[1]["change"], &changes[1]["entry"]), (&json!("changed"), &json!("192.0.2.7")));
    files.groups("remove office 192.0.2.7 192.0.2.8 2001:db8::7").assert_exit(0);
    assert_eq!(files.read("portcullis.yaml"), CONFIG);

    for words in [
        "add office 192.0.2.9 192.0.2.1",
        "add office 192.0.2.9 10.1.2.3/8",
        "remove office 192.0.2.1 192.0.2.9",
    ] {
        assert_ne!(files.groups(words).code, 0, "{words}");
        assert_eq!(files.read("portcullis.yaml"), CONFIG, "{words}");
    }
    files.groups("add office 192.0.2.1").assert_exit(1).assert_says(&["give --note, --owner or --until"]);
    let same = files.groups("add partners 203.0.113.0/24 --note staging --owner ops").assert_exit(0);
    assert_eq!(same.out, "203.0.113.0/24 in partners is unchanged, portcullis.yaml:11\n");
    assert_eq!(files.read("portcullis.yaml"), CONFIG);
}

#[test]
fn the_exact_end_is_printed() {
    let files = Files::new(CONFIG);
    let add = |zone: &str, until: &str| {
        let mut command = Command::new(binary());
        command.args(["groups", "add", "partners", "198.51.100.7", "--dry-run", "--json", "--until", until]);
        ran(command.env("TZ", zone).current_dir(files.directory.path()).output().expect("the binary starts"))
    };
    let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
    for (zone, until, written, end) in [
        (berlin, "2098-12-31", "2099-01-01T00:00:00+01:00", "2098-12-31T23:00:00Z"),
        (berlin, "2098-06-30", "2098-07-01T00:00:00+02:00", "2098-06-30T22:00:00Z"),
        ("", "2098-12-31", "2099-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
        (berlin, "2098-12-31T18:00:00-05:00", "2098-12-31T18:00:00-05:00", "2098-12-31T23:00:00Z"),
    ] {
        let json = add(zone, until).assert_exit(0).json();
        assert_eq!(json["until"], end, "{until} {zone}");
        let line = format!("+      - {{cidr: 198.51.100.7, until: {written}}}   # door\n");
        assert!(json["diff"].as_str().is_some_and(|diff| diff.contains(&line)), "{json}");
    }
    let unknown = add("Nowhere/Land", "2098-12-31").assert_exit(64).json();
    assert!(unknown["error"]["hint"].as_str().is_some_and(|hint| hint.contains("set TZ")), "{unknown}");
    add("Nowhere/Land", "8h").assert_exit(0);

    let hours = files.groups("add partners 198.51.100.9 --until 8h").assert_exit(0);
    assert!(hours.out.contains("portcullis.yaml:12, until 2"), "{}", hours.out);
    let offset = files.groups("add partners 198.51.100.9 --until 2098-12-31T18:00:00-05:00").assert_exit(0);
    let told = "changed 198.51.100.9 in partners, portcullis.yaml:12, until 2098-12-31T18:00:00-05:00 (2098-12-31T23:00:00Z)\n";
    assert!(offset.out.starts_with(told), "{}", offset.out);
    for until in ["tomorrow", "0d", "2w", "2098-02-30", "8_h"] {
        files.groups(&format!("add partners 198.51.100.9 --until {until}")).assert_exit(64);
    }
}

/// An entry that has ended admits no client, so adding one is a mistake. So are a name, and the group in second place.
#[test]
fn mistakes_on_the_command_line_have_a_remedy() {
    let files = Files::new(CONFIG);
    for (words, said) in [
        (
            "add partners 198.51.100.9 --until 2020-01-01T00:00:00Z",
            "has passed: the entry would have ended at 2020",
        ),
        ("add partners 198.51.100.9 --until 2020-01-01", "to end an entry now, remove it"),
        ("add 198.51.100.9 partners", "the group comes first: portcullis groups add partners 198.51.100.9"),
        ("remove 198.51.100.9 partners", "portcullis groups remove partners 198.51.100.9"),
        ("add partners home.example.org", "write {host: home.example.org} into the group in the file"),
    ] {
        files.groups(words).assert_exit(64).assert_says(&[said]);
        assert_eq!(files.read("portcullis.yaml"), CONFIG, "{words}");
    }
}

#[test]
fn groups_are_created_and_deleted() {
    let files = Files::new(CONFIG);
    files
        .groups("add branch 192.0.2.9")
        .assert_exit(64)
        .assert_says(&["unknown group 'branch'", "portcullis groups create NAME"]);
    let created = files.groups("create branch").assert_exit(0);
    assert!(created.out.starts_with("created group branch, portcullis.yaml:13\n"), "{}", created.out);
    assert_eq!(files.read("portcullis.yaml"), format!("{CONFIG}  branch:\n"));
    files.groups("create branch").assert_exit(1).assert_says(&["already exists, at portcullis.yaml:13"]);
    files.groups("create Branch").assert_exit(64).assert_says(&["lower-case letters"]);
    files.groups("add branch 192.0.2.9 192.0.2.10").assert_exit(0);
    let block = "  branch:\n    - 192.0.2.9\n    - 192.0.2.10\n";
    assert_eq!(files.read("portcullis.yaml"), format!("{CONFIG}{block}"));
    // The style stays when the list is empty in between.
    files.groups("remove branch 192.0.2.9 192.0.2.10").assert_exit(0);
    files.groups("add branch 192.0.2.9 192.0.2.10").assert_exit(0);
    assert_eq!(files.read("portcullis.yaml"), format!("{CONFIG}{block}"));

    let deleted = files.groups("delete branch --json").assert_exit(0).json();
    assert_eq!((&deleted["change"], &deleted["line"]), (&json!("deleted"), &json!(13)));
    assert_eq!(files.read("portcullis.yaml"), CONFIG);
    let uses = ["group 'abusers' is in use: listener 'public' (deny), portcullis.yaml:3"];
    files.groups("delete abusers").assert_exit(1).assert_says(&uses);
    let json = files.groups("delete abusers --json").assert_exit(1).json();
    assert_eq!(json["error"]["uses"], json!(["listener 'public' (deny), portcullis.yaml:3"]));
    files.groups("delete nobody").assert_exit(64).assert_says(&["unknown group 'nobody'"]);

    let unused = CONFIG.replace(", deny: [abusers]", "");
    fs::write(files.path("portcullis.yaml"), &unused).expect("written");
    let deleted = files.groups("delete abusers").assert_exit(0).out;
    assert!(
        deleted.starts_with("deleted group abusers, was at portcullis.yaml:12; abusers.txt stays\n"),
        "{deleted}"
    );
    assert!(files.path("abusers.txt").exists());
    files.groups("list").assert_exit(0);
}

/// The admin endpoint edits as the command does.
#[test]
fn the_admin_endpoint_changes_entries_too() {
    let redis = Redis::plain();
    let yaml = edit(BASE, "{admin}'", "{admin}', token: {file: token}");
    let token = e2e::reload::TOKEN;
    let gate = Gate::before(&redis).config(&yaml).file("token", token).secret(token).start();
    let mut client = assert_admits(&gate, "127.0.0.1");
    let post = |what: &str, body: &Value| {
        let path = format!("/api/groups/office/entries{what}");
        let (status, body) = http::post_json(gate.admin(), &path, token, body).expect("an answer");
        (status, serde_json::from_str::<Value>(&body).expect("JSON"))
    };
    let (status, answer) = post("", &json!({"cidr": "127.0.0.1", "note": "desk", "until": "2099-01-01"}));
    assert_eq!((status, &answer["change"], &answer["entry"]), (200, &json!("changed"), &json!("127.0.0.1")));
    assert!(answer["until"].as_str().is_some_and(|until| until.starts_with("2099-01-0")), "{answer}");
    assert_eq!((&answer["reload"]["result"], &answer["reload"]["cut"]), (&json!("applied"), &json!(0)));
    let (status, answer) =
        post("", &json!({"cidr": ["127.0.0.1", "127.0.0.2"], "note": "", "until": "never"}));
    assert_eq!(status, 200, "{answer}");
    let entries: Vec<&Value> =
        answer["entries"].as_array().into_iter().flatten().map(|entry| &entry["change"]).collect();
    assert_eq!(entries, ["added", "changed"]);
    client.assert_reply("PING", "+PONG");
    let text = || fs::read_to_string(gate.directory().join("portcullis.yaml")).expect("readable");
    let both = text();
    assert!(both.contains("office: [{cidr: 127.0.0.1}, 127.0.0.2]"), "{both}");

    for (what, body, code) in [
        ("", json!({"cidr": ["127.0.0.3", "127.0.0.1"]}), 409),
        ("", json!({"cidr": ["127.0.0.3", "127.0.0.300"]}), 400),
        ("", json!({"cidr": "127.0.0.3", "until": "tomorrow"}), 400),
        ("/remove", json!({"cidr": ["127.0.0.2", "127.0.0.3"]}), 404),
        ("", json!({"cidr": []}), 400),
        ("/remove", json!({"cidr": []}), 400),
    ] {
        assert_eq!(post(what, &body).0, code, "{body}");
        assert_eq!(text(), both, "{body}");
    }
    assert_eq!(post("/remove", &json!({"cidr": ["127.0.0.2"]})).0, 200);
    assert_refuses(&gate, "127.0.0.2");
    client.assert_reply("PING", "+PONG");
}
