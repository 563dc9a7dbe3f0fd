//! The connections to one sentinel: one that asks, and one that is subscribed.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Sentinel, Tcp, Upstream};
use portcullis_resp::encode;
use portcullis_resp::value::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::News;
use crate::control::topology::resolve::resolve;
use crate::net::stream::Stream;
use crate::upstream::connect::{open, secure};
use crate::upstream::health::exchange::{Replies, login, lost, write_all, write_login};
use crate::upstream::health::fault::{self, Answer as Reason, Fault};
use crate::upstream::sentinel::answer::{ABORTED, Answer, CHANNELS, Event};

/// The time to the first attempt after a failure. Each later one takes twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest time between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The time without a message after which the subscribed connection is tried.
const PING_EVERY: Duration = Duration::from_secs(1);

/// One sentinel.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) index: usize,
    pub(super) address: Address,
    pub(super) upstream: Arc<Upstream>,
    pub(super) sentinel: Arc<Sentinel>,
    pub(super) tcp: Tcp,
    pub(super) news: mpsc::Sender<News>,
}

/// The purpose of a connection to a sentinel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Asking,
    Subscribed,
}

impl Node {
    /// Answers each round, as long as the task runs.
    pub(super) async fn answer(self, mut rounds: watch::Receiver<u64>) {
        let mut backoff = Backoff::default();
        loop {
            let Err(fault) = self.answer_rounds(&mut rounds, &mut backoff).await;
            self.tell(News::Failed { node: self.index, line: Line::Asking, fault }).await;
            backoff.wait().await;
        }
    }

    /// Passes on the messages of the sentinel, as long as the task runs.
    pub(super) async fn listen(self) {
        let mut backoff = Backoff::default();
        loop {
            let Err(fault) = self.pass_on(&mut backoff).await;
            self.tell(News::Failed { node: self.index, line: Line::Subscribed, fault }).await;
            backoff.wait().await;
        }
    }

    async fn answer_rounds(
        &self,
        rounds: &mut watch::Receiver<u64>,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, Fault> {
        let (mut stream, mut replies) = self.connect().await?;
        let mut request = Vec::with_capacity(128);
        let name = self.sentinel.master().as_bytes();
        encode::command(&mut request, &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name]);
        encode::command(&mut request, &[b"SENTINEL", b"MASTER", name]);
        loop {
            let round = *rounds.borrow_and_update();
            let answer = self.within("SENTINEL", async {
                write_all(&mut stream, &request).await.map_err(Fault::Lost)?;
                let address = replies.next(&mut stream).await?;
                Ok(Answer::read(&address, &replies.next(&mut stream).await?))
            });
            let answer = answer.await?;
            backoff.reset();
            self.tell(News::Answered { node: self.index, round, answer }).await;
            if rounds.changed().await.is_err() {
                // The watcher has ended, and this task ends with it.
                pending::<()>().await;
            }
        }
    }

    async fn pass_on(&self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Fault> {
        let (mut stream, mut replies) = self.connect().await?;
        self.within("SUBSCRIBE", self.subscribe(&mut stream, &mut replies)).await?;
        backoff.reset();
        self.tell(News::Subscribed { node: self.index }).await;
        let mut pinged = None;
        loop {
            let limit = self.upstream.connect_timeout();
            match timeout(PING_EVERY.min(limit), replies.next(&mut stream)).await {
                Ok(message) => {
                    pinged = None;
                    if let Some(event) = self.event(&message?) {
                        self.tell(News::Published { node: self.index, event }).await;
                    }
                }
                Err(_) => match pinged {
                    Some(since) if Instant::now().duration_since(since) >= limit => {
                        return Err(Fault::Silent { command: "PING", limit });
                    }
                    Some(_) => {}
                    None => {
                        pinged = Some(Instant::now());
                        let ping = write_all(&mut stream, b"*1\r\n$4\r\nPING\r\n");
                        self.within("PING", async { ping.await.map_err(Fault::Lost) }).await?;
                    }
                },
            }
        }
    }

    async fn subscribe(&self, stream: &mut Stream, replies: &mut Replies) -> Result<(), Fault> {
        let mut request = Vec::with_capacity(256);
        let subscribe: Vec<&[u8]> = std::iter::once(b"SUBSCRIBE".as_slice()).chain(CHANNELS).collect();
        encode::command(&mut request, &subscribe);
        let aborted = [ABORTED, b"*"].concat();
        encode::command(&mut request, &[b"PSUBSCRIBE", &aborted]);
        write_all(stream, &request).await.map_err(Fault::Lost)?;
        for _ in 0..=CHANNELS.len() {
            match replies.next(stream).await? {
                Value::Array(_) | Value::Push(_) => {}
                Value::Error(line) => {
                    return Err(Fault::Answer(fault::unasked(&line).unwrap_or(Reason::LoginRefused)));
                }
                _ => return Err(Fault::Answer(Reason::NotRedis)),
            }
        }
        Ok(())
    }

    /// Reads a message of a channel or of a pattern.
    fn event(&self, message: &Value) -> Option<Event> {
        let (channel, text) = match message.as_array()? {
            [kind, channel, text] if kind.as_bytes() == Some(b"message") => (channel, text),
            [kind, _, channel, text] if kind.as_bytes() == Some(b"pmessage") => (channel, text),
            _ => return None,
        };
        Event::read(channel.as_bytes()?, text.as_bytes()?, self.sentinel.master())
    }

    /// Connects to the sentinel, and logs in.
    async fn connect(&self) -> Result<(Stream, Replies), Fault> {
        let limit = self.upstream.connect_timeout();
        let place = resolve(&self.address, limit).await;
        let mut stream = open(&place, limit, &self.tcp).await?;
        if let Some(tls) = self.sentinel.tls() {
            stream = secure(stream, &place, tls, limit, &self.tcp).await?;
        }
        let mut replies = Replies::default();
        if let Some(credentials) = self.sentinel.credentials() {
            let mut request = Zeroizing::new(Vec::with_capacity(512));
            write_login(&mut request, credentials);
            let exchange = async {
                let written = write_all(&mut stream, &request).await;
                login(&replies.next(&mut stream).await?)?;
                written.map_err(Fault::Lost)
            };
            self.within("AUTH", exchange).await?;
        }
        Ok((stream, replies))
    }

    async fn within<T>(
        &self,
        command: &'static str,
        exchange: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let limit = self.upstream.connect_timeout();
        match timeout(limit, exchange).await {
            Err(_) => Err(Fault::Silent { command, limit }),
            Ok(Err(Fault::Lost(error))) => {
                Err(lost(error, self.sentinel.tls().is_some_and(|tls| tls.has_identity())))
            }
            Ok(result) => result,
        }
    }

    async fn tell(&self, news: News) {
        // The watcher has ended if it does not receive, and this task ends with it.
        let _ = self.news.send(news).await;
    }
}

/// The time to the next attempt to connect.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    fn reset(&mut self) {
        self.failures = 0;
    }

    async fn wait(&mut self) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(5)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        sleep(pause).await;
    }
}
