//! Files that a rename cannot replace: mount points, and files in directories that are not writable.

use std::fs::{File, Permissions, set_permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;
use std::thread;
use std::time::Duration;

use e2e::gate::binary;
use e2e::{Gate, Redis, eventually, http, namespace};

use super::*;
use crate::reload::{BASE, assert_admits, assert_refuses, edit};

/// A script that makes the file `$1` a mount point, as `docker run -v FILE:FILE` does.
const MOUNTED: &str = "mount --bind \"$1\" \"$1\"; shift; exec \"$@\"";

/// A script that makes the file in its last word a mount point.
const LAST_MOUNTED: &str = "for last; do :; done; mount --bind \"$last\" \"$last\"; exec \"$@\"";

fn watched() -> String {
    edit(BASE, "reload: signal", "reload: watch")
}

/// Runs `groups` with these words on the configuration of the gate. The words in `before` come before the program.
fn groups(gate: &Gate, before: &[String], words: &str) -> Ran {
    let config = gate.directory().join("portcullis.yaml").display().to_string();
    let mut all: Vec<String> = before.to_vec();
    all.extend([config.clone(), binary().display().to_string(), "groups".to_owned()]);
    all.extend(words.split(' ').map(str::to_owned));
    all.extend(["--config".to_owned(), config]);
    ran(Command::new(&all[0]).args(&all[1..]).output().expect("unshare starts"))
}

#[test]
fn a_mount_point_is_written_in_place() {
    let Some(mounted) = namespace::mounts("edits of a file that is a mount point", MOUNTED) else { return };
    let redis = Redis::plain();
    let gate = Gate::before(&redis).config(&watched()).start();
    let path = gate.directory().join("portcullis.yaml");
    set_permissions(&path, Permissions::from_mode(0o640)).expect("permitted");
    let (text, before) = (fs::read_to_string(&path).expect("readable"), fs::metadata(&path).expect("there"));
    let mut stays = assert_admits(&gate, "127.0.0.1");
    assert_refuses(&gate, "127.0.0.2");

    groups(&gate, &mounted, "add office 127.0.0.2")
        .assert_exit(0)
        .assert_says(&["was written in place; its old text is kept as", "portcullis.yaml.bak"]);
    eventually("the new address is admitted", || {
        (gate.get("/api/explain?ip=127.0.0.2").1.contains("\"allowed\":true")).then_some(())
    });
    assert_admits(&gate, "127.0.0.2");
    stays.assert_reply("PING", "+PONG");
    let (backup, after) = (path.with_extension("yaml.bak"), fs::metadata(&path).expect("there"));
    assert_eq!(fs::read_to_string(&backup).expect("readable"), text);
    assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()));
    assert_eq!(fs::metadata(&backup).expect("there").mode(), before.mode());

    let json = groups(&gate, &mounted, "remove office 127.0.0.2 --json").assert_exit(0).json();
    assert_eq!((&json["in_place"], &json["backup"]), (&json!(true), &json!(backup)));
    assert_eq!(fs::read_to_string(&path).expect("readable"), text);
    eventually("the address is not admitted any more", || {
        (gate.get("/api/explain?ip=127.0.0.2").1.contains("\"allowed\":false")).then_some(())
    });
    stays.assert_reply("PING", "+PONG");
}

#[test]
fn the_admin_endpoint_writes_a_mount_point_in_place() {
    let Some(mounted) = namespace::mounts("edits of a mount point by the admin endpoint", LAST_MOUNTED)
    else {
        return;
    };
    let redis = Redis::plain();
    let yaml = edit(BASE, "{admin}'", "{admin}', token: {file: token}");
    let gate = Gate::before(&redis)
        .config(&yaml)
        .file("token", e2e::reload::TOKEN)
        .secret(e2e::reload::TOKEN)
        .under(mounted)
        .start();
    let text = fs::read_to_string(gate.directory().join("portcullis.yaml")).expect("readable");
    let (status, body) = http::post_json(
        gate.admin(),
        "/api/groups/office/entries",
        e2e::reload::TOKEN,
        &json!({"cidr": "127.0.0.2"}),
    )
    .expect("the admin endpoint answers");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &answer["in_place"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["reload"]["result"], "applied", "{answer}");
    let backup = answer["backup"].as_str().expect("a path");
    assert_eq!(fs::read_to_string(backup).expect("readable"), text);
    assert_admits(&gate, "127.0.0.2");
}

/// A container has a read-only root and one writable file. Then a user may write the file but not its directory.
#[test]
fn without_room_for_a_backup_only_with_in_place() {
    let what = "files in directories that are not writable";
    let user = "touch bin; mount --bind \"$1\" bin; shift; \
                exec setpriv --reuid 65534 --regid 65534 --clear-groups ./bin \"$@\"";
    let read_only = "mount --bind . .; cd \"$PWD\"; mount --bind portcullis.yaml portcullis.yaml; \
                     mount -o remount,bind,ro .; exec \"$@\"";
    for script in [user, read_only] {
        let Some(before) = namespace::mounts(what, script) else { return };
        let files = Files::new(CONFIG);
        set_permissions(files.directory.path(), Permissions::from_mode(0o755)).expect("permitted");
        chown(files.path("portcullis.yaml"), Some(65534), Some(65534)).expect("permitted");
        let groups = |words: &str| {
            let mut command = Command::new(&before[0]);
            command.args(&before[1..]).arg(binary()).arg("groups").args(words.split(' '));
            ran(command.current_dir(files.directory.path()).output().expect("unshare starts"))
        };
        groups("add office 192.0.2.77 --dry-run").assert_exit(0);
        let words = ["cannot replace portcullis.yaml", "is not writable", "use --in-place"];
        groups("add office 192.0.2.77").assert_exit(1).assert_says(&words);
        assert_eq!(files.read("portcullis.yaml"), CONFIG);
        let json = groups("add office 192.0.2.77 --json").assert_exit(1).json();
        assert_eq!(json["error"]["kind"], "read_only_directory");

        let done = groups("add office 192.0.2.77 --in-place").assert_exit(0);
        done.assert_says(&["was written in place, and its old text is not kept"]);
        assert!(files.read("portcullis.yaml").contains("10.0.0.0/8, 192.0.2.77]"));
        assert!(!files.path("portcullis.yaml.bak").exists());

        // A file that is not writable itself cannot be changed.
        chown(files.path("portcullis.yaml"), Some(0), Some(0)).expect("permitted");
        if script == user {
            groups("add office 192.0.2.78").assert_exit(1).assert_says(&["permission denied"]);
            groups("add office 192.0.2.78 --in-place").assert_exit(1).assert_says(&["permission denied"]);
        }
    }
}

/// The disk becomes full, or the limit on the file size is reached, in the middle of the new text.
#[test]
fn a_write_that_fails_is_undone() {
    let limit = CONFIG.len() + 100;
    let size_limit = format!("trap '' XFSZ; exec prlimit --fsize={limit} \"$@\"");
    let full = "mkdir disk; mount -t tmpfs -o size=16k none disk; cp portcullis.yaml abusers.txt disk; cd disk; \
                head -c 4096 /dev/zero > filler; \"$@\" || code=$?; cmp portcullis.yaml ../portcullis.yaml || exit 99; \
                cmp portcullis.yaml.bak ../portcullis.yaml || exit 99; exit $code";
    let limited = ["sh", "-c", &size_limit, "sh"].map(str::to_owned).to_vec();
    let full = namespace::mounts("edits on a full disk", full);
    for (before, reason) in [(Some(limited), "file too large"), (full, "no space left on device")] {
        let Some(before) = before else { continue };
        let files = Files::new(CONFIG);
        let note = "n".repeat(4000);
        let mut command = Command::new(&before[0]);
        command.args(&before[1..]).arg(binary());
        command.args(["groups", "add", "office", "192.0.2.77", "--in-place", "--note", &note]);
        let failed = command.current_dir(files.directory.path()).output().expect("sh starts");
        let failed = ran(failed).assert_exit(1);
        failed.assert_says(&["cannot write", reason]);
        assert_eq!(files.read("portcullis.yaml"), CONFIG, "{reason}");
        files.groups("list").assert_exit(0);
    }
}

/// The last entry of a deny list is removed where the file cannot be renamed over: the reload takes the empty list.
#[test]
fn a_deny_list_can_be_emptied_in_place() {
    let redis = Redis::plain();
    let yaml = edit(&watched(), "allow: [office]", "allow: [office], deny: [bad]");
    let yaml = edit(&yaml, "[127.0.0.1]}", "[127.0.0.0/24], bad: {file: bad.txt, allow_empty: true}}");
    let gate = Gate::before(&redis).config(&yaml).file("bad.txt", "127.0.0.2\n").start();
    assert_refuses(&gate, "127.0.0.2");
    let config = gate.directory().join("portcullis.yaml").display().to_string();
    let remove = ["groups", "remove", "bad", "127.0.0.2", "--in-place", "--config", &config];
    let report = gate.reload_after(|| drop(ran(portcullis(gate.directory(), remove)).assert_exit(0)));
    assert_eq!(report["result"], "applied", "{report}");
    assert_admits(&gate, "127.0.0.2");
}

/// Another program writes half a file under a lock, and takes longer than the loader usually waits.
#[test]
fn a_locked_file_is_not_read() {
    let redis = Redis::plain();
    let yaml = edit(&watched(), "[127.0.0.1]", "{file: list.txt}");
    let gate = Gate::before(&redis).config(&yaml).file("list.txt", "127.0.0.1\n127.0.0.3\n").start();
    let path = gate.directory().join("list.txt");
    let lock = File::open(&path).expect("there");
    lock.lock().expect("not locked yet");
    let report = gate.reload_after(|| fs::write(&path, "127.0.0.1\n").expect("writable"));
    assert_eq!(report["result"], "rejected", "{report}");
    assert!(report.to_string().contains("another program holds a lock on it (flock)"), "{report}");
    let config = gate.directory().join("portcullis.yaml");
    let check = || portcullis(gate.directory(), ["check".as_ref(), "--config".as_ref(), config.as_os_str()]);
    assert_eq!(check().status.code(), Some(78));
    assert_admits(&gate, "127.0.0.3");

    // From here on only the lock changes.
    thread::sleep(Duration::from_millis(2500));
    drop(lock);
    eventually("the file is read after the lock", || {
        let reports = gate.audited("reload");
        (reports.last().is_some_and(|report| report["result"] == "applied")).then_some(())
    });
    assert_refuses(&gate, "127.0.0.3");
    assert_eq!(check().status.code(), Some(0));
}
