//! Reloads a running proxy.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::gate::Gate;
use crate::http;
use crate::wait::eventually;

/// The admin token that [`Gate::post_reload`] sends.
pub const TOKEN: &str = "token-of-the-tests-5be1c0";

impl Gate {
    /// Replaces a file beside the configuration atomically, as deployment tools do. Placeholders such as `{port}` are
    /// replaced.
    pub fn put(&self, name: &str, text: &str) {
        let (path, new) = (self.directory().join(name), self.directory().join(format!(".{name}.new")));
        fs::write(&new, self.fill(text)).and_then(|()| fs::rename(&new, &path)).expect("writable");
    }

    pub fn configure(&self, yaml: &str) {
        self.put("portcullis.yaml", yaml);
    }

    /// Returns the audit lines so far, one JSON object each, if the test did not change `audit`.
    pub fn audit(&self) -> Vec<Value> {
        let text = self.stdout();
        // The last line is left out, because it may be incomplete.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")))
            .collect()
    }

    pub fn audited(&self, event: &str) -> Vec<Value> {
        self.audit().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// Calls `act`, which must cause a reload. Waits for the audit line of the reload, and returns it.
    #[track_caller]
    pub fn reload_after(&self, act: impl FnOnce()) -> Value {
        let before = self.audited("reload").len();
        act();
        eventually("a reload is audited", || self.audited("reload").into_iter().nth(before))
    }

    /// Writes the configuration, sends SIGHUP, and returns the audit line of the reload.
    #[track_caller]
    pub fn reload_with(&self, yaml: &str) -> Value {
        self.configure(yaml);
        self.reload()
    }

    /// Does the same as [`reload_with`](Self::reload_with), and checks that the configuration was applied.
    #[track_caller]
    pub fn apply(&self, yaml: &str) -> Value {
        let report = self.reload_with(yaml);
        assert_eq!(report["result"], "applied", "{report}");
        report
    }

    /// Sends SIGHUP and returns the audit line of the reload.
    #[track_caller]
    pub fn reload(&self) -> Value {
        self.reload_after(|| self.send_sighup())
    }

    pub fn send_sighup(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends `POST /api/reload`. Returns the status and the report.
    #[track_caller]
    pub fn post_reload(&self) -> (u16, Value) {
        let (status, body) =
            http::post(self.admin(), "/api/reload", TOKEN).expect("the admin endpoint answers");
        (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e} in {body}")))
    }

    /// Does the same as [`post_reload`](Self::post_reload), and also returns the audit line, which may come later.
    #[track_caller]
    pub fn reload_by_http(&self) -> ((u16, Value), Value) {
        let mut answer = None;
        let line = self.reload_after(|| answer = Some(self.post_reload()));
        (answer.expect("asked"), line)
    }
}
