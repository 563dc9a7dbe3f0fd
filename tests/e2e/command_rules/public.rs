//! `@public` refuses the commands that the manual lists, and forwards no byte of them. It allows the others.

use std::path::Path;

use e2e::client::{command, encode};
use e2e::{Redis, Reply};

use super::tap::Tap;
use super::under;

/// Returns the names in the table of docs/security-model.md.
fn refused() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security-model.md");
    let text = std::fs::read_to_string(page).expect("the manual");
    let table = text.split("| refused | why |").nth(1).expect("the table of @public");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let names = rows.flat_map(|row| {
        let column = row.split('|').nth(1).expect("a column").to_owned();
        column.split(", ").map(|name| name.trim().trim_matches('`').to_owned()).collect::<Vec<_>>()
    });
    names.map(|name| name.split(' ').map(str::to_owned).collect()).collect()
}

#[test]
fn refused_commands_never_reach_redis() {
    let redis = Redis::plain();
    let tap = Tap::before(&redis);
    let gate = under(&tap, "\"@public\"").start();
    let mut subcommands: Vec<Vec<String>> = Vec::new();
    let mut control = redis.control();
    for name in refused() {
        let info = control.call(&format!("COMMAND INFO {}", name[0]));
        let nested = match &info.items()[0] {
            Reply::Array(facts) if name.len() == 1 => facts[9].items().to_vec(),
            _ => Vec::new(),
        };
        let split = |sub: &Reply| sub.items()[0].text().split('|').map(str::to_owned).collect();
        subcommands.extend(nested.iter().map(split));
        if nested.is_empty() {
            subcommands.push(name);
        }
    }
    assert!(subcommands.len() > 90, "{}", subcommands.len());
    let mut client = gate.connect();
    client.assert_reply("ECHO marker", "\"marker\"");
    for name in subcommands {
        let shown = name.join("|").to_lowercase();
        let mut refusals = 0;
        // At least one of these numbers of arguments is valid.
        for arguments in 0..9 {
            let mut words: Vec<&[u8]> = name.iter().map(String::as_bytes).collect();
            words.extend(std::iter::repeat_n(&b"1"[..], arguments));
            client.send_raw(&encode(&words));
            let reply = client.recv().to_string();
            let arity = format!("-ERR wrong number of arguments for '{shown}' command");
            if reply != arity {
                let due = format!("-NOPERM User default has no permissions to run the '{shown}' command");
                assert_eq!(reply, due);
                refusals += 1;
            }
        }
        assert!(refusals > 0, "{shown}");
    }
    let due = String::from_utf8(command("ECHO marker")).expect("text");
    assert_eq!(tap.with("marker"), due);
}

#[test]
fn all_other_commands_pass() {
    let redis = Redis::plain();
    let tap = Tap::before(&redis);
    let gate = under(&tap, "\"@public\"").start();
    let mut client = gate.connect();
    for line in [
        "INFO server",
        "ROLE",
        "SET k v EX 100",
        "GET k",
        "SCAN 0",
        "CLIENT LIST",
        "CLIENT SETNAME n",
        "CLIENT TRACKING on",
        "COMMAND COUNT",
        "LPUSH l 1",
        "BLPOP l 1",
        "XADD s * f v",
        "PUBLISH c m",
        "MULTI",
        "EXEC",
        "WAIT 0 1",
        "DBSIZE",
        "TIME",
        "SELECT 1",
        "HELLO 3",
        "SUBSCRIBE c",
    ] {
        let reply = client.call(line).to_string();
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
}
