//! The functions that a session calls while it judges: logins, facts about the client, and counters.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_resp::command::CommandId;
use portcullis_session::{Attempt, Authenticator, Denial, Link, Observer, Peer, Subscriptions, Verb};

use super::peer::Known;
use super::session_guard::SessionGuard;
use crate::audit::Totals;
use crate::connection::login::authenticate;
use crate::net::stream::Stream;
use crate::process::hints::Hint;
use crate::upstream::target::Target;
use crate::worker::Worker;
use crate::worker::table::Entry;

/// The parts of a relay that its session calls while it judges.
pub(super) struct RelayHost<'a> {
    known: Known<'a>,
    worker: &'a Worker,
    target: &'a Target,
    totals: &'a mut Totals,
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
        Self { known, worker, target, totals }
    }
}

impl Authenticator for RelayHost<'_> {
    fn authenticate(&mut self, user: Option<&[u8]>, password: &[u8]) -> Attempt {
        authenticate(self.worker, self.known.entry, self.target, user, password)
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
    }

    fn denied(&mut self, denial: &Denial<'_>) {
        let Entry { id, from, listener, .. } = self.known.entry;
        listener.counts.denied(denial.command(), denial.reason().into(), 1);
        self.totals.denied = self.totals.denied.saturating_add(1);
        listener.denials().log(*id, *from, listener.name(), denial);
    }

    fn answered(&mut self, id: CommandId, n: u64, nanos: u64) {
        self.known.entry.listener.counts.duration(id, n, nanos);
    }

    fn error(&mut self, line: &[u8]) {
        self.known.entry.listener.counts.error_reply(line);
        self.target.counts.error_reply(line);
        if line.starts_with(b"-READONLY") {
            self.target.hint(Hint::Readonly);
        }
    }
}
