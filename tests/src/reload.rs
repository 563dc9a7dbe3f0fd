//! A gate whose configuration changes while it runs.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::gate::Gate;
use crate::http;
use crate::wait::eventually;

/// The admin token that [`Gate::post_reload`] shows.
pub const TOKEN: &str = "token-of-the-tests-5be1c0";

impl Gate {
    /// Puts a file beside the configuration in one step, as tools that deploy do. `{port}` and the like are filled in.
    pub fn put(&self, name: &str, text: &str) {
        let (path, new) = (self.directory().join(name), self.directory().join(format!(".{name}.new")));
        fs::write(&new, self.fill(text)).and_then(|()| fs::rename(&new, &path)).expect("writable");
    }

    pub fn configure(&self, yaml: &str) {
        self.put("portcullis.yaml", yaml);
    }

    /// Audit lines so far, one JSON object each; `audit` is left at its default.
    pub fn audit(&self) -> Vec<Value> {
        let text = self.stdout();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")))
            .collect()
    }

    pub fn audited(&self, event: &str) -> Vec<Value> {
        self.audit().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// Does what makes the gate reload, and gives the audit line of that.
    #[track_caller]
    pub fn reloads(&self, act: impl FnOnce()) -> Value {
        let before = self.audited("reload").len();
        act();
        eventually("a reload is audited", || self.audited("reload").into_iter().nth(before))
    }

    /// Writes the configuration, sends SIGHUP, gives the audit line of the reload.
    #[track_caller]
    pub fn reload_with(&self, yaml: &str) -> Value {
        self.configure(yaml);
        self.reload()
    }

    /// As [`reload_with`](Self::reload_with), and the configuration is put in force.
    #[track_caller]
    pub fn applies(&self, yaml: &str) -> Value {
        let report = self.reload_with(yaml);
        assert_eq!(report["result"], "applied", "{report}");
        report
    }

    /// Sends SIGHUP, gives the audit line of the reload.
    #[track_caller]
    pub fn reload(&self) -> Value {
        self.reloads(|| self.hang_up())
    }

    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// `POST /api/reload`: status and report.
    #[track_caller]
    pub fn post_reload(&self) -> (u16, Value) {
        let (status, body) =
            http::post(self.admin(), "/api/reload", TOKEN).expect("the admin endpoint answers");
        (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e} in {body}")))
    }

    /// As [`post_reload`](Self::post_reload), and the audit line of it, which may come later.
    #[track_caller]
    pub fn reload_by_http(&self) -> ((u16, Value), Value) {
        let mut answer = None;
        let line = self.reloads(|| answer = Some(self.post_reload()));
        (answer.expect("asked"), line)
    }
}
