//! The facts that CLIENT shows about a client, and questions about the clients of all workers: CLIENT LIST, KILL and
//! UNBLOCK.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use portcullis_session::{Findings, Link, Peer, Session, Subscriptions, Verb};

use super::Relay;
use crate::clock::Clock;
use crate::net::stream::Stream;
use crate::process::questions::{Login, Question};
use crate::worker::Worker;
use crate::worker::clients::{Asked, KnownClient, Listable, Told};
use crate::worker::table::Entry;

/// The session's question about other clients, while the answer is pending.
#[derive(Default)]
pub(super) struct Asking(Option<Box<Answer>>);

/// The future answer to a question; `None` if too many other questions are in progress.
type Answer = Pin<Box<dyn Future<Output = Option<Findings>>>>;

impl Asking {
    /// Asks the question that `question` returns, unless it was asked already. Ready with the answer. Pending also if
    /// `question` returns `None`.
    pub(super) fn poll(
        &mut self,
        worker: &Worker,
        waker: &Waker,
        question: impl FnOnce() -> Option<Question>,
    ) -> Poll<Option<Findings>> {
        if self.0.is_none() {
            let Some(question) = question() else { return Poll::Pending };
            let answer = Arc::clone(&worker.process).ask(Arc::new(question));
            self.0 = Some(Box::new(Box::pin(answer)));
        }
        let Some(answer) = self.0.as_deref_mut() else { return Poll::Pending };
        let findings = ready!(answer.as_mut().poll(&mut Context::from_waker(waker)));
        self.0 = None;
        Poll::Ready(findings)
    }
}

/// Returns the question that the session asks about other clients; `None` if the session asks none. `server` is the
/// server that its commands reach.
pub(super) fn question(
    session: &Session,
    entry: &Entry,
    server: Option<SocketAddr>,
    upstream: &str,
) -> Option<Question> {
    let inquiry = session.inquiry()?.clone();
    let login = || match session.acts_as() {
        None => Login::Asker,
        Some(user) => Login::Of { listener: Arc::clone(entry.listener.name()), user: user.to_owned() },
    };
    Some(Question {
        only: inquiry.narrow.then(login),
        inquiry,
        asker: entry.id,
        server,
        upstream: upstream.to_owned(),
    })
}

/// The facts about one client.
pub(super) struct Known<'a> {
    pub(super) entry: &'a Entry,
    /// The client's connection; `None` once the session has ended.
    pub(super) client: Option<&'a Stream>,
    pub(super) link: &'a Link,
    /// The time at which the session began.
    pub(super) since: Instant,
    pub(super) clock: &'a Clock,
}

impl Peer for Known<'_> {
    fn id(&self) -> u64 {
        self.entry.id
    }

    fn address(&self) -> String {
        let from = self.entry.from;
        if from.is_unix() { "unix:0".to_owned() } else { from.to_string() }
    }

    fn local_address(&self) -> String {
        let local = self.client.and_then(Stream::local_address);
        local.map_or_else(|| self.address(), |local| local.to_string())
    }

    fn reached_at(&self) -> Option<SocketAddr> {
        let by_header = self.entry.sender.as_ref().and_then(|sender| sender.destination);
        by_header.or_else(|| self.client.and_then(Stream::local_address))
    }

    fn age(&self) -> Duration {
        self.since.elapsed()
    }

    fn idle(&self) -> Duration {
        Duration::from_nanos(self.clock.latest().since(self.entry.moved.get()))
    }

    fn resp3(&self) -> bool {
        self.link.is_resp3()
    }

    fn is_subscribed(&self, verb: Verb, name: &[u8]) -> bool {
        self.link.subscribed().has(verb, name)
    }

    fn listens_in_resp2(&self) -> bool {
        self.link.listens_in_resp2()
    }

    fn subscriptions(&self) -> Subscriptions {
        self.link.subscriptions()
    }
}

impl Listable for Relay {
    fn tell(&self, asked: Asked<'_>) -> Option<Told> {
        let entry = &self.guard.entry;
        let peer = Known {
            entry,
            client: self.client.stream(),
            link: self.lanes.own.link(),
            since: self.guard.since,
            clock: &self.worker.resources.clock,
        };
        let question = match asked {
            Asked::Operator => return Some(Told::Operator(KnownClient::of(&self.session, &peer))),
            Asked::Client(question) => question,
        };
        let is_in_scope = self.target.upstream.name() == question.upstream
            && match &question.only {
                None => true,
                Some(Login::Asker) => entry.id == question.asker,
                Some(Login::Of { listener, user }) => {
                    **listener == **entry.listener.name() && self.session.acts_as() == Some(user)
                }
            };
        if !is_in_scope {
            return None;
        }
        let mut listed = self.session.listed(&peer, &question.inquiry, question.asker);
        if self.lanes.server() != question.server {
            listed.blocked_as = None;
        }
        Some(Told::Client(listed))
    }
}
