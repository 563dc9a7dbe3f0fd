//! A child process that ends with its test, and the files with its output.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually;

pub struct Process {
    child: Child,
    name: String,
    output: PathBuf,
}

impl Process {
    /// Starts `program` with its output in `directory/name.{out,err}`.
    ///
    /// With `setpriv` the process ends together with the calling thread, even if the test was killed.
    pub fn start<S: AsRef<OsStr>>(
        directory: &Path,
        name: &str,
        program: &OsStr,
        arguments: impl IntoIterator<Item = S>,
        environment: &[(String, String)],
    ) -> Self {
        let output = directory.join(name);
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(k, v)| (k, v)))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(append(&output.with_extension("out")))
            .stderr(append(&output.with_extension("err")))
            .spawn()
            .expect("setpriv of util-linux starts");
        Self { child, name: name.to_owned(), output }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the standard error so far. Bytes that are not UTF-8 are replaced.
    pub fn stderr(&self) -> String {
        read(&self.output.with_extension("err"))
    }

    pub fn stdout(&self) -> String {
        read(&self.output.with_extension("out"))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.raw_pid(), signal).expect("the process is there");
    }

    /// Returns the exit status. `None` if the process still runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be waited for")
    }

    /// Waits until the process ends. Panics if it does not end in time.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("{name} ends"), || self.ended())
    }

    pub fn kill(&mut self) {
        // This fails only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Returns the peak resident memory in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status_kib("VmHWM:") * 1024
    }

    /// Returns the resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.status_kib("VmRSS:") * 1024
    }

    /// Returns the user and system time so far.
    pub fn cpu_time(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the process is there");
        // The name in brackets may contain spaces. The text after it begins with field 3.
        let fields: Vec<&str> = text.rsplit_once(')').expect("a stat line").1.split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().map(|i| fields[*i].parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Returns the processor time that the process uses during `duration`, as a share of one core.
    pub fn cpu_share_over(&self, duration: Duration) -> f64 {
        let (before, start) = (self.cpu_time(), Instant::now());
        std::thread::sleep(duration);
        (self.cpu_time() - before).as_secs_f64() / start.elapsed().as_secs_f64()
    }

    fn status_kib(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process is there");
        let line = text.lines().find(|l| l.starts_with(field)).expect("the field is in /proc/PID/status");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn append(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("the scratch directory is writable")
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
