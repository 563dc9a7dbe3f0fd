//! A process whose standard streams are a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::wait::{eventually, within_patience};

pub struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a command in `directory`. Only `environment` and PATH are set.
    pub fn run(directory: &Path, command: &[&str], environment: &[(&str, &str)]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("a pseudo terminal");
        grantpt(&ours).expect("it is ours");
        unlockpt(&ours).expect("it is ours");
        let theirs = ioctl_tiocgptpeer(&ours, flags).expect("the other side");
        let stream = || Stdio::from(theirs.try_clone().expect("another descriptor"));
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(command)
            .current_dir(directory)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(environment.iter().copied())
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .expect("setpriv of util-linux starts");
        // A view needs a size.
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).expect("a terminal");
        let keys = File::from(ours.try_clone().expect("another descriptor"));
        let screen = Arc::default();
        thread::spawn({
            let screen = Arc::clone(&screen);
            move || copy(ours, &screen)
        });
        Self { child, keys, screen }
    }

    /// The output so far, with its control characters. A terminal turns line feeds into `\r\n`.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic there")).into_owned()
    }

    #[track_caller]
    pub fn assert_shows(&self, text: &str) {
        let shown = within_patience(|| self.screen().contains(text));
        assert!(shown, "{text:?} is not on the screen: {:?}", self.screen());
    }

    /// Types a text.
    pub fn type_text(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("the terminal takes keys");
    }

    /// Returns the end of the process, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be waited for")
    }

    /// Ends the process by SIGTERM, and returns all of its output.
    pub fn terminate(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the process is there");
        eventually("the process ends", || self.child.try_wait().expect("the child can be waited for"));
        self.screen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads until the last process has closed its side, which Linux reports as EIO.
fn copy(from: OwnedFd, to: &Mutex<Vec<u8>>) {
    let (mut from, mut chunk) = (File::from(from), [0; 4096]);
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        to.lock().expect("no panic there").extend_from_slice(&chunk[..n]);
    }
}
