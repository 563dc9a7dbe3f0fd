//! The test of an upstream: each address, each socket of a name, and the login of each user of the proxy there.

use std::sync::Arc;

use portcullis_config::{Address, Auth, Config, Credentials, Upstream, User};
use portcullis_resp::value::Value;

use super::cluster::ClusterTest;
use super::conversation::{Conversation, Identity, may_be_sentinel, timed};
use super::dial::{Dial, Dialed};
use super::report::{PartKind, Report};
use super::sentinel::ask_all;
use super::step::{Finding, Server, Severity, Step, StepName, Trouble, shown};
use crate::net::stream::Stream;
use crate::upstream::connect::ConnectError;
use crate::upstream::health::fault::{Answer, Fault, unasked};
use crate::upstream::view::Place;

/// The user of Redis for a login without a name.
const DEFAULT_USER: &str = portcullis_acl::user::DEFAULT_USER;

/// An upstream under test.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpstreamTest<'c> {
    config: &'c Config,
    upstream: &'c Arc<Upstream>,
    dial: Dial<'c>,
}

/// The result for one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// The socket does not accept, and the proxy tries the next one of the name.
    No,
    /// The TLS handshake fails, and the proxy tries the next address.
    Insecure,
    /// The proxy uses the server.
    Yes { works: bool },
}

impl<'c> UpstreamTest<'c> {
    pub(super) fn of(config: &'c Config, upstream: &'c Arc<Upstream>) -> Self {
        let dial = Dial {
            tls: upstream.tls().map(|tls| &**tls),
            limit: upstream.connect_timeout(),
            tcp: config.limits().tcp(),
        };
        Self { config, upstream, dial }
    }

    /// Tests the cluster, the master that the sentinels name, or all addresses. The upstream works if the server that the proxy uses
    /// does.
    pub(super) async fn run(self, report: &mut Report) {
        if let Some(cluster) = self.upstream.cluster() {
            ClusterTest { test: &self, cluster }.run(report).await;
            return;
        }
        let name = self.upstream.name();
        let (addresses, is_followed) = match self.upstream.sentinel() {
            Some(sentinel) => {
                let about = format!("sentinel, master {}", sentinel.master());
                report.begin(PartKind::Upstream, name, &about);
                let named = ask_all(self.upstream, sentinel, self.dial.tcp, report).await;
                let is_followed = named.as_ref().is_some_and(|named| named.is_followed);
                (named.into_iter().map(|named| named.address).collect(), is_followed)
            }
            None => {
                report.begin(PartKind::Upstream, name, "standalone");
                (self.upstream.addresses().to_vec(), true)
            }
        };
        let works = match self.test_all(&addresses, report).await {
            Some((place, true)) => self.test_users(&place, report).await,
            Some((_, false)) | None => false,
        };
        report.end(works && is_followed);
    }

    /// Tests all sockets of these addresses. Returns the one that the proxy uses, and whether it works.
    async fn test_all(&self, addresses: &[Address], report: &mut Report) -> Option<(Place, bool)> {
        let explain = |error| self.explain(error);
        let mut used: Option<(Place, bool)> = None;
        for address in addresses {
            let mut decided = used.is_some();
            for place in self.dial.resolve(address, &explain, report).await {
                match self.test(&place, report).await {
                    Reached::No => {}
                    Reached::Insecure => decided = true,
                    Reached::Yes { works } => {
                        if !decided {
                            used = Some((place, works));
                        }
                        decided = true;
                    }
                }
            }
        }
        used
    }

    /// Tests one socket.
    async fn test(&self, place: &Place, report: &mut Report) -> Reached {
        let explain = |error| self.explain(error);
        match self.dial.dial(place, &explain, report).await {
            Dialed::Connected(stream) => {
                let server = Conversation::on(stream, self.dial.limit, self.shows_certificate());
                Reached::Yes { works: self.talk(server, report).await }
            }
            Dialed::Refused => Reached::No,
            Dialed::Insecure => Reached::Insecure,
        }
    }

    /// Logs in as the proxy does, sends PING, and asks for the role. Returns whether the upstream serves clients.
    async fn talk(&self, mut server: Conversation, report: &mut Report) -> bool {
        if let Some(credentials) = self.upstream.credentials() {
            let (result, took) = timed(server.log_in(credentials)).await;
            let finding = Finding::User { name: user_of(credentials), behalf_of: None };
            let step = Step::new(StepName::Auth, None, took);
            if let Err(fault) = result {
                let sentinel = match may_be_sentinel(&fault) {
                    true => sentinel_behind(&mut server).await,
                    false => None,
                };
                let trouble = match sentinel {
                    Some(sentinel) => self.not_a_sentinel(&sentinel),
                    None => self.trouble(&fault),
                };
                let name = Some(format!("as {}", user_of(credentials)));
                report.add(Step { target: name, ..step }.with(trouble));
                return false;
            }
            report.add(step.found(finding));
        }
        let (reply, took) = timed(server.call("PING", &[b"PING"])).await;
        let step = self.ping(Step::new(StepName::Ping, None, took), reply);
        let answered = !step.failed();
        report.add(step);
        answered && self.role(&mut server, report).await
    }

    pub(super) fn ping(&self, step: Step, reply: Result<Value, Fault>) -> Step {
        let line = match reply {
            Err(fault) => return step.with(self.trouble(&fault)),
            Ok(Value::Error(line)) => line,
            Ok(reply) if reply.as_bytes() == Some(b"PONG") => return step.found(Finding::Reply("PONG")),
            Ok(_) => return step.with(self.trouble(&Fault::Answer(Answer::NotRedis))),
        };
        if line.starts_with(b"NOAUTH") {
            return match self.needs_login() {
                true => step.with(self.trouble(&Fault::Answer(Answer::PasswordWanted))),
                false => {
                    step.found(Finding::Reply("asks for a password, which clients send (auth: passthrough)"))
                }
            };
        }
        if let Some(answer) = unasked(&line) {
            return step.with(self.trouble(&Fault::Answer(answer)));
        }
        if line.starts_with(b"NOPERM") {
            return step.with(self.lacks_right("PING", "+ping"));
        }
        step.with(Trouble::warning(
            "error_reply",
            format!("Redis answers PING with the error {}", first_word(&line)),
            "check the log of Redis",
        ))
    }

    /// Asks for the role, and returns whether the server is one that the upstream may have.
    async fn role(&self, server: &mut Conversation, report: &mut Report) -> bool {
        let (identity, took) = timed(server.identify()).await;
        let step = Step::new(StepName::Role, None, took);
        let step = match identity {
            Err(fault) => step.with(self.trouble(&fault)),
            Ok(identity) => self.judge(step, identity),
        };
        let works = !step.failed();
        report.add(step);
        works
    }

    fn judge(&self, step: Step, identity: Identity) -> Step {
        let Identity { server, wants_login, lacks_right } = identity;
        let key = format!("upstreams.{}", self.upstream.name());
        let trouble = match server.role {
            None if wants_login => {
                let advice = format!("set {key}.credentials, with which the health check logs in too");
                Some(Trouble::not_tested("auth", "only clients have a password", advice))
            }
            None if lacks_right => Some(self.lacks_right("ROLE", "+role")),
            Some("sentinel") => Some(self.not_a_sentinel(&server)),
            Some("replica") => Some(self.replica(&server)),
            _ if server.mode.as_deref() == Some("cluster") => Some(Trouble::warning(
                "cluster",
                "it is a node of a Redis Cluster: clients read MOVED for the keys of other nodes",
                format!("set {key}.address to a Redis without cluster mode (cluster-enabled no)"),
            )),
            _ => None,
        };
        let failed = trouble.as_ref().is_some_and(|trouble| trouble.severity != Severity::Warning);
        if failed { step.with(trouble) } else { step.found(Finding::Role(server)).with(trouble) }
    }

    /// Tests the logins of users that have their own at this upstream, on a connection each.
    pub(super) async fn test_users(&self, place: &Place, report: &mut Report) -> bool {
        let mut all_work = true;
        for (user, credentials) in self.users() {
            let (result, took) = timed(self.log_in_as(place, credentials)).await;
            let step = Step::new(StepName::Auth, None, took);
            let name = user_of(credentials);
            let step = match result {
                Ok(()) => step.found(Finding::User { name, behalf_of: Some(user.name().to_owned()) }),
                Err(trouble) => {
                    all_work = false;
                    let target = Some(format!("as {name}, for user {}", user.name()));
                    let key = format!("users.{}.upstream_credentials.{}", user.name(), self.upstream.name());
                    let advice = match trouble.kind {
                        "auth" => format!("correct {key}"),
                        _ => trouble.advice,
                    };
                    Step { target, ..step }.with(Trouble { advice, ..trouble })
                }
            };
            report.add(step);
        }
        all_work
    }

    async fn log_in_as(&self, place: &Place, credentials: &Credentials) -> Result<(), Trouble> {
        let stream = self.dial.quietly(place).await.map_err(|error| self.explain(error))?;
        let mut server = Conversation::on(stream, self.dial.limit, self.shows_certificate());
        server.log_in(credentials).await.map_err(|fault| self.trouble(&fault))
    }

    /// Returns the users with a login of their own at this upstream, if a listener before it has them.
    fn users(&self) -> impl Iterator<Item = (&'c User, &'c Credentials)> {
        let upstream = self.upstream;
        let listed = move |user: &User| {
            let listeners = self.config.listeners().iter();
            let mut users = listeners
                .filter(move |listener| listener.upstream().name() == upstream.name())
                .flat_map(|listener| listener.users());
            users.any(|name| name == user.name())
        };
        let own = self.config.users().iter().filter(move |user| listed(user));
        own.filter_map(move |user| Some((&**user, user.upstream_credentials(upstream.name())?)))
    }

    /// Returns whether a client would be served without a password of its own, so that the proxy must have one.
    fn needs_login(&self) -> bool {
        let listeners = self.config.listeners().iter();
        let mut before = listeners.filter(|listener| listener.upstream().name() == self.upstream.name());
        before.any(|listener| match listener.auth() {
            Auth::Passthrough => false,
            Auth::Trust => true,
            Auth::Users => {
                let own = |name: &String| self.users().any(|(user, _)| user.name() == name);
                !listener.users().iter().all(own)
            }
        })
    }

    pub(super) const fn upstream(&self) -> &'c Arc<Upstream> {
        self.upstream
    }

    pub(super) const fn dial(&self) -> &Dial<'c> {
        &self.dial
    }

    /// Begins a conversation on a connection to the upstream.
    pub(super) fn conversation(&self, stream: Stream) -> Conversation {
        Conversation::on(stream, self.dial.limit, self.shows_certificate())
    }

    fn shows_certificate(&self) -> bool {
        self.upstream.tls().is_some_and(|tls| tls.has_identity())
    }

    pub(super) fn explain(&self, error: ConnectError) -> Trouble {
        let (text, is_tls) = (error.text(), error.tls().is_some());
        // The step names the address.
        let trouble = Trouble { text, ..self.trouble(&Fault::Connect(error)) };
        let is_announced = self.upstream.is_sentinel() || self.upstream.is_cluster();
        if !is_announced || is_tls {
            return trouble;
        }
        let who = if self.upstream.is_cluster() { "nodes" } else { "sentinels" };
        let advice = format!(
            "the {who} name this address: check that this host reaches it, or map it with upstreams.{}.translate",
            self.upstream.name()
        );
        Trouble { advice, ..trouble }
    }

    /// Explains that a configured node of a cluster cannot be reached.
    pub(super) fn explain_configured(&self, error: ConnectError) -> Trouble {
        let text = error.text();
        Trouble { text, ..self.trouble(&Fault::Connect(error)) }
    }

    pub(super) fn trouble(&self, fault: &Fault) -> Trouble {
        let advice = fault.advice(self.upstream.name()).to_string();
        let key = format!("upstreams.{}", self.upstream.name());
        // There is no key `address`.
        let advice = match (self.upstream.sentinel(), self.upstream.cluster()) {
            (Some(_), _) => advice.replace(&format!("{key}.address"), "its address"),
            (None, Some(_)) => advice.replace(&format!("{key}.address"), &format!("{key}.cluster.nodes")),
            (None, None) => advice,
        };
        Trouble::failure(fault.kind().as_str(), fault.to_string(), advice)
    }

    pub(super) fn lacks_right(&self, command: &str, rule: &str) -> Trouble {
        let user = self.upstream.credentials().map_or_else(|| DEFAULT_USER.to_owned(), user_of);
        Trouble::warning(
            "noperm",
            format!("Redis refuses {command}: user {user} lacks the right {rule}"),
            format!("run in Redis: ACL SETUSER {user} {rule}"),
        )
    }

    fn replica(&self, server: &Server) -> Trouble {
        let of = server.master.as_ref().map_or_else(String::new, |master| format!(" of {master}"));
        match self.upstream.sentinel() {
            Some(sentinel) => Trouble::failure(
                "replica",
                format!("the sentinels name it, but it is a replica{of}"),
                format!("wait for the end of the failover, or check SENTINEL MASTER {}", sentinel.master()),
            ),
            None => Trouble::warning(
                "replica",
                format!("it is a replica{of}, and refuses writes (READONLY)"),
                format!(
                    "set upstreams.{}.address to the master, unless clients only read",
                    self.upstream.name()
                ),
            ),
        }
    }

    fn not_a_sentinel(&self, server: &Server) -> Trouble {
        let monitored = match server.monitored.as_slice() {
            [] => String::new(),
            names => format!(", which monitors {}", names.join(", ")),
        };
        Trouble::failure(
            "sentinel",
            format!("it is a Sentinel{monitored}, not a server with data"),
            self.sentinel_key(server),
        )
    }

    /// Returns the keys with which the proxy follows the master of a sentinel.
    fn sentinel_key(&self, server: &Server) -> String {
        let master = server.monitored.first().map_or("NAME", String::as_str);
        let node =
            self.upstream.addresses().first().map_or_else(|| "HOST:26379".to_owned(), ToString::to_string);
        format!(
            "replace address of upstreams.{} by sentinel: {{master: {master}, nodes: [\"{node}\"]}}",
            self.upstream.name()
        )
    }
}

/// Returns the facts about a server that refused a login, if it is a sentinel.
async fn sentinel_behind(server: &mut Conversation) -> Option<Server> {
    let identity = server.identify().await.ok()?;
    (identity.server.role == Some("sentinel")).then_some(identity.server)
}

pub(super) fn user_of(credentials: &Credentials) -> String {
    credentials.username().unwrap_or(DEFAULT_USER).to_owned()
}

/// Returns the code of an error reply. The rest may repeat what was sent.
fn first_word(line: &[u8]) -> String {
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    shown(&String::from_utf8_lossy(word))
}
