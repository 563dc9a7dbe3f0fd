//! The question to each sentinel of an upstream, and the master that they name.

use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Sentinel, Tcp, Upstream};
use portcullis_resp::value::Value;
use tokio::task::spawn_local;

use super::conversation::{Conversation, timed};
use super::decision::{compare, decide};
use super::dial::Dial;
use super::report::Report;
use super::step::{Finding, Step, StepName, Trouble, shown};
use crate::upstream::connect::ConnectError;
use crate::upstream::health::fault::{Fault, unasked};
use crate::upstream::sentinel::answer::Claim;
use crate::upstream::sentinel::round::Master;

/// The master that the sentinels name.
#[derive(Debug)]
pub(super) struct Named {
    /// The address at which the proxy reaches it, after `translate`.
    pub(super) address: Address,
    /// Whether the proxy follows the sentinels to it.
    pub(super) is_followed: bool,
}

/// Asks all sentinels at the same time, and reports them in the order of the configuration. Returns the master; `None` if
/// no sentinel names one.
pub(super) async fn ask_all(
    upstream: &Arc<Upstream>,
    sentinel: &Arc<Sentinel>,
    tcp: &Tcp,
    report: &mut Report,
) -> Option<Named> {
    let ask = |node: &Address| {
        let asked =
            Asked { upstream: Arc::clone(upstream), sentinel: Arc::clone(sentinel), tcp: tcp.clone() };
        let node = node.clone();
        spawn_local(async move { asked.ask(&node).await })
    };
    let asked: Vec<_> = sentinel.nodes().iter().map(ask).collect();
    let mut answers = Vec::new();
    for (node, task) in sentinel.nodes().iter().zip(asked) {
        // A task ends early only if it panics.
        let (answer, took) = task.await.unwrap_or_else(|_| (Err(lost_task()), Duration::ZERO));
        answers.push((Step::new(StepName::Ask, node.to_string(), took), answer));
    }
    let claims = answers.iter().filter_map(|(_, answer)| Some(answer.as_ref().ok()?.0.clone())).collect();
    let (decided, took) = timed(decide(upstream, sentinel, tcp, claims)).await;
    for (step, answer) in answers {
        report.add(match answer {
            Ok((claim, trouble)) => {
                let differs =
                    |master: &Master| (&master.address, master.epoch) != (&claim.address, claim.epoch);
                let other = decided.followed().is_some_and(differs).then(|| disagrees(sentinel));
                let finding = Finding::Master { address: claim.address.to_string(), epoch: claim.epoch };
                step.found(finding).with(trouble.or(other))
            }
            Err(trouble) => step.with(trouble),
        });
    }
    let is_followed = decided.followed().is_some();
    if let Some(trouble) = decided.trouble(sentinel) {
        report.add(Step::new(StepName::Decide, None, took).with(trouble));
    }
    let named = decided.server()?;
    Some(Named { address: sentinel.reachable(named).clone(), is_followed })
}

fn disagrees(sentinel: &Sentinel) -> Trouble {
    Trouble::warning(
        "disagrees",
        "other sentinels name another master, or with another epoch",
        compare(sentinel),
    )
}

fn lost_task() -> Trouble {
    Trouble::failure("connect", "the question was not asked", "run the test again")
}

/// One sentinel to ask.
struct Asked {
    upstream: Arc<Upstream>,
    sentinel: Arc<Sentinel>,
    tcp: Tcp,
}

/// The answer of a sentinel with a warning, or the reason why there is none.
type Answer = Result<(Claim, Option<Trouble>), Trouble>;

impl Asked {
    async fn ask(self, node: &Address) -> (Answer, Duration) {
        timed(self.answer(node)).await
    }

    async fn answer(&self, node: &Address) -> Answer {
        let mut talk = self.connect(node).await?;
        if let Some(credentials) = self.sentinel.credentials() {
            talk.log_in(credentials).await.map_err(|fault| self.trouble(&fault))?;
        }
        let place = self.call(&mut talk, "GET-MASTER-ADDR-BY-NAME").await?;
        let Some(address) = address_of(&place) else { return Err(self.unknown(&mut talk).await) };
        let facts = self.call(&mut talk, "MASTER").await?;
        let epoch = facts.field("config-epoch").and_then(Value::as_integer);
        let epoch = epoch.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or_default();
        let flags = facts.field("flags").and_then(Value::as_str).unwrap_or_default();
        let is_down = flags.split(',').any(|flag| matches!(flag, "s_down" | "o_down"));
        let down = is_down.then(|| {
            let text = format!("this sentinel sees the master as down ({})", shown(flags));
            Trouble::warning("down", text, "check the network between this sentinel and the master")
        });
        Ok((Claim { address, epoch }, down))
    }

    /// Connects to the first socket of the sentinel that accepts.
    async fn connect(&self, node: &Address) -> Result<Conversation, Trouble> {
        let limit = self.upstream.connect_timeout();
        let tls = self.sentinel.tls();
        let dial = Dial { tls: tls.map(|tls| &**tls), limit, tcp: &self.tcp };
        let place = dial.place(node).await;
        let stream = dial.quietly(&place).await.map_err(|error| self.explain(error))?;
        Ok(Conversation::on(stream, limit, tls.is_some_and(|tls| tls.has_identity())))
    }

    /// Sends `SENTINEL subcommand master`.
    async fn call(&self, talk: &mut Conversation, subcommand: &'static str) -> Result<Value, Trouble> {
        let master = self.sentinel.master().as_bytes();
        let words: [&[u8]; 3] = [b"SENTINEL", subcommand.as_bytes(), master];
        match talk.call("SENTINEL", &words).await {
            Ok(Value::Error(line)) => Err(self.refused(&line)),
            Ok(reply) => Ok(reply),
            Err(fault) => Err(self.trouble(&fault)),
        }
    }

    /// Explains an error reply to SENTINEL.
    fn refused(&self, line: &[u8]) -> Trouble {
        let key = format!("upstreams.{}.sentinel", self.upstream.name());
        if let Some(answer) = unasked(line) {
            return self.trouble(&Fault::Answer(answer));
        }
        if line.starts_with(b"NOAUTH") {
            let advice = format!("set {key}.credentials: sentinels have passwords of their own");
            return Trouble::failure("auth", "it requires a password, but none is configured", advice);
        }
        if line.starts_with(b"NOPERM") {
            let text = "the user of the proxy lacks the right +sentinel";
            return Trouble::failure(
                "noperm",
                text,
                "run in the sentinel: ACL SETUSER USER +sentinel +subscribe +ping",
            );
        }
        if line.starts_with(b"ERR No such master") {
            return self.no_such_master(&[]);
        }
        if line.starts_with(b"ERR unknown command") {
            let advice = format!("write addresses of sentinels in {key}.nodes; their port is usually 26379");
            return Trouble::failure("not_a_sentinel", "it is no Sentinel, but a server with data", advice);
        }
        Trouble::failure("error_reply", "it answers SENTINEL with an error", "check the log of the sentinel")
    }

    /// Explains that the sentinel does not know the master, with the names that it knows.
    async fn unknown(&self, talk: &mut Conversation) -> Trouble {
        let masters = talk.call("SENTINEL", &[b"SENTINEL", b"MASTERS"]).await;
        let known: Vec<String> = match &masters {
            Ok(masters) => masters
                .as_array()
                .unwrap_or_default()
                .iter()
                .filter_map(|facts| facts.field("name")?.as_str().map(shown))
                .collect(),
            Err(_) => Vec::new(),
        };
        self.no_such_master(&known)
    }

    fn no_such_master(&self, known: &[String]) -> Trouble {
        let text = format!("it monitors no master named {}", self.sentinel.master());
        let key = format!("upstreams.{}.sentinel.master", self.upstream.name());
        let advice = match known {
            [] => format!("correct {key}: SENTINEL MASTERS lists the names"),
            known => format!("correct {key}: it monitors {}", known.join(", ")),
        };
        Trouble::failure("unknown_master", text, advice)
    }

    fn explain(&self, error: ConnectError) -> Trouble {
        let text = error.text();
        Trouble { text, ..self.trouble(&Fault::Connect(error)) }
    }

    fn trouble(&self, fault: &Fault) -> Trouble {
        let key = format!("{}.sentinel", self.upstream.name());
        // Sentinels have `nodes` where servers with data have `address`.
        let advice = fault.advice(&key).to_string().replace("sentinel.address", "sentinel.nodes");
        Trouble::failure(
            fault.kind().as_str(),
            fault.to_string(),
            advice.replace("start Redis", "start the sentinel"),
        )
    }
}

fn address_of(reply: &Value) -> Option<Address> {
    let [host, port] = reply.as_array()? else { return None };
    let port = u16::try_from(port.as_integer()?).ok().filter(|port| *port > 0)?;
    Some(Address::Host { host: shown(host.as_str()?), port })
}
