//! Namespaces for one test: a network in which the test can use any address, and mounts that others do not see.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs a test on a thread in a new network namespace, whose loopback interface is up. Every process that the test
/// starts is in the namespace too. If no namespace can be made, prints that `what` is not checked, and does not run
/// the test.
pub fn alone(what: &str, test: impl FnOnce() + Send) {
    let network = ["--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"];
    let Some(mut keeper) = keeper(&network, &format!("no network namespace can be made here; {what}")) else {
        return;
    };
    let inside = || {
        let namespace = File::open(format!("/proc/{}/ns/net", keeper.id())).expect("the namespace");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("permitted");
        test();
    };
    let ended = std::thread::scope(|scope| scope.spawn(inside).join());
    keeper.kill().expect("the process sleeps");
    keeper.wait().expect("it was killed");
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// Starts `unshare` with these words, and waits until it prints `up`. If it does not, prints `why` something is not
/// checked, and returns `None`.
fn keeper(words: &[&str], why: &str) -> Option<Child> {
    let keeper = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut keeper = keeper.expect("setpriv of util-linux starts");
    let mut word = [0; 3];
    let told = keeper.stdout.as_mut().expect("a pipe").read_exact(&mut word);
    if told.is_err() {
        not_checked(why);
        keeper.wait().expect("it has ended");
        return None;
    }
    Some(keeper)
}

/// A file system in memory that holds a few pages of data.
pub struct SmallDisk {
    keeper: Child,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl SmallDisk {
    /// The unit in which a file takes space.
    pub const PAGE: usize = 4096;

    /// Mounts a disk in a namespace of its own. If that is not permitted, prints that `what` not checked.
    pub fn new(pages: usize, what: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let mount = format!(
            "mount -t tmpfs -o size={} disk \"$0\" && echo up && exec sleep 3600",
            pages * Self::PAGE
        );
        let here = directory.path().to_str().expect("UTF-8");
        let keeper = keeper(
            &["--mount", "sh", "-c", &mount, here],
            &format!("no file system can be mounted; {what}"),
        )?;
        // Every process sees the mounts of another one here.
        let root = PathBuf::from(format!("/proc/{}/root", keeper.id()));
        let path = root.join(directory.path().strip_prefix("/").expect("absolute"));
        Some(Self { keeper, path, _directory: directory })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Fails only if the process has ended already.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Runs `ip` in the namespace of the calling thread.
///
/// # Panics
/// If it fails.
pub fn ip(words: &[&str]) {
    assert!(Command::new("ip").args(words).status().expect("ip starts").success(), "ip {words:?}");
}

/// Returns the words to put before a command, so that `script` runs first in a new mount namespace. `script` mounts,
/// and ends with `exec "$@"`. If no namespace can be made, prints that `what` is not checked, and returns `None`.
pub fn mounts(what: &str, script: &str) -> Option<Vec<String>> {
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", script, "sh"];
    let probe = Command::new(words[0]).args(&words[1..7]).arg("mount -t tmpfs none /mnt").output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(words.map(str::to_owned).to_vec());
    }
    not_checked(&format!("no mount namespace can be made here; {what}"));
    None
}

/// Prints that something is not checked: `why` says why, and ends with what it is.
///
/// # Panics
/// If standard error is closed.
pub fn not_checked(why: &str) {
    // The line is written directly, because the test harness hides the output of tests that pass.
    writeln!(std::io::stderr(), "\nNOT CHECKED: {why} NOT CHECKED").expect("standard error");
}
