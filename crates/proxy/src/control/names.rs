//! Host names of groups: they are looked up on threads of their own, and their answers become entries by a reload.
//!
//! A name server may be slow, silent or hostile. A lookup that hangs holds up one thread and its own name, and neither
//! reloads, other names, clients nor the end of the process.

mod table;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portcullis_acl::ClientAddr;
use portcullis_config::{Admitted, Config, Host, HostName};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

pub(crate) use self::table::{NameError, NameState, NameTable};

use self::table::{LATE, News};
use crate::metrics::{Metrics, NameCounts};
use crate::net::lookup;
use crate::run_on_thread::run_on_thread;

/// Lookups at the same time, each of which has a thread of some ten KiB. Names that hang hold theirs for half a minute
/// with the usual settings of the system; the others of some hundred names still get one.
const LOOKUPS: usize = 32;

/// Time that the start waits for first answers, so that the clients of a working name are admitted from the first
/// connection on. A name server that is silent must not keep out all others.
const FIRST_ANSWERS: Duration = Duration::from_secs(3);

/// Answers that change within this time are put in force together: each time the whole policy is built.
const APART: Duration = Duration::from_secs(1);

/// The addresses of each host entry of a configuration, in its order.
type Answers = Vec<Vec<IpAddr>>;

/// The host names of the configuration in force.
#[derive(Debug, Default)]
pub(crate) struct HostNames {
    table: Arc<NameTable>,
    hosts: Vec<Host>,
    /// The addresses that are in force.
    applied: Answers,
    applied_at: Option<Instant>,
    /// Whether an answer may be another than the applied one.
    changed: bool,
    lookups: JoinSet<(HostName, Result<Vec<IpAddr>, NameError>)>,
    /// The dropped addresses of each name that the log has told.
    told: HashMap<HostName, Vec<IpAddr>>,
}

impl HostNames {
    /// Starts with the first configuration, and returns it with the answers that arrive in time.
    pub(crate) async fn first(config: Config) -> (Self, Config) {
        let mut names = Self::default();
        if config.hosts().is_empty() {
            return (names, config);
        }
        names.hosts = config.hosts().to_vec();
        names.table.follow(&names.hosts, Instant::now());
        let answered = async {
            while names.table.is_waiting() {
                names.step(None).await;
            }
        };
        if timeout(FIRST_ANSWERS, answered).await.is_err() {
            tracing::warn!(
                "some host names have no answer yet: their entries admit no client until they resolve"
            );
        }
        let (config, answers) = names.resolve(config).await;
        names.follow(&config, answers);
        (names, config)
    }

    /// The state of the names, for the admin endpoint.
    pub(crate) fn table(&self) -> Arc<NameTable> {
        Arc::clone(&self.table)
    }

    /// Returns the configuration with the answers that count now, and these answers. A name that is new has none.
    pub(crate) async fn resolve(&self, config: Config) -> (Config, Answers) {
        if config.hosts().is_empty() {
            return (config, Answers::new());
        }
        let now = Instant::now();
        let answers = self.answers(config.hosts(), now);
        let (table, written) = (Arc::clone(&self.table), config.clone());
        // Building the policy of a long list takes a while.
        let resolved = run_on_thread("names", move || written.resolved(|host| table.answer(host, now))).await;
        match resolved {
            Some(resolved) => (resolved, answers),
            // As it was read: host entries are empty.
            None => (config.resolved(|_| Vec::new()), Answers::new()),
        }
    }

    /// The configuration with these answers is in force.
    pub(crate) fn follow(&mut self, config: &Config, answers: Answers) {
        let before: HashMap<(HostName, bool), Vec<IpAddr>> =
            self.hosts.iter().map(identity).zip(std::mem::take(&mut self.applied)).collect();
        self.hosts = config.hosts().to_vec();
        let mut named = BTreeSet::new();
        for (host, addresses) in self.hosts.iter().zip(&answers) {
            let old = before.get(&identity(host)).map(Vec::as_slice).unwrap_or_default();
            if old == addresses.as_slice() || !named.insert(host.name()) {
                continue;
            }
            match addresses.as_slice() {
                [] => tracing::warn!("{} has no address any more (was {})", host.name(), list(old)),
                some => tracing::info!("{} is now {} (was {})", host.name(), list(some), list(old)),
            }
        }
        self.table.follow(&self.hosts, Instant::now());
        self.told.retain(|name, _| self.hosts.iter().any(|host| host.name() == name));
        self.applied = answers;
        // Answers may have come since.
        (self.applied_at, self.changed) = (Some(Instant::now()), true);
    }

    /// Looks names up whenever they are due, until an answer is another than the one in force. Dropped before that,
    /// nothing is lost.
    pub(crate) async fn changed(&mut self, metrics: &Metrics) {
        loop {
            let now = Instant::now();
            metrics.set_names(self.counts(now));
            self.changed = self.changed && self.answers(&self.hosts, now) != self.applied;
            let from = self.applied_at.map(|at| at + APART).filter(|_| self.changed);
            if self.changed && from.is_none_or(|from| from <= now) {
                return;
            }
            self.step(from).await;
        }
    }

    /// Starts what is due, and waits for a result, a deadline or `wake`.
    async fn step(&mut self, wake: Option<Instant>) {
        let now = Instant::now();
        while self.lookups.len() < LOOKUPS
            && let Some(name) = self.table.start(now)
        {
            self.lookups.spawn(async move {
                let result = look_up(&name).await;
                (name, result)
            });
        }
        let wake = self.table.next(&self.hosts, now).into_iter().chain(wake).min();
        tokio::select! {
            Some(Ok((name, result))) = self.lookups.join_next() => self.take(&name, result),
            () = sleep_until(wake.unwrap_or(now).into()), if wake.is_some() => {
                for (name, error) in self.table.tick(Instant::now()) {
                    self.log_failure(&name, &error);
                }
                // One that counted may be too old now.
                self.changed = true;
            }
            else => std::future::pending().await,
        }
    }

    fn take(&mut self, name: &HostName, result: Result<Vec<IpAddr>, NameError>) {
        let (changed, news) = self.table.finish(name, result, (Instant::now(), SystemTime::now()));
        self.changed |= changed;
        match news {
            Some(News::Fails(error)) => self.log_failure(name, &error),
            Some(News::Answers) => tracing::info!("{name} resolves again"),
            None => {}
        }
        if changed {
            self.log_dropped(name);
        }
    }

    fn log_failure(&self, name: &HostName, error: &NameError) {
        let now = Instant::now();
        let left = self.of_name(name).filter_map(|host| self.table.left(host, now)).min();
        match left {
            Some(left) => {
                let left = Duration::from_secs(left.as_secs());
                tracing::warn!(?left, "cannot resolve {name}: {error}; its last addresses still count");
            }
            None => {
                tracing::warn!("cannot resolve {name}: {error}; its entry admits no client until it resolves")
            }
        }
    }

    /// Says which addresses are dropped, each set once.
    fn log_dropped(&mut self, name: &HostName) {
        let now = Instant::now();
        let admitted: Vec<Admitted> =
            self.of_name(name).map(|host| self.table.facts(host, now).admitted).collect();
        let Some(admitted) = admitted.into_iter().max_by_key(|admitted| admitted.dropped.len()) else {
            return;
        };
        let dropped: Vec<IpAddr> = admitted.dropped.iter().map(|(ip, _)| *ip).collect();
        if self.told.get(name).map(Vec::as_slice).unwrap_or_default() == dropped {
            return;
        }
        if let Some(text) = admitted.dropped_text() {
            tracing::warn!("addresses of {name} are not admitted: {text}");
        }
        self.told.insert(name.clone(), dropped);
    }

    fn of_name<'s>(&'s self, name: &'s HostName) -> impl Iterator<Item = &'s Host> {
        self.hosts.iter().filter(move |host| host.name() == name)
    }

    fn answers(&self, hosts: &[Host], now: Instant) -> Answers {
        hosts.iter().map(|host| host.admits(&self.table.answer(host, now)).addresses).collect()
    }

    fn counts(&self, now: Instant) -> NameCounts {
        let (succeeded, failed) = self.table.lookups();
        let mut counts = NameCounts { succeeded, failed, ..NameCounts::default() };
        for host in &self.hosts {
            match self.table.facts(host, now).state {
                NameState::Current => counts.current += 1,
                NameState::Stale => counts.stale += 1,
                NameState::Empty => counts.empty += 1,
            }
        }
        counts
    }
}

async fn look_up(name: &HostName) -> Result<Vec<IpAddr>, NameError> {
    // A port is part of the question and of each answer, and has no meaning here.
    let found = lookup::look_up(name.as_str(), 0).await?;
    Ok(found.into_iter().filter_map(|addr| ClientAddr::from_socket(addr).ip()).collect())
}

/// The answers of all names of a configuration, for commands that judge a file. Each name is looked up once, and waited
/// for as long as the proxy waits.
pub(crate) async fn look_up_all(hosts: &[Host]) -> HashMap<HostName, Result<Vec<IpAddr>, NameError>> {
    let mut names: BTreeSet<HostName> = hosts.iter().map(|host| host.name().clone()).collect();
    let (mut lookups, mut answers) = (JoinSet::new(), HashMap::new());
    loop {
        while lookups.len() < LOOKUPS
            && let Some(name) = names.pop_first()
        {
            lookups.spawn(async move {
                let result = timeout(LATE, look_up(&name)).await;
                (name, result.unwrap_or(Err(NameError::Late)))
            });
        }
        match lookups.join_next().await {
            Some(Ok((name, result))) => answers.insert(name, result),
            Some(Err(_)) => None,
            None => return answers,
        };
    }
}

fn identity(host: &Host) -> (HostName, bool) {
    (host.name().clone(), host.admits_private())
}

fn list(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "no address".to_owned(),
        some => some.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
    }
}
