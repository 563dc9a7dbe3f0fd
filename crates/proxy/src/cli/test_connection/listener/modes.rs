//! Clients in Sentinel and Cluster mode: they ask the listener for an address, and connect to the address in the answer.

use portcullis_config::{Address, Bind, Listener, Tcp};
use portcullis_resp::value::Value;

use super::{Door, Entry, ListenerTest, PATIENCE};
use crate::cli::test_connection::conversation::{Conversation, timed};
use crate::cli::test_connection::dial::Dial;
use crate::cli::test_connection::listener::refusal::Refusal;
use crate::cli::test_connection::report::{Mode, Report};
use crate::cli::test_connection::step::{Finding, Step, StepName, Trouble, shown};
use crate::upstream::connect::ConnectError;
use crate::upstream::health::fault::Fault;
use crate::upstream::view::{Place, Sockets};

/// The number of slots of a cluster.
const SLOTS: i64 = 16384;

/// The advice for a proxy that runs with another configuration.
const RELOAD: &str = "reload the proxy with this configuration, or name the configuration that it runs with";

/// A node in the reply to CLUSTER SLOTS.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    address: Address,
    id: String,
}

impl<'c> ListenerTest<'c> {
    /// Asks for the master as a client of a sentinel, and connects to it.
    pub(super) async fn as_sentinel(&self, door: &Door<'_>, report: &mut Report) -> bool {
        let Some((mut proxy, refusal)) = self.enter(door, report).await else { return false };
        let Some(names) = self.names(&mut proxy, &refusal, report).await else { return false };
        let mut named = None;
        for name in self.wanted() {
            let words: [&[u8]; 3] = [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.as_bytes()];
            let (reply, took) = timed(proxy.call("SENTINEL", &words)).await;
            let step = Step::new(StepName::Sentinel, shown(name), took);
            let address = reply.as_ref().ok().and_then(master_of);
            let step = match &address {
                Some(address) => step
                    .found(Finding::Announced(address.to_string()))
                    .with(self.unknown_name(name, &names).or_else(|| self.other_address(address, door))),
                None => step.with(self.unexpected(Mode::Sentinel, reply, &refusal)),
            };
            if step.failed() {
                report.add(step);
                return false;
            }
            report.add(step.with(self.former_name(&names)));
            named = address;
        }
        let Some(address) = named else { return false };
        let data = Self { listener: self.data_listener(&address), ..*self };
        data.visit_master(&address, self.listener, report).await
    }

    /// Asks for the nodes as a client of a cluster, and connects to the one that is announced.
    pub(super) async fn as_cluster(&self, door: &Door<'_>, report: &mut Report) -> bool {
        let Some((mut proxy, refusal)) = self.enter(door, report).await else { return false };
        match self.talk(&mut proxy, &refusal, report).await {
            Entry::Served => {}
            Entry::NotLoggedIn => return true,
            Entry::Refused => return false,
        }
        let (reply, took) = timed(proxy.call("CLUSTER", &[b"CLUSTER", b"SLOTS"])).await;
        let step = Step::new(StepName::Cluster, "SLOTS".to_owned(), took);
        let Some(node) = reply.as_ref().ok().and_then(node_of) else {
            report.add(step.with(self.unexpected(Mode::Cluster, reply, &refusal)));
            return false;
        };
        let trouble = self.other_address(&node.address, door);
        let works = trouble.is_none();
        report.add(step.found(Finding::Announced(node.address.to_string())).with(trouble));
        works && self.visit_node(&node, door, report).await
    }

    /// Tests the announced address as a plain client.
    pub(super) async fn test_announced(
        &self,
        address: &Address,
        door: &Door<'_>,
        report: &mut Report,
    ) -> bool {
        let Some((mut proxy, refusal)) = self.visit(address, door, report).await else { return false };
        self.talk(&mut proxy, &refusal, report).await != Entry::Refused
    }

    /// Connects to the master that a sentinel has named. `from` is the listener that is the sentinel.
    async fn visit_master(&self, address: &Address, from: &Listener, report: &mut Report) -> bool {
        let Ok(tls) = self.tls() else { return false };
        let place = Place { address: address.clone(), sockets: Sockets::Unknown };
        let door = Door { place, tls: tls.as_ref(), announced_by: Some(from) };
        let Some((mut proxy, refusal)) = self.visit(address, &door, report).await else { return false };
        match self.talk(&mut proxy, &refusal, report).await {
            Entry::Served => {}
            Entry::NotLoggedIn => return true,
            Entry::Refused => return false,
        }
        let (identity, took) = timed(proxy.identify()).await;
        let step = Step::new(StepName::Role, None, took);
        let step = match identity {
            Err(fault) => step.with(self.fault(&fault, &refusal)),
            Ok(identity) => match identity.server.role {
                Some("master") | None => step.found(Finding::Role(identity.server)),
                Some(role) => {
                    let advice = format!(
                        "set listeners.{}.announce to the address of a listener with data",
                        from.name()
                    );
                    step.with(Trouble::failure(
                        "announce",
                        format!("clients expect a master there, and it is a {role}"),
                        advice,
                    ))
                }
            },
        };
        let works = !step.failed();
        report.add(step);
        works
    }

    /// Connects to the node that the proxy has named, and checks that the same node answers there.
    async fn visit_node(&self, node: &Node, door: &Door<'_>, report: &mut Report) -> bool {
        let Some((mut proxy, refusal)) = self.visit(&node.address, door, report).await else { return false };
        match self.talk(&mut proxy, &refusal, report).await {
            Entry::Served => {}
            Entry::NotLoggedIn => return true,
            Entry::Refused => return false,
        }
        let (reply, took) = timed(proxy.call("CLUSTER", &[b"CLUSTER", b"MYID"])).await;
        let step = Step::new(StepName::Cluster, "MYID".to_owned(), took);
        let step = match &reply {
            Ok(Value::Error(line)) if !is_unpresented(line) => step.with(self.error(line, &refusal)),
            Err(fault) => step.with(self.fault(fault, &refusal)),
            Ok(id) if id.as_str() == Some(&node.id) => step.found(Finding::Reply("the same node")),
            Ok(_) => step.with(Trouble::failure(
                "announce",
                "another server answers there, which is not this listener",
                format!("correct listeners.{}.announce", self.listener.name()),
            )),
        };
        let works = !step.failed();
        report.add(step);
        works
    }

    /// Connects to an address in an answer. If it is a name, the first of its addresses that connects counts.
    async fn visit(
        &self,
        address: &Address,
        door: &Door<'_>,
        report: &mut Report,
    ) -> Option<(Conversation, Refusal<'c>)> {
        // Where nothing else is announced, it is the address that the client has dialled.
        let own = Some(self.listener).filter(|listener| listener.presentation().announce().is_some());
        let by = door.announced_by.or(own);
        let tcp = Tcp::default();
        let dial = Dial { tls: None, limit: PATIENCE, tcp: &tcp };
        let explain = |error| unreachable_announced(by.unwrap_or(self.listener), error);
        for place in dial.resolve(address, &explain, report).await {
            let entered = self.enter(&Door { place, tls: door.tls, announced_by: by }, report).await;
            if entered.is_some() {
                return entered;
            }
        }
        None
    }

    /// Returns the names that a client of a sentinel may ask for.
    fn wanted(&self) -> Vec<&'c str> {
        match &self.client.master {
            Some(name) => vec![name],
            None => self.listener.presentation().masters().iter().map(String::as_str).collect(),
        }
    }

    /// Asks for the names of the masters. redis-py and redis-rs look for theirs among them.
    async fn names(
        &self,
        proxy: &mut Conversation,
        refusal: &Refusal<'_>,
        report: &mut Report,
    ) -> Option<Vec<String>> {
        let (reply, took) = timed(proxy.call("SENTINEL", &[b"SENTINEL", b"MASTERS"])).await;
        if let Ok(masters) = &reply
            && let Some(masters) = masters.as_array()
        {
            return Some(
                masters.iter().filter_map(|facts| facts.field("name")?.as_str().map(shown)).collect(),
            );
        }
        let step = Step::new(StepName::Sentinel, "MASTERS".to_owned(), took);
        report.add(step.with(self.unexpected(Mode::Sentinel, reply, refusal)));
        None
    }

    /// Explains that the proxy does not announce this name.
    fn unknown_name(&self, name: &str, names: &[String]) -> Option<Trouble> {
        if names.iter().any(|known| known == name) {
            return None;
        }
        let listed = names.join(", ");
        let advice = match self.listener.presentation().masters().iter().any(|known| known == name) {
            true => RELOAD.to_owned(),
            false => format!(
                "add {} to listeners.{}.announce_master, or enter one of these names in the client",
                shown(name),
                self.listener.name()
            ),
        };
        Some(Trouble::failure("master_name", format!("the proxy announces {listed} only"), advice))
    }

    /// Warns that clients may know another name: that of the upstream.
    fn former_name(&self, names: &[String]) -> Option<Trouble> {
        let name = self.listener.upstream().sentinel()?.master();
        if self.client.master.is_some() || names.iter().any(|known| known == name) {
            return None;
        }
        Some(Trouble::warning(
            "master_name",
            format!("clients that have asked the sentinels so far know the name {name}"),
            format!(
                "add {name} to listeners.{}.announce_master, or change the clients",
                self.listener.name()
            ),
        ))
    }

    /// Explains that the running proxy announces another address than this configuration.
    fn other_address(&self, named: &Address, door: &Door<'_>) -> Option<Trouble> {
        let announce = self.listener.presentation().announce();
        let expected = announce.map_or_else(
            || door.place.address.clone(),
            |announced| Address::Host { host: announced.host().to_owned(), port: announced.port() },
        );
        (!named.is_same_host(&expected))
            .then(|| Trouble::failure("announce", format!("this configuration announces {expected}"), RELOAD))
    }

    /// Returns the listener whose address a `[sentinel]` listener announces.
    fn data_listener(&self, announced: &Address) -> &'c Listener {
        if !self.listener.presentation().is_sentinel_only() {
            return self.listener;
        }
        let Address::Host { port, .. } = announced else { return self.listener };
        let has_port = |bind: &Bind| matches!(bind, Bind::Tcp { addr, .. } if addr.port() == *port);
        let mut with_data = self.config.listeners().iter().map(|listener| &**listener).filter(|listener| {
            let announce = listener.presentation().announce().map(|own| own.port());
            !listener.presentation().is_sentinel_only()
                && announce.map_or_else(|| listener.binds().iter().any(has_port), |own| own == *port)
        });
        with_data.next().unwrap_or(self.listener)
    }

    /// Explains a reply without the expected facts.
    fn unexpected(&self, mode: Mode, reply: Result<Value, Fault>, refusal: &Refusal<'_>) -> Trouble {
        match reply {
            Err(fault) => self.fault(&fault, refusal),
            Ok(Value::Error(line)) if !is_unpresented(&line) => self.error(&line, refusal),
            Ok(_) => {
                let text = format!("the proxy does not present itself as a {}", mode.as_str());
                Trouble::failure("not_presented", text, RELOAD)
            }
        }
    }
}

/// Explains that the address that the listener announces does not accept.
pub(super) fn unreachable_announced(listener: &Listener, error: ConnectError) -> Trouble {
    let text = error.text();
    let kind = Fault::Connect(error).kind().as_str();
    let key = format!("listeners.{}.announce", listener.name());
    let advice = match kind {
        "resolve" => format!("correct {key}, or check the name server"),
        _ => format!("correct {key}; if only this host cannot reach it, run the test where clients run"),
    };
    Trouble::failure(kind, text, advice)
}

/// Returns whether a server that is no sentinel or no cluster answers with this error.
fn is_unpresented(line: &[u8]) -> bool {
    line.starts_with(b"ERR unknown command")
        || line.starts_with(b"ERR This instance has cluster support disabled")
}

/// Reads the reply to SENTINEL GET-MASTER-ADDR-BY-NAME.
fn master_of(reply: &Value) -> Option<Address> {
    match reply.as_array()? {
        [host, port] => address(host, port),
        _ => None,
    }
}

/// Reads the reply to CLUSTER SLOTS of a cluster with one node.
fn node_of(reply: &Value) -> Option<Node> {
    let [range] = reply.as_array()? else { return None };
    let [first, last, node, ..] = range.as_array()? else { return None };
    let [host, port, id, ..] = node.as_array()? else { return None };
    let is_whole = first.as_integer() == Some(0) && last.as_integer() == Some(SLOTS - 1);
    is_whole.then_some(())?;
    Some(Node { address: address(host, port)?, id: id.as_str()?.to_owned() })
}

fn address(host: &Value, port: &Value) -> Option<Address> {
    let port = u16::try_from(port.as_integer()?).ok().filter(|port| *port > 0)?;
    Some(Address::Host { host: shown(host.as_str()?), port })
}
