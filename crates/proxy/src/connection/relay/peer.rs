//! What is known of a client besides what it asks, and CLIENT LIST, KILL and UNBLOCK of the clients of all workers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use portcullis_session::{Findings, Link, Listed, Peer, Subscriptions, Verb};

use super::{Relay, Upstream};
use crate::clock::Clock;
use crate::net::stream::Stream;
use crate::process::questions::{Login, Question};
use crate::worker::clients::Listable;
use crate::worker::table::Entry;

/// A question about other clients that is under way.
pub(super) struct Asking(std::pin::Pin<Box<dyn Future<Output = Option<Findings>>>>);

/// One client.
pub(super) struct Known<'a> {
    pub(super) entry: &'a Entry,
    pub(super) client: Option<&'a Stream>,
    pub(super) link: &'a Link,
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
    fn listed(&self, question: &Question) -> Option<Listed> {
        let entry = &self.guard.entry;
        let is_in_scope = self.upstream_name() == question.upstream
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
        let known = Known {
            entry,
            client: self.client.as_ref(),
            link: &self.link,
            since: self.guard.since,
            clock: &self.worker.resources.clock,
        };
        let mut listed = self.session.listed(&known, &question.inquiry, question.asker);
        if self.server() != question.server {
            listed.blocked_as = None;
        }
        Some(listed)
    }
}

impl Relay {
    /// Looks for the answer to what the session asks about other clients. True: it was told.
    pub(super) fn poll_asking(&mut self, waker: &Waker) -> bool {
        if self.asking.is_none() {
            let Some(question) = self.question() else { return false };
            let answer = Arc::clone(&self.worker.process).ask(Arc::new(question));
            self.asking = Some(Box::new(Asking(Box::pin(answer))));
        }
        let Some(Asking(answer)) = self.asking.as_deref_mut() else { return false };
        let Poll::Ready(findings) = answer.as_mut().poll(&mut Context::from_waker(waker)) else {
            return false;
        };
        self.asking = None;
        self.session.informed(findings.as_ref());
        self.moves += 1;
        true
    }

    fn question(&self) -> Option<Question> {
        let inquiry = self.session.inquiry()?.clone();
        let entry = &self.guard.entry;
        let login = || match self.session.acts_as() {
            None => Login::Asker,
            Some(user) => Login::Of { listener: Arc::clone(entry.listener.name()), user: user.to_owned() },
        };
        Some(Question {
            only: inquiry.narrow.then(login),
            inquiry,
            asker: entry.id,
            server: self.server(),
            upstream: self.upstream_name().to_owned(),
        })
    }

    /// The server that the client's commands reach. Nothing where that is not over TCP, or not yet known.
    fn server(&self) -> Option<SocketAddr> {
        match &self.upstream {
            Upstream::Open(stream) => stream.peer_address(),
            _ => self.pooled_server(),
        }
    }
}
