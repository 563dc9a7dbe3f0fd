//! The metrics that every Prometheus client library exports about its process, under their usual names, read from
//! /proc.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::text::{Kind, Page};
use crate::platform::{clock_ticks, has_proc, max_files, memory_page};

/// This process. Its start time is computed once: later results would differ slightly, which a monitor takes for a
/// restart.
#[derive(Debug)]
pub(super) struct Process {
    started: Option<f64>,
}

impl Process {
    pub(super) fn new() -> Self {
        Self { started: start_time() }
    }

    pub(super) fn render(&self, page: &mut Page) {
        render(page, &Usage::read(), self.started);
    }
}

fn render(page: &mut Page, usage: &Usage, started: Option<f64>) {
    let families: [(&str, Kind, &str, Option<f64>); 5] = [
        ("process_cpu_seconds_total", Kind::Counter, "User and system CPU time spent in seconds.", usage.cpu),
        ("process_resident_memory_bytes", Kind::Gauge, "Resident memory size in bytes.", usage.resident),
        ("process_open_fds", Kind::Gauge, "Number of open file descriptors.", usage.open_files),
        ("process_max_fds", Kind::Gauge, "Maximum number of open file descriptors.", usage.max_files),
        (
            "process_start_time_seconds",
            Kind::Gauge,
            "Start time of the process since unix epoch in seconds.",
            started,
        ),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        if let Some(value) = value {
            page.sample("", &[], value);
        }
    }
}

/// The resources that the process uses. A value is `None` if /proc does not have it: then the sample is missing,
/// because a zero would be wrong.
#[derive(Debug, Default)]
struct Usage {
    cpu: Option<f64>,
    resident: Option<f64>,
    open_files: Option<f64>,
    max_files: Option<f64>,
}

impl Usage {
    fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields = stat_fields(&stat);
        let number = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
        let page = memory_page();
        Self {
            cpu: number(UTIME).zip(number(STIME)).map(|(user, system)| (user + system) / clock_ticks()),
            resident: number(RSS).map(|pages| pages * page),
            open_files: open_files(),
            max_files: max_files().map(|limit| limit as f64),
        }
    }
}

/// Returns the start time of the process, in seconds since 1970.
fn start_time() -> Option<f64> {
    if !has_proc() {
        // The metrics are made at the start.
        return Some(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64());
    }
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let since_boot: f64 = stat_fields(&stat).get(STARTTIME)?.parse().ok()?;
    Some(boot_time()? + since_boot / clock_ticks())
}

/// The indexes of fields after the command name. In proc(5) these fields are counted from 1, and the name is the
/// second.
const UTIME: usize = 11;
const STIME: usize = 12;
const STARTTIME: usize = 19;
const RSS: usize = 21;

/// Returns the fields of /proc/self/stat after the command name, which may contain spaces and parentheses.
fn stat_fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect()).unwrap_or_default()
}

fn open_files() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // The directory itself is open while it is read.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

/// Returns the start time of the machine, in seconds since 1970. It is computed from the uptime, because `btime` in
/// /proc/stat has whole seconds.
fn boot_time() -> Option<f64> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some(now - uptime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_may_hold_anything() {
        let fields = stat_fields("17 (a) b) R 1 2 3");
        assert_eq!(fields, ["R", "1", "2", "3"]);
        assert!(stat_fields("").is_empty());
    }

    #[test]
    fn this_process_is_alive_and_has_files_open() {
        let usage = Usage::read();
        assert!(usage.cpu.unwrap() >= 0.0);
        assert!(usage.resident.unwrap() > 100_000.0);
        assert!(usage.open_files.unwrap() >= 3.0);
        assert!(usage.max_files.unwrap() >= usage.open_files.unwrap());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - start_time().unwrap();
        assert!((-1.0..3600.0).contains(&age), "{age}");
    }
}
