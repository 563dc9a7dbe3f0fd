//! The connection to one node, on which the watcher asks about the cluster and whether the node answers.

use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Tcp, Upstream};
use portcullis_resp::encode;
use portcullis_resp::value::{Value, decode};
use portcullis_session::cluster::{Answer, AnswerFault, Replies as Asked, ServerFacts};
use tokio::sync::mpsc;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::News;
use crate::control::topology::resolve::resolve;
use crate::metrics::UpstreamErrorKind;
use crate::net::stream::Stream;
use crate::upstream::cluster::survey;
use crate::upstream::connect::{open, secure};
use crate::upstream::health::exchange::{MAX_CLUSTER_REPLY, Replies, login, lost, write_all, write_login};
use crate::upstream::health::fault::{self, Answer as Reason, Fault};
use crate::upstream::view::{Place, Sockets};

/// The questions that wait for a node: one of each kind, and one of each that is already outdated.
const WAITING: usize = 6;

/// The time without a question after which the connection is closed.
const IDLE: Duration = Duration::from_secs(30);

/// A question to a node.
#[derive(Debug)]
pub(super) enum Question {
    /// The state of the cluster: CLUSTER SLOTS, NODES and INFO.
    Ask { asked: survey::Asked, place: (u64, usize) },
    /// Whether it answers.
    Ping { node: Box<str>, address: Address },
    /// Its commands, if their number is not `known`, and whether it has several databases.
    Facts { address: Address, known: Option<i64> },
}

/// The reason why a node tells nothing about its cluster.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The node does not answer, or demands another step before, such as a login.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// The server is a Redis, but no node of a cluster.
    #[error("cluster support is disabled there")]
    NoCluster,
    /// The user of the proxy may not ask.
    #[error("the user of the proxy may not run CLUSTER SLOTS")]
    Forbidden,
    /// The answer cannot be used.
    #[error("{0}")]
    Useless(AnswerFault),
}

impl NoAnswer {
    /// Returns the kind of the failure, as in metrics.
    pub(super) fn kind(&self) -> UpstreamErrorKind {
        match self {
            Self::Fault(fault) => fault.kind(),
            Self::Forbidden => UpstreamErrorKind::Auth,
            Self::NoCluster | Self::Useless(_) => UpstreamErrorKind::Protocol,
        }
    }
}

/// The answer of a node about its server.
#[derive(Debug)]
pub(super) struct Told {
    /// The number of its commands.
    pub(super) count: i64,
    /// Its commands. `None`: their number has not changed.
    pub(super) facts: Option<ServerFacts>,
    pub(super) has_one_database: bool,
}

/// The end of a connection at which questions are put.
#[derive(Debug)]
pub(super) struct Line(mpsc::Sender<(Place, Question)>);

impl Line {
    /// Returns a line, and the task that serves it until it is idle or the line is dropped.
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        tcp: &Tcp,
        news: mpsc::Sender<News>,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (sender, questions) = mpsc::channel(WAITING);
        let node = Node { upstream: Arc::clone(upstream), tcp: tcp.clone(), news, open: None };
        (Self(sender), node.serve(questions))
    }

    /// Puts a question to the node at `place`. If others wait for it already, the question is dropped: the node is
    /// silent, which the watcher learns from those.
    pub(super) fn put(&self, place: Place, question: Question) {
        let _ = self.0.try_send((place, question));
    }

    /// Returns whether the task still serves the line.
    pub(super) fn is_open(&self) -> bool {
        !self.0.is_closed()
    }
}

/// One node.
struct Node {
    upstream: Arc<Upstream>,
    tcp: Tcp,
    news: mpsc::Sender<News>,
    open: Option<(Stream, Replies)>,
}

impl Node {
    async fn serve(mut self, mut questions: mpsc::Receiver<(Place, Question)>) {
        while let Ok(Some((place, question))) = timeout(IDLE, questions.recv()).await {
            let news = match question {
                Question::Ask { asked, place: at } => {
                    let answer = self.ask(&place, &asked).await.map(Box::new);
                    News::Answered { asked, place: at, answer }
                }
                Question::Ping { node, address } => {
                    News::Probed { node, address, result: self.ping(&place).await }
                }
                Question::Facts { address, known } => {
                    News::Told { address, told: self.facts(&place, known).await.ok().flatten() }
                }
            };
            // The watcher has ended if it does not receive, and this task ends with it.
            let _ = self.news.send(news).await;
        }
        // A question that came at this moment must not wait for the next one.
        questions.close();
    }

    /// Asks for the state of the cluster.
    async fn ask(&mut self, place: &Place, asked: &survey::Asked) -> Result<Answer, NoAnswer> {
        let mut request = Vec::with_capacity(128);
        for question in ["SLOTS", "NODES", "INFO"] {
            encode::command(&mut request, &[b"CLUSTER", question.as_bytes()]);
        }
        let frames = self.exchange(place, &request, 3, "CLUSTER SLOTS").await?;
        let [slots, nodes, info] = frames.as_slice() else { return Err(NoAnswer::Fault(not_redis())) };
        if let Ok(Value::Error(line)) = decode(slots) {
            return Err(refusal(&line));
        }
        let host = match &asked.address {
            Address::Host { host, .. } => host.as_str(),
            Address::Unix(_) => "",
        };
        Answer::read(&Asked { asked: host, slots, nodes: Some(nodes), info: Some(info) })
            .map_err(NoAnswer::Useless)
    }

    /// Asks whether the node answers. An error that does not affect every command is an answer too.
    async fn ping(&mut self, place: &Place) -> Result<(), Fault> {
        let mut request = Vec::new();
        encode::command(&mut request, &[b"PING"]);
        let frames = self.exchange(place, &request, 1, "PING").await?;
        match frames.first().map(|frame| decode(frame)) {
            Some(Ok(Value::Error(line))) => match fault::unasked(&line) {
                // A replica that lost its master still answers, and its slots belong to another node soon.
                Some(reason) if !line.starts_with(b"MASTERDOWN") => Err(Fault::Answer(reason)),
                Some(_) | None => Ok(()),
            },
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err(not_redis()),
        }
    }

    /// Asks for the commands and the databases of the node. `None`: its user may not ask, or the node tells nothing.
    async fn facts(&mut self, place: &Place, known: Option<i64>) -> Result<Option<Told>, Fault> {
        let mut request = Vec::with_capacity(128);
        encode::command(&mut request, &[b"COMMAND", b"COUNT"]);
        // The connection goes on with the first database.
        encode::command(&mut request, &[b"SELECT", b"1"]);
        encode::command(&mut request, &[b"SELECT", b"0"]);
        let frames = self.exchange(place, &request, 3, "COMMAND COUNT").await?;
        let [count, select, _] = frames.as_slice() else { return Ok(None) };
        let Ok(Value::Integer(count)) = decode(count) else { return Ok(None) };
        let mut facts = None;
        if known != Some(count) {
            let mut request = Vec::with_capacity(32);
            encode::command(&mut request, &[b"COMMAND"]);
            let frames = self.exchange(place, &request, 1, "COMMAND").await?;
            facts = frames.first().and_then(|reply| ServerFacts::read_commands(reply));
        }
        Ok(Some(Told { count, facts, has_one_database: ServerFacts::refuses_databases(select) }))
    }

    /// Writes a request, and returns this number of replies. A kept connection that fails is replaced once: the node may
    /// have closed it while it was idle.
    async fn exchange(
        &mut self,
        place: &Place,
        request: &[u8],
        replies: usize,
        command: &'static str,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        if let Some(mut open) = self.open.take().filter(|(stream, _)| is_at(stream, place)) {
            match self.converse(&mut open, request, replies, command).await {
                Err(Fault::Lost(_) | Fault::Broken { .. }) => {}
                Err(fault) => return Err(fault),
                Ok(frames) => {
                    self.open = Some(open);
                    return Ok(frames);
                }
            }
        }
        let mut fresh = self.connect(place).await?;
        let frames = self.converse(&mut fresh, request, replies, command).await?;
        self.open = Some(fresh);
        Ok(frames)
    }

    async fn converse(
        &self,
        (stream, received): &mut (Stream, Replies),
        request: &[u8],
        replies: usize,
        command: &'static str,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        self.within(command, async {
            write_all(stream, request).await.map_err(Fault::Lost)?;
            let mut frames = Vec::with_capacity(replies);
            for _ in 0..replies {
                frames.push(received.frame(stream).await?);
            }
            Ok(frames)
        })
        .await
    }

    /// Connects to the node, and logs in.
    async fn connect(&self, place: &Place) -> Result<(Stream, Replies), Fault> {
        let limit = self.upstream.connect_timeout();
        // The name may not have been looked up yet.
        let resolved;
        let place = match place.sockets {
            Sockets::Unknown => {
                resolved = resolve(&place.address, limit).await;
                &resolved
            }
            _ => place,
        };
        let mut stream = open(place, limit, &self.tcp).await?;
        if let Some(tls) = self.upstream.tls() {
            stream = secure(stream, place, tls, limit, &self.tcp).await?;
        }
        let mut replies = Replies::up_to(MAX_CLUSTER_REPLY);
        if let Some(credentials) = self.upstream.credentials() {
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
                Err(lost(error, self.upstream.tls().is_some_and(|tls| tls.has_identity())))
            }
            Ok(result) => result,
        }
    }
}

/// Returns whether a connection leads to one of the sockets of its place.
fn is_at(stream: &Stream, place: &Place) -> bool {
    match &place.sockets {
        Sockets::Tcp(sockets) => stream.peer_address().is_some_and(|peer| sockets.contains(&peer)),
        Sockets::Unknown | Sockets::Unresolved(_) | Sockets::Unix(_) => true,
    }
}

/// Reads the error in place of the slots.
fn refusal(line: &[u8]) -> NoAnswer {
    let has = |text: &[u8]| line.windows(text.len()).any(|part| part == text);
    if let Some(reason) = fault::unasked(line) {
        return NoAnswer::Fault(Fault::Answer(reason));
    }
    match line {
        _ if has(b"cluster support disabled") => NoAnswer::NoCluster,
        _ if line.starts_with(b"NOAUTH") => NoAnswer::Fault(Fault::Answer(Reason::PasswordWanted)),
        _ if line.starts_with(b"NOPERM") => NoAnswer::Forbidden,
        _ => NoAnswer::Useless(AnswerFault::Refused),
    }
}

fn not_redis() -> Fault {
    Fault::Answer(Reason::NotRedis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_meaning() {
        let kind = |line: &[u8]| refusal(line).kind();
        assert!(matches!(refusal(b"ERR This instance has cluster support disabled"), NoAnswer::NoCluster));
        assert!(matches!(
            refusal(b"NOPERM User app has no permissions to run the 'cluster|slots' command"),
            NoAnswer::Forbidden
        ));
        assert_eq!(kind(b"NOAUTH Authentication required."), UpstreamErrorKind::Auth);
        assert_eq!(kind(b"LOADING Redis is loading the dataset in memory"), UpstreamErrorKind::Loading);
        assert_eq!(kind(b"ERR unknown command 'CLUSTER'"), UpstreamErrorKind::Protocol);
    }
}
