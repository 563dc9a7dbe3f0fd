//! The functions that a session calls while it judges: logins, facts about the client, and counters.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_config::KeyForm;
use portcullis_resp::command::CommandId;
use portcullis_session::{Attempt, Authenticator, Denial, Link, Observer, Peer, Subscriptions, Verb};

use super::peer::Known;
use super::samples;
use super::session_guard::SessionGuard;
use crate::audit::{Audit, LoginCheck, LoginResult, Subject, Totals};
use crate::connection::login::authenticate;
use crate::metrics::command_label;
use crate::net::stream::Stream;
use crate::process::hints::Hint;
use crate::upstream::target::Target;
use crate::worker::Worker;
use crate::worker::table::Entry;
use crate::worker::watch::frames::Frames;

/// The parts of a relay that its session calls while it judges.
pub(super) struct RelayHost<'a> {
    known: Known<'a>,
    worker: &'a Worker,
    target: &'a Target,
    totals: &'a mut Totals,
    /// The commands that the session judges, if it judges some.
    commands: Frames<'a>,
}

impl<'a> RelayHost<'a> {
    pub(super) fn of(
        worker: &'a Worker,
        target: &'a Target,
        guard: &'a mut SessionGuard,
        client: Option<&'a Stream>,
        link: &'a Link,
    ) -> Self {
        let SessionGuard { entry, totals, since, .. } = guard;
        let known = Known { entry, client, link, since: *since, clock: &worker.resources.clock };
        Self { known, worker, target, totals, commands: Frames::default() }
    }

    /// Returns the host for a session that judges these bytes of the client.
    pub(super) fn judging(self, bytes: &'a [u8]) -> Self {
        Self { commands: Frames::of(bytes), ..self }
    }

    /// Calls `tell` with the audit trail and with the client as the subject. `user` replaces its user.
    fn report(&self, user: Option<&str>, tell: impl FnOnce(&Audit, &Subject<'_>)) {
        let entry = self.known.entry;
        let known = entry.user();
        let user = user.or(known.as_deref());
        let listener = entry.listener.name();
        let subject = Subject { id: entry.id, source: entry.from, listener, rule: None, user };
        tell(&self.worker.process.audit, &subject);
    }

    /// Writes audit lines for `n` commands: one for each command if their keys are wanted, or one for all.
    #[cold]
    #[inline(never)]
    fn report_commands(&mut self, id: CommandId, n: u64) {
        let watch = &self.worker.watch;
        let (is_wanted, form) = (watch.audits(id), watch.audited_keys());
        if form == KeyForm::Off {
            if is_wanted {
                self.report(None, |audit, who| audit.command(who, command_label(id), None, n));
            }
            return;
        }
        for left in (1..=n).rev() {
            // The commands before one that is wanted must be skipped too.
            let Some(taken) = self.commands.next() else {
                if is_wanted {
                    self.report(None, |audit, who| audit.command(who, command_label(id), None, left));
                }
                return;
            };
            if is_wanted {
                let keys = taken.shown_keys(form);
                self.report(None, |audit, who| audit.command(who, command_label(id), Some(&keys), 1));
            }
        }
    }
}

impl Authenticator for RelayHost<'_> {
    fn authenticate(&mut self, user: Option<&[u8]>, password: &[u8]) -> Attempt {
        let attempt = authenticate(self.worker, self.known.entry, self.target, user, password);
        let (named, result) = match &attempt {
            Attempt::Granted(plan) => (plan.user(), LoginResult::Ok),
            Attempt::Refused => (None, LoginResult::Failed),
            Attempt::Blocked => (None, LoginResult::Blocked),
        };
        // A name that is not configured may be a password that the client put into the wrong place.
        let claimed = user.and_then(|user| std::str::from_utf8(user).ok());
        let listener = self.known.entry.listener.current();
        let known = claimed.filter(|name| listener.logins().plan(Some(name)).is_some());
        self.report(named.or(known), |audit, who| {
            audit.login(who, listener.name(), LoginCheck::Password, result);
        });
        attempt
    }
}

impl Peer for RelayHost<'_> {
    fn id(&self) -> u64 {
        self.known.id()
    }

    fn address(&self) -> String {
        self.known.address()
    }

    fn local_address(&self) -> String {
        self.known.local_address()
    }

    fn reached_at(&self) -> Option<SocketAddr> {
        self.known.reached_at()
    }

    fn age(&self) -> Duration {
        self.known.age()
    }

    fn idle(&self) -> Duration {
        self.known.idle()
    }

    fn resp3(&self) -> bool {
        self.known.resp3()
    }

    fn subscriptions(&self) -> Subscriptions {
        self.known.subscriptions()
    }

    fn is_subscribed(&self, verb: Verb, name: &[u8]) -> bool {
        self.known.is_subscribed(verb, name)
    }

    fn listens_in_resp2(&self) -> bool {
        self.known.listens_in_resp2()
    }
}

impl Observer for RelayHost<'_> {
    fn command(&mut self, id: CommandId, n: u64) {
        self.known.entry.listener.counts.commands(id, n);
        self.totals.commands = self.totals.commands.saturating_add(n);
        if self.worker.watch.audits_commands() {
            self.report_commands(id, n);
        }
    }

    fn denied(&mut self, denial: &Denial<'_>) {
        let Entry { id, from, listener, .. } = self.known.entry;
        listener.counts.denied(denial.command(), denial.reason().into(), 1);
        self.totals.denied = self.totals.denied.saturating_add(1);
        listener.denials().log(*id, *from, listener.name(), denial);
        if self.worker.watch.audits_denials() {
            self.report(denial.user(), |audit, who| audit.denied(who, listener.name(), denial));
        }
    }

    fn answered(&mut self, id: CommandId, n: u64, nanos: u64, seq: u64) {
        self.known.entry.listener.counts.duration(id, n, nanos);
        if nanos >= self.worker.watch.slow_after() {
            samples::slow(self.worker, self.known.entry, id, seq, nanos);
        }
    }

    fn login_answered(&mut self, is_taken: bool) {
        let result = if is_taken { LoginResult::Ok } else { LoginResult::Failed };
        let listener = self.known.entry.listener.name();
        self.report(None, |audit, who| audit.login(who, listener, LoginCheck::Upstream, result));
    }

    fn error(&mut self, line: &[u8]) {
        self.known.entry.listener.counts.error_reply(line);
        self.target.counts.error_reply(line);
        if line.starts_with(b"-READONLY") {
            self.target.hint(Hint::Readonly);
        }
    }
}
