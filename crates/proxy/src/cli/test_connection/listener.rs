//! The test of a listener: connects to the running proxy as a client on this host would, and explains a refusal.
//!
//! A client in standalone mode connects to the listener, and to the address that it announces. A client in Sentinel or
//! Cluster mode asks the listener first, and then connects to the address in the answer (`modes.rs`).

mod modes;
mod refusal;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use portcullis_acl::ClientAddr;
use portcullis_config::tls::{ClientTls, TlsFault, Trust};
use portcullis_config::{Address, Auth, Bind, Config, Listener, Tcp};
use portcullis_resp::encode;
use portcullis_resp::reply;
use portcullis_resp::value::Value;
use rustls::{AlertDescription, Error};
use zeroize::Zeroizing;

use self::modes::unreachable_announced;
use self::refusal::Refusal;
use super::conversation::{Conversation, timed};
use super::dial::{Dial, Dialed, socket_of};
use super::report::{Mode, Report};
use super::step::{Finding, Severity, Step, StepName, Trouble, shown};
use crate::cli::reachable::reachable;
use crate::net::stream::Stream;
use crate::upstream::connect::ConnectError;
use crate::upstream::health::exchange::write_all;
use crate::upstream::health::fault::Fault;
use crate::upstream::view::{Place, Sockets};

/// The time for the proxy to accept, and to answer what it need not ask Redis.
const PATIENCE: Duration = Duration::from_secs(5);

/// The finding about a proxy that ends a connection at once.
const CLOSED: &str = "the proxy closes the connection without an answer";

/// The client that a listener is tested as.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// The user name and the password.
    pub(super) login: Option<(String, Zeroizing<Vec<u8>>)>,
    /// The name of the master that a client in Sentinel mode asks for.
    pub(super) master: Option<String>,
    /// The options with which another command reads the same configuration.
    pub(super) options: String,
}

/// A listener under test.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenerTest<'c> {
    config: &'c Config,
    listener: &'c Listener,
    client: &'c Client,
}

/// The next step of a client after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The proxy serves the client.
    Done,
    /// The client must log in.
    LogIn,
    /// The proxy does not serve the client.
    Failed,
}

/// The result of the first commands of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// The proxy serves the client.
    Served,
    /// The proxy asks for a login, which the test has not.
    NotLoggedIn,
    /// The proxy does not serve the client.
    Refused,
}

/// An address at which the test connects to the proxy.
#[derive(Clone, Debug)]
struct Door<'t> {
    place: Place,
    tls: Option<&'t ClientTls>,
    /// The listener that names this address to clients.
    announced_by: Option<&'t Listener>,
}

impl<'c> ListenerTest<'c> {
    pub(super) const fn of(config: &'c Config, listener: &'c Listener, client: &'c Client) -> Self {
        Self { config, listener, client }
    }

    /// Tests the listener as a client in each mode of `present_as`.
    pub(super) async fn run(self, report: &mut Report) {
        for mode in Mode::ALL.into_iter().filter(|mode| mode.is_of(self.listener)) {
            self.run_as(mode, report).await;
        }
    }

    /// Tests all addresses of the listener as one client. It works if all of them do.
    async fn run_as(&self, mode: Mode, report: &mut Report) {
        let tls = if self.listener.tls().is_some() { ", TLS" } else { "" };
        let about = format!("{}, auth {}{tls}", mode.client(), self.listener.auth().as_str());
        report.begin_as(mode, self.listener.name(), &about);
        let tls = match self.tls() {
            Ok(tls) => tls,
            Err(error) => {
                let step = Step::new(StepName::Tls, None, Duration::ZERO);
                let trouble =
                    Trouble::failure("tls", TlsFault::from(error).to_string(), "run 'portcullis check'");
                report.add(step.with(trouble));
                return report.end(false);
            }
        };
        let mut works = true;
        for bind in self.listener.binds() {
            let door = Door { place: place(bind), tls: tls.as_ref(), announced_by: None };
            works &= match (mode, bind) {
                (Mode::Standalone, _) => self.test(&door, report).await,
                (Mode::Sentinel, Bind::Tcp { .. }) => self.as_sentinel(&door, report).await,
                (Mode::Cluster, Bind::Tcp { .. }) => self.as_cluster(&door, report).await,
                // These clients cannot use a socket file.
                (Mode::Sentinel | Mode::Cluster, Bind::Unix(_)) => true,
            };
        }
        if let (Mode::Standalone, Some(announced)) = (mode, self.listener.presentation().announce()) {
            let address = Address::Host { host: announced.host().to_owned(), port: announced.port() };
            let place = Place { address: address.clone(), sockets: Sockets::Unknown };
            let door = Door { place, tls: tls.as_ref(), announced_by: Some(self.listener) };
            works &= self.test_announced(&address, &door, report).await;
        }
        report.end(works);
    }

    /// Sets up TLS for a client that must meet one of the listener's own certificates.
    fn tls(&self) -> Result<Option<ClientTls>, Error> {
        let client = |pins: &BTreeSet<_>| ClientTls::new(Trust::Pins(pins.clone()), None, None);
        self.listener.tls().map(|tls| client(tls.pins())).transpose()
    }

    /// Tests one address of a server.
    async fn test(&self, door: &Door<'_>, report: &mut Report) -> bool {
        match self.enter(door, report).await {
            Some((mut proxy, refusal)) => self.talk(&mut proxy, &refusal, report).await != Entry::Refused,
            None => false,
        }
    }

    /// Connects to one address, with TLS if the listener has it.
    async fn enter(&self, door: &Door<'_>, report: &mut Report) -> Option<(Conversation, Refusal<'c>)> {
        let tcp = Tcp::default();
        let Door { place, tls, announced_by } = door;
        let dial = Dial { tls: *tls, limit: PATIENCE, tcp: &tcp };
        let (stream, took) = timed(dial.connect(place)).await;
        let step = Step::new(StepName::Connect, socket_of(place), took);
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // A proxy that refuses a client by a reset may do so before the connect has returned.
                let is_refused = error.is_reset() && announced_by.is_none();
                let source = if is_refused { source_towards(place) } else { None };
                report.add(step.with(match (source, announced_by) {
                    (source @ Some(_), _) => {
                        Refusal::of(self.config, self.listener, source, &self.client.options).explain(CLOSED)
                    }
                    (None, Some(listener)) => unreachable_announced(listener, error),
                    (None, None) => unreachable(error),
                }));
                return None;
            }
        };
        report.add(step);
        let refusal = Refusal::of(self.config, self.listener, stream.local_address(), &self.client.options);
        // The announced address may be that of a load balancer, which sends the header itself.
        if announced_by.is_none() {
            self.announce_source(&mut stream, &refusal).await;
        }
        let explain = |error: ConnectError| handshake(error, &refusal);
        let Dialed::Connected(stream) = dial.secure(stream, place, &explain, report).await else {
            return None;
        };
        let limit = PATIENCE + self.listener.upstream().connect_timeout();
        Some((Conversation::on(stream, limit, false), refusal))
    }

    /// Sends a PROXY header where the proxy expects one of this host, as a load balancer on it would.
    async fn announce_source(&self, stream: &mut Stream, refusal: &Refusal<'_>) {
        let ends = stream.local_address().zip(stream.peer_address());
        let Some((from, to)) = ends.filter(|_| refusal.speaks_for_others()) else { return };
        let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
        let [source, destination] = [from, to].map(|end| ClientAddr::from_socket(end).ip());
        let (Some(source), Some(destination)) = (source, destination) else { return };
        let header = format!("PROXY {family} {source} {destination} {} {}\r\n", from.port(), to.port());
        // A failure is found by the next step.
        let _ = write_all(stream, header.as_bytes()).await;
    }

    /// Sends PING, and logs in if that is needed or asked for.
    async fn talk(&self, proxy: &mut Conversation, refusal: &Refusal<'_>, report: &mut Report) -> Entry {
        match self.ping(proxy, refusal, report).await {
            Next::Failed => return Entry::Refused,
            Next::Done if self.client.login.is_none() => return Entry::Served,
            Next::Done | Next::LogIn => {}
        }
        let Some((user, password)) = &self.client.login else {
            let advice = match self.listener.auth() {
                Auth::Users => "test a login with --user NAME",
                Auth::Passthrough | Auth::Trust => "test a login with --user NAME, such as --user default",
            };
            let step = Step::new(StepName::Auth, None, Duration::ZERO);
            report.add(step.with(Trouble::not_tested("login", "only clients know the password", advice)));
            return Entry::NotLoggedIn;
        };
        let is_served = self.log_in(proxy, user, password, refusal, report).await
            && self.ping(proxy, refusal, report).await == Next::Done;
        if is_served { Entry::Served } else { Entry::Refused }
    }

    async fn ping(&self, proxy: &mut Conversation, refusal: &Refusal<'_>, report: &mut Report) -> Next {
        let (reply, took) = timed(proxy.call("PING", &[b"PING"])).await;
        let step = Step::new(StepName::Ping, None, took);
        let line = match reply {
            Err(fault) => {
                let trouble = self.fault(&fault, refusal);
                let next = if trouble.severity == Severity::NotTested { Next::Done } else { Next::Failed };
                report.add(step.with(trouble));
                return next;
            }
            Ok(Value::Error(line)) => line,
            Ok(_) => {
                report.add(step.found(Finding::Reply("PONG")));
                return Next::Done;
            }
        };
        if line.starts_with(b"NOAUTH") && self.listener.auth() != Auth::Trust {
            report.add(step.found(Finding::Reply("the proxy answers, and asks for a login")));
            return Next::LogIn;
        }
        if line.starts_with(b"NOPERM") {
            report.add(step.found(Finding::Reply("the proxy answers; its command rules refuse PING")));
            return Next::Done;
        }
        report.add(step.with(self.error(&line, refusal)));
        Next::Failed
    }

    async fn log_in(
        &self,
        proxy: &mut Conversation,
        user: &str,
        password: &[u8],
        refusal: &Refusal<'_>,
        report: &mut Report,
    ) -> bool {
        let mut bytes = Zeroizing::new(Vec::with_capacity(password.len() + 512));
        encode::command(&mut bytes, &[b"AUTH", user.as_bytes(), password]);
        let (reply, took) = timed(proxy.send("AUTH", &bytes)).await;
        let step = Step::new(StepName::Auth, None, took);
        let asked = format!("as {}", shown(user));
        let trouble = match reply {
            Ok(Value::Error(line)) => match self.error(&line, refusal) {
                // The text of an unknown error may repeat the password.
                trouble if trouble.kind == "error_reply" => Trouble::failure(
                    "auth",
                    "the proxy refuses the user name or password",
                    refusal.advice_on_user(user),
                ),
                trouble => trouble,
            },
            Ok(_) => {
                report.add(step.found(Finding::User { name: shown(user), behalf_of: None }));
                return true;
            }
            Err(fault) => self.fault(&fault, refusal),
        };
        report.add(Step { target: Some(asked), ..step }.with(trouble));
        false
    }

    /// Explains an error reply of the proxy.
    fn error(&self, line: &[u8], refusal: &Refusal<'_>) -> Trouble {
        let is = |known: &[u8]| {
            known.strip_prefix(b"-").and_then(|known| known.strip_suffix(b"\r\n")) == Some(line)
        };
        let said = || format!("the proxy answers -{}", shown(&String::from_utf8_lossy(line)));
        let upstream = self.listener.upstream().name();
        if is(reply::DENIED) || is(reply::ILLEGAL_ADDRESS) {
            return refusal.explain(&said());
        }
        if is(reply::MAX_CLIENTS) {
            let advice = "raise limits.clients or limits.per_source.clients, or maxclients in Redis";
            return Trouble::failure("limit", said(), advice);
        }
        if is(reply::TOO_MANY_CONNECTS) {
            let advice = "wait, or raise limits.per_source.connects of the listener";
            return Trouble::failure("rate", said(), advice);
        }
        if is(reply::BLOCKED) {
            let advice = "wait for limits.per_source.block_for; correct the password that clients here send";
            return Trouble::failure("blocked", said(), advice);
        }
        if line.starts_with(b"ERR portcullis: upstream ") {
            let advice = format!("see portcullis test-connection --upstream {upstream}");
            return Trouble::failure("upstream", said(), advice);
        }
        if line.starts_with(b"NOAUTH") {
            let advice =
                format!("set upstreams.{upstream}.credentials: clients send no password (auth: trust)");
            return Trouble::failure("auth", "Redis requires a password, but none is configured", advice);
        }
        let code = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let text = format!("the proxy answers with the error {}", shown(&String::from_utf8_lossy(code)));
        Trouble::failure("error_reply", text, "check the log of the proxy and of Redis")
    }

    /// Explains a connection that failed after it was made.
    fn fault(&self, fault: &Fault, refusal: &Refusal<'_>) -> Trouble {
        match fault {
            Fault::Tls { alert: false } | Fault::Lost(_) => refusal.explain(CLOSED),
            Fault::Broken { fault, .. } => tls_fault(fault, refusal),
            Fault::Tls { alert: true } => Trouble::failure(
                "tls",
                "the server expects TLS, and this configuration has none for the listener",
                "reload the proxy with this configuration, or name the configuration that it runs with",
            ),
            Fault::Answer(_) => Trouble::failure(
                "protocol",
                fault.to_string(),
                "find the process that listens there: ss -ltnp",
            ),
            Fault::Silent { .. }
            | Fault::Connect(_)
            | Fault::NoMaster
            | Fault::NoNode
            | Fault::ClusterDown => Trouble::failure(
                "timeout",
                fault.to_string(),
                format!(
                    "check the log of the proxy, and portcullis test-connection --upstream {}",
                    self.listener.upstream().name()
                ),
            ),
        }
    }
}

/// Returns the local address of a connection over TCP, which a reset does not leave behind. Nothing is sent.
fn source_towards(place: &Place) -> Option<SocketAddr> {
    let Sockets::Tcp(sockets) = &place.sockets else { return None };
    let to = sockets.first()?;
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok()
}

/// Explains a handshake that failed.
fn handshake(error: ConnectError, refusal: &Refusal<'_>) -> Trouble {
    match error.tls() {
        Some((fault, _)) => tls_fault(fault, refusal),
        None => unreachable(error),
    }
}

fn tls_fault(fault: &TlsFault, refusal: &Refusal<'_>) -> Trouble {
    match fault {
        TlsFault::Protocol(Error::AlertReceived(AlertDescription::CertificateRequired)) => {
            Trouble::not_tested(
                "client_certificate",
                "the listener requires a client certificate, and this test has none",
                "try one: redis-cli --tls --cert FILE --key FILE --cacert FILE PING",
            )
        }
        TlsFault::Absent | TlsFault::Gone | TlsFault::Io(_) => {
            refusal.explain("the proxy closes the connection during the TLS handshake")
        }
        TlsFault::Plain => Trouble::failure(
            "tls",
            "the server speaks plain text, and this configuration has TLS for the listener",
            "reload the proxy with this configuration, or name the configuration that it runs with",
        ),
        // The certificate is another one, or clients would refuse it.
        fault => Trouble::failure(
            "tls",
            fault.to_string(),
            "check listeners.*.tls.cert, and reload the proxy if the file has changed",
        ),
    }
}

fn unreachable(error: ConnectError) -> Trouble {
    let text = error.text();
    let kind = Fault::Connect(error).kind().as_str();
    let advice = match kind {
        "refused" => "start the proxy: portcullis run; if it runs, read its log",
        _ => "check the firewall of this host, and that the address is one of this host",
    };
    Trouble::failure(kind, text, advice)
}

/// Returns the address at which a client on this host reaches a listener.
fn place(bind: &Bind) -> Place {
    let tcp = |addr: SocketAddr| {
        let host = ClientAddr::from_socket(addr).ip().map(|ip| ip.to_string()).unwrap_or_default();
        let address = Address::Host { host, port: addr.port() };
        Place { address, sockets: Sockets::Tcp(Box::new([addr])) }
    };
    match bind {
        Bind::Tcp { addr, .. } => tcp(reachable(*addr)),
        Bind::Unix(file) => {
            let path = file.path().to_path_buf();
            Place { address: Address::Unix(path.clone()), sockets: Sockets::Unix(path) }
        }
    }
}
