//! Putting another config in force while clients are served: all of it or nothing.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_config::{
    Admin, AdminBind, Bind, Config, ConfigFile, LoadOptions, Loaded, Origin, Problem, Reading, is_null_device,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::names::HostNames;
use super::report::{Changes, GroupReport, Report, Trigger};
use super::topology::Watchers;
use super::unfinished::{KeepsChanging, Unfinished};
use super::watch::Writers;
use crate::audit::{AuditError, Output};
use crate::generation::store::Generation;
use crate::listener::{AcceptorOrder, Bound, bind_all};
use crate::metrics::ReloadResult;
use crate::net::held::Held;
use crate::net::socket::BindError;
use crate::process::{Process, warn_if_lowered};
use crate::run_on_thread::run_on_thread;
use crate::worker::Order;

/// Time limit for a thread to apply a configuration and close the connections it no longer admits. That takes
/// milliseconds: a thread that needs longer is stuck, and the report does not wait for it.
const ADOPTION: Duration = Duration::from_secs(5);

/// Time limit of reading. It takes milliseconds, and a pipe may take some seconds. A file that takes longer (a pipe
/// without a writer, a file system that hangs) must not block all later reloads.
const READING: Duration = Duration::from_secs(30);

/// So many entries that a group gained or lost are named in the log and the audit trail.
const NAMED_ENTRIES: usize = 10;

/// A request for a reload, with a channel for the result.
#[derive(Debug)]
pub(crate) struct Request {
    /// The trigger of the reload.
    pub trigger: Trigger,
    /// The channel for the report.
    pub answer: oneshot::Sender<Report>,
}

/// The admin endpoint, as far as it follows reloads.
pub(crate) trait FollowsReloads: std::fmt::Debug {
    /// From now on it is the token of `admin` that counts.
    fn follow(&self, admin: &Admin);
    /// These are the files of the configuration in force.
    fn read_from(&self, files: &[ConfigFile]);
    /// A reload has ended.
    fn reloaded(&self, report: &Report);
}

/// The reloader: it knows all parts that a configuration changes.
#[derive(Debug)]
pub(crate) struct Reloader {
    process: Arc<Process>,
    origin: Origin,
    room: u64,
    /// Files of the configuration in force.
    in_force: Vec<ConfigFile>,
    /// Files of the last read, valid or not.
    last: Vec<ConfigFile>,
    acceptor: mpsc::Sender<AcceptorOrder>,
    workers: Vec<mpsc::Sender<Order>>,
    watchers: Watchers,
    names: HostNames,
    admin: Option<Arc<dyn FollowsReloads>>,
    /// Current listen addresses, whatever later configurations say.
    admin_bind: Option<AdminBind>,
    writers: Writers,
    held: Held,
}

/// The parts of the process that a [`Reloader`] changes.
#[derive(Debug)]
pub(crate) struct Reach {
    /// The accept thread.
    pub acceptor: mpsc::Sender<AcceptorOrder>,
    /// The workers.
    pub workers: Vec<mpsc::Sender<Order>>,
    /// The watchers of the upstreams.
    pub watchers: Watchers,
    /// The host names of groups.
    pub names: HostNames,
    /// The admin endpoint, if there is one.
    pub admin: Option<Arc<dyn FollowsReloads>>,
}

impl Reloader {
    /// Makes a reloader for a process that has open files for `room` clients and started with a config read from
    /// `sources`.
    pub(crate) fn new(process: Arc<Process>, room: u64, sources: Vec<ConfigFile>, reach: Reach) -> Self {
        let first = process.store.current();
        let origin = first.config().origin().clone();
        let admin_bind = first.config().admin().map(|admin| admin.bind().clone());
        let Reach { acceptor, workers, watchers, names, admin } = reach;
        if let Some(admin) = &admin {
            admin.read_from(&sources);
        }
        let (in_force, last) = (sources.clone(), sources);
        let writers = Writers::default();
        let mut held = Held::new(first.config().path());
        held.follow(&addresses(first.config(), admin_bind.as_ref()));
        Self {
            process,
            origin,
            room,
            in_force,
            last,
            acceptor,
            workers,
            watchers,
            names,
            admin,
            admin_bind,
            writers,
            held,
        }
    }

    /// From now on files are compared with what is known of their writers.
    pub(crate) fn observe(&mut self, writers: Writers) {
        self.writers = writers;
    }

    /// The files to watch.
    pub(crate) fn sources(&self) -> &[ConfigFile] {
        &self.last
    }

    /// Takes over the inodes of files that were replaced by copies with the same content.
    pub(crate) fn follow(&mut self, now: &[ConfigFile]) {
        let now: HashMap<&Path, &ConfigFile> = now.iter().map(|file| (file.path.as_path(), file)).collect();
        for file in self.in_force.iter_mut().chain(&mut self.last) {
            if let Some(now) = now.get(file.path.as_path()).filter(|now| !now.is_same_file(file)) {
                tracing::debug!(file = %file.path.display(), "a file was replaced by a copy");
                file.follow(now);
            }
        }
    }

    /// Looks up host names until a reload is needed to put other addresses in force. Dropped before that, nothing is
    /// lost.
    pub(crate) async fn names_changed(&mut self) {
        self.names.changed(&self.process.metrics).await;
    }

    /// Reads the config again and puts it in force, if it is good and another. Tells log, metrics and audit. With
    /// [`Trigger::Names`] no file is read: the config in force gets the addresses that its host names have now.
    pub(crate) async fn reload(&mut self, trigger: Trigger) -> Report {
        let report = match trigger {
            Trigger::Names => self.adopt_names().await,
            Trigger::Watch | Trigger::Signal | Trigger::Api => {
                let report = self.try_reload(trigger).await;
                self.process.metrics.config_read(report.result(), SystemTime::now());
                report
            }
        };
        self.process.audit.event(&report);
        if let Some(admin) = &self.admin {
            admin.reloaded(&report);
        }
        report.log();
        report
    }

    async fn try_reload(&mut self, trigger: Trigger) -> Report {
        let current = self.process.store.current();
        let number = current.number();
        // A file that cannot be read twice would block without end.
        if let Some(once) = self.in_force.iter().find(|source| is_readable_once(&source.path)) {
            let failure = Failure::ReadOnce(once.path.clone());
            return Report::failed(trigger, number, &failure);
        }
        let Reading { result, sources, .. } = match self.read_whole().await {
            Ok(reading) => reading,
            Err(unread) => {
                let report = Report::failed(trigger, number, &unread);
                // Tried again when one of the files is another, not all the time.
                if let Unread::Late { seen: Some(seen) } = unread {
                    self.last = seen;
                }
                return report;
            }
        };
        self.last.clone_from(&sources);
        match result {
            Err(problems) => Report::invalid(trigger, number, problems),
            Ok(_) if sources == self.in_force => {
                // The content is the same, and the files can be others.
                self.in_force = sources;
                Report::unchanged(trigger, number)
            }
            Ok(Loaded { config, warnings }) => {
                warnings.iter().for_each(Problem::log);
                if config.limits().clients() != current.config().limits().clients() {
                    warn_if_lowered(&config, self.room);
                }
                let report = self.resolve_and_put_in_force(trigger, &current, config).await;
                if report.result() == ReloadResult::Applied {
                    if let Some(admin) = &self.admin {
                        admin.read_from(&sources);
                    }
                    self.in_force = sources;
                }
                report
            }
        }
    }

    /// Reads the configuration once no file of it seems to be incomplete. A reload is one generation, so all of it
    /// waits for each file.
    async fn read_whole(&self) -> Result<Reading, Unread> {
        let mut unfinished = Unfinished::new();
        loop {
            let options = LoadOptions::new().after(&self.in_force, &self.last, self.writers.in_place());
            let reading = read_within(READING, self.origin.clone(), self.last.clone(), options).await?;
            if reading.result.is_err() || !unfinished.wait(&reading.doubts, &self.writers).await? {
                return Ok(reading);
            }
        }
    }

    async fn adopt_names(&mut self) -> Report {
        let current = self.process.store.current();
        self.resolve_and_put_in_force(Trigger::Names, &current, current.config().clone()).await
    }

    async fn resolve_and_put_in_force(
        &mut self,
        trigger: Trigger,
        current: &Arc<Generation>,
        config: Config,
    ) -> Report {
        let (config, answers) = self.names.resolve(config).await;
        match self.put_in_force(current, config).await {
            Ok((groups, changes, cut)) => {
                self.names.follow(self.process.store.current().config(), answers);
                Report::applied(trigger, current.number() + 1, groups, changes, cut)
            }
            Err(failure) => Report::failed(trigger, current.number(), &failure),
        }
    }

    /// First what can fail, then the swap.
    async fn put_in_force(
        &mut self,
        current: &Arc<Generation>,
        config: Config,
    ) -> Result<(Vec<GroupReport>, Changes, u64), Failure> {
        let admin = self.admin_bind.as_ref();
        let changes = Changes::between(current.config(), &config, current.workers(), admin);
        let audit = Some(config.audit()).filter(|audit| !audit.has_output_of(current.config().audit()));
        let output = audit.map(|audit| Output::open(audit.path())).transpose()?;
        // Last: to make room it may have to close what cannot be had back.
        let opened = self.open_new(current.config(), &config).await?;
        if let Some(output) = output {
            self.process.audit.redirect(output, config.audit().on_overflow());
        }
        crate::log::change(config.log());
        if config.observe().keys() != current.config().observe().keys() {
            self.process.samples.forget();
        }
        let next = Arc::new(current.next(config, &self.process.metrics, self.room));
        // The proxy first: what the admin endpoint says is in force then is.
        self.tell_gate(&next, opened).await;
        self.held.follow(&addresses(next.config(), self.admin_bind.as_ref()));
        self.process.store.swap(Arc::clone(&next));
        let cut = self.tell_workers(&next).await;
        self.watchers.follow(next.config(), next.series());
        if let (Some(admin), Some(settings)) = (&self.admin, next.config().admin()) {
            admin.follow(settings);
        }
        let (old, new) = (Arc::clone(current), Arc::clone(&next));
        let groups = run_on_thread("compare", move || group_reports(&old, &new)).await.unwrap_or_default();
        Ok((groups, changes, cut))
    }

    /// Listens where the new config says and the old one did not. An address that cannot be had rejects the reload.
    async fn open_new(&self, old: &Config, new: &Config) -> Result<Vec<Bound>, BindError> {
        let known = binds(old);
        let wanted = binds(new);
        let missing: Vec<&Bind> = wanted.iter().copied().filter(|bind| !known.contains(bind)).collect();
        let is_missing = |bind: &Bind| missing.contains(&bind);
        match bind_all(new, is_missing) {
            Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => {
                // `[::]:port` and `0.0.0.0:port` stand in each other's way, and so does a socket file that gets
                // another mode: what goes must go first.
                let in_the_way = known.iter().filter(|bind| !wanted.contains(*bind));
                let in_the_way: Vec<Bind> = in_the_way
                    .filter(|other| missing.iter().any(|bind| share_a_port(other, bind)))
                    .map(|bind| (*bind).clone())
                    .collect();
                if in_the_way.is_empty() {
                    return Err(error);
                }
                self.release(in_the_way.clone()).await;
                let bound = bind_all(new, is_missing);
                if bound.is_err() {
                    self.reopen(&in_the_way, old).await;
                }
                bound
            }
            bound => bound,
        }
    }

    async fn release(&self, binds: Vec<Bind>) {
        let (done, told) = oneshot::channel();
        if self.acceptor.send(AcceptorOrder::Release { binds, done }).await.is_ok() {
            let _ = timeout(ADOPTION, told).await;
        }
    }

    /// The reload failed after all: what was released is listened on again.
    async fn reopen(&self, binds: &[Bind], config: &Config) {
        let current = self.process.store.current();
        match bind_all(config, |bind| binds.contains(bind)) {
            Ok(opened) => self.tell_gate(&current, opened).await,
            Err(BindError { bind, source, .. }) => {
                tracing::error!(%bind, error = %source, "cannot listen again on an address that the reload released")
            }
        }
    }

    async fn tell_gate(&self, generation: &Arc<Generation>, opened: Vec<Bound>) {
        let (done, told) = oneshot::channel();
        let order = AcceptorOrder::Adopt { generation: Arc::clone(generation), opened, done };
        if self.acceptor.send(order).await.is_err() || timeout(ADOPTION, told).await.is_err() {
            tracing::error!("the accept thread does not apply the configuration");
        }
    }

    /// Number of connections that were closed.
    async fn tell_workers(&self, generation: &Arc<Generation>) -> u64 {
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, told) = oneshot::channel();
            if worker.send(Order::Adopt(Arc::clone(generation), done)).await.is_ok() {
                answers.push(told);
            }
        }
        let mut cut = 0;
        for told in answers {
            match timeout(ADOPTION, told).await {
                Ok(Ok(n)) => cut += n,
                Ok(Err(_)) | Err(_) => tracing::error!("a worker does not apply the configuration"),
            }
        }
        cut
    }
}

/// The reason why a configuration without problems is not in force.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{} is a pipe or a terminal, which can be read only once: restart to reload it", .0.display())]
    ReadOnce(PathBuf),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// The reason why there is no configuration to apply.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("cannot start a thread to read the configuration")]
    NoThread,
    #[error(
        "cannot read the configuration within {READING:?}: one of its files is a pipe without a writer, or on a file \
         system that does not respond"
    )]
    Late {
        /// The files as they were before, where that could be seen.
        seen: Option<Vec<ConfigFile>>,
    },
    #[error(transparent)]
    KeepsChanging(#[from] KeepsChanging),
}

/// Reads the configuration, whose files were `known` so far. A late read goes on in its thread, and its result is
/// dropped.
async fn read_within(
    limit: Duration,
    origin: Origin,
    known: Vec<ConfigFile>,
    options: LoadOptions,
) -> Result<Reading, Unread> {
    let (tell, mut told) = oneshot::channel();
    let reading = run_on_thread("reload", move || {
        // The caller may have given up.
        let _ = tell.send(known.iter().map(ConfigFile::now).collect());
        origin.read(&options)
    });
    match timeout(limit, reading).await {
        Ok(reading) => reading.ok_or(Unread::NoThread),
        Err(_) => Err(Unread::Late { seen: told.try_recv().ok() }),
    }
}

/// /dev/null is the one device that serves as a list: an empty one.
fn is_readable_once(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| !file.is_file() && !file.is_dir() && !is_null_device(&file))
}

fn group_reports(old: &Generation, new: &Generation) -> Vec<GroupReport> {
    new.policy().changes_since(old.policy(), NAMED_ENTRIES).into_iter().map(GroupReport::of).collect()
}

/// All addresses that the process listens on.
fn addresses(config: &Config, admin: Option<&AdminBind>) -> Vec<Bind> {
    binds(config).into_iter().cloned().chain(admin.map(Bind::from)).collect()
}

fn binds(config: &Config) -> HashSet<&Bind> {
    config.listeners().iter().flat_map(|listener| listener.binds()).collect()
}

fn share_a_port(one: &Bind, other: &Bind) -> bool {
    match (one, other) {
        (Bind::Tcp { addr: one, .. }, Bind::Tcp { addr: other, .. }) => one.port() == other.port(),
        // Its mode or group has changed.
        (Bind::Unix(one), Bind::Unix(other)) => one.path() == other.path(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
