//! `portcullis check`: every problem of a configuration, or a summary of what it does.

pub(super) mod hosts;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_config::{
    Acl, Address, AdminBind, AuditPath, Auth, Bind, Config, Connections, Listener, LoadOptions, Loaded,
    Problem, ReadFrom, ScriptLogin, Severity, Upstream, User, load,
};
use serde_json::{Value, json};

use super::resolve::Answers;
use super::{BAD_CONFIG, config_path, say};
use crate::app::host;

/// Validate the configuration as 'run' does, and report every problem or a summary.
#[derive(clap::Args, Clone, Debug)]
pub struct CheckArgs {
    /// The configuration file [default: PORTCULLIS_CONFIG, ./portcullis.yaml, /etc/portcullis/portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do not read secret files and variables; only check how they are written
    #[arg(long)]
    no_secrets: bool,
    /// Look up the host names of groups, and print their addresses
    #[arg(long)]
    resolve: bool,
    /// Do not try addresses, ports, directories and groups of this host, and do not look at file modes
    #[arg(long)]
    no_host: bool,
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Problems go to standard error, the result to standard output. Exit 0, or 78 when `run` would refuse it.
pub fn run(args: &CheckArgs) -> ExitCode {
    let path = match config_path(args.config.as_deref()) {
        Ok(path) => path,
        Err(error) => {
            say(format_args!("{error}"));
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let (config, mut problems) = judge(&path, args);
    let answers = config.as_ref().filter(|_| args.resolve).and_then(Answers::of);
    let config = match (config, &answers) {
        (Some(config), Some(answers)) => {
            problems.extend(answers.warnings(&config));
            Some(answers.apply(&config))
        }
        (config, _) => config,
    };
    let has = |severity| problems.iter().any(|problem| problem.severity() == severity);
    let bad = has(Severity::Error) || (args.strict && has(Severity::Warning));
    let good = !bad;
    let output = match (&config, args.json) {
        (_, true) => format!("{:#}\n", as_json(good, config.as_ref(), answers.as_ref(), &problems)),
        (Some(config), false) if !has(Severity::Error) => summary(config, answers.as_ref(), &problems),
        (_, false) => String::new(),
    };
    // A reader that closes the pipe has read enough; the exit code still tells the result.
    if !args.json {
        let _ = report(&mut io::stderr().lock(), &problems);
    }
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(output.as_bytes()).and_then(|()| stdout.flush());
    if good { ExitCode::SUCCESS } else { ExitCode::from(BAD_CONFIG) }
}

/// Reads the configuration as `run` does, and tries what a start needs of this host.
fn judge(path: &Path, args: &CheckArgs) -> (Option<Config>, Vec<Problem>) {
    let options = LoadOptions::new();
    let options = if args.no_secrets { options.without_secrets() } else { options };
    let options = if args.no_host { options.without_host() } else { options };
    match load(path, &options) {
        Ok(Loaded { config, warnings: mut problems }) => {
            if !args.no_host {
                problems.extend(host::faults(&config));
            }
            (Some(config), problems)
        }
        Err(problems) => (None, problems),
    }
}

/// Writes the problems, and the number of each kind.
pub fn report(out: &mut impl Write, problems: &[Problem]) -> io::Result<()> {
    for problem in problems {
        writeln!(out, "{problem}")?;
    }
    match tally(problems).as_str() {
        "" => Ok(()),
        tally => writeln!(out, "{tally}"),
    }
}

fn tally(problems: &[Problem]) -> String {
    let kinds = [(Severity::Error, "error"), (Severity::Warning, "warning")];
    let counts = kinds.iter().filter_map(|(severity, word)| {
        match problems.iter().filter(|problem| problem.severity() == *severity).count() {
            0 => None,
            1 => Some(format!("1 {word}")),
            count => Some(format!("{count} {word}s")),
        }
    });
    counts.collect::<Vec<_>>().join(", ")
}

fn summary(config: &Config, answers: Option<&Answers>, problems: &[Problem]) -> String {
    let found = match tally(problems) {
        tally if tally.is_empty() => String::new(),
        tally => format!(", {tally}"),
    };
    let mut lines = vec![format!("{} is valid{found}", config.path().display()), "listeners".to_owned()];
    for listener in config.listeners() {
        lines.push(format!("  {}", describe_listener(config, listener, answers.is_some())));
    }
    lines.push("upstreams".to_owned());
    for upstream in config.upstreams() {
        lines.push(format!("  {}", describe_upstream(upstream, must_log_in(config, upstream))));
    }
    if !config.users().is_empty() {
        lines.push("users".to_owned());
        lines.extend(config.users().iter().map(|user| format!("  {}", describe_user(config, user))));
    }
    let scripts = config.script_logins();
    if !scripts.is_empty() {
        lines.push("Redis users for scripts".to_owned());
        lines.extend(scripts.iter().map(|login| format!("  {}", describe_script_login(login))));
    }
    lines.push("groups".to_owned());
    for group in config.policy().groups() {
        let hosts = hosts::count(config, group.name());
        lines.push(format!("  {}: {}{hosts}", group.name(), entries(group.entry_count())));
    }
    lines.extend(hosts::lines(config, answers));
    lines.push(format!("admin {}", admin(config)));
    lines.push(format!("audit to {}", audit(config)));
    lines.push(format!("workers {}", config.workers()));
    lines.join("\n") + "\n"
}

fn describe_listener(config: &Config, listener: &Listener, resolved: bool) -> String {
    let binds: Vec<String> = listener.binds().iter().map(describe_bind).collect();
    let upstream = listener.upstream().name();
    format!(
        "{}: {} -> {upstream}, auth {}{}, {} allowed{}{}",
        listener.name(),
        binds.join(", "),
        auth(listener),
        match listener.users() {
            [] => String::new(),
            users => format!(" ({})", users.join(", ")),
        },
        hosts::allowed(config, listener.index(), resolved)
            .unwrap_or_else(|| { entries(config.policy().allowed_entries(listener.index())) }),
        extras(config, listener),
        rules(listener.acl()),
    )
}

fn extras(config: &Config, listener: &Listener) -> String {
    let all = [
        (listener.tls().is_some(), ", TLS"),
        (listener.proxy_protocol().is_some(), ", PROXY protocol"),
        (config.policy().has_shadow(listener.index()), ", shadow lists"),
    ];
    all.iter().filter(|(there, _)| *there).map(|(_, word)| *word).collect()
}

fn describe_user(config: &Config, user: &User) -> String {
    let passwords = match user.secrets().len() {
        1 => "1 password".to_owned(),
        count => format!("{count} passwords"),
    };
    let from = if user.from().is_some() { ", from its own list" } else { "" };
    let own: Vec<&str> = own_logins(config, user).collect();
    let own = if own.is_empty() { String::new() } else { format!(", its own login at {}", own.join(", ")) };
    format!("{}: {passwords}{from}{own}{}", user.name(), rules(user.acl()))
}

/// The upstreams at which the proxy logs in with credentials of this user.
fn own_logins<'c>(config: &'c Config, user: &'c User) -> impl Iterator<Item = &'c str> {
    let names = config.upstreams().iter().map(|upstream| upstream.name());
    names.filter(|name| user.upstream_credentials(name).is_some())
}

/// Describes a login of scripts. The command for Redis comes last, so that it is easy to copy.
fn describe_script_login(login: &ScriptLogin<'_>) -> String {
    let user = login.user.map(|user| format!(", user {user}")).unwrap_or_default();
    let left_out = match login.redis.left_out() {
        [] => String::new(),
        patterns => format!(", without {}, which would open channels of Redis itself", patterns.join(" ")),
    };
    format!("{} of {}{user}{left_out}: {}", login.upstream, login.listener, login.redis.line())
}

fn rules(acl: Option<&Acl>) -> String {
    acl.map(|acl| format!(", acl \"{}\"", acl.text().join(" ").escape_debug())).unwrap_or_default()
}

fn describe_bind(bind: &Bind) -> String {
    match bind {
        Bind::Tcp { addr, v6only } if addr.is_ipv6() && is_unspecified(addr) => {
            format!("{addr} ({})", if *v6only { "IPv6 only" } else { "IPv6 and IPv4" })
        }
        bind => bind.to_string(),
    }
}

fn is_unspecified(addr: &std::net::SocketAddr) -> bool {
    matches!(addr, std::net::SocketAddr::V6(v6) if v6.ip().is_unspecified())
}

/// Whether a listener with `auth: trust` uses the upstream: where Redis asks for a password, only the proxy can log in.
fn must_log_in(config: &Config, upstream: &Upstream) -> bool {
    let mut listeners = config.listeners().iter();
    listeners.any(|listener| listener.upstream().name() == upstream.name() && listener.auth() == Auth::Trust)
}

fn describe_upstream(upstream: &Upstream, must_log_in: bool) -> String {
    let place = match (upstream.sentinel(), upstream.cluster()) {
        (Some(sentinel), _) => {
            format!("master {} of the sentinels {}", sentinel.master(), list(sentinel.nodes()))
        }
        (None, Some(cluster)) => format!("cluster of the nodes {}", list(cluster.nodes())),
        (None, None) => list(upstream.addresses()),
    };
    let login = match upstream.credentials().map(|credentials| credentials.username()) {
        None if must_log_in => ", without a password",
        None => "",
        Some(None) => ", with a password",
        Some(Some(_)) => ", with user and password",
    };
    let tls = if upstream.tls().is_some() { ", TLS" } else { "" };
    let shared = if upstream.connections() == Connections::Shared { ", shared connections" } else { "" };
    let (reads, rights) = match upstream.cluster().map(|cluster| cluster.read_from()) {
        None => ("", ""),
        Some(ReadFrom::Masters) => ("", CLUSTER_RIGHTS),
        Some(ReadFrom::Replicas) => (", reads from replicas", REPLICA_RIGHTS),
    };
    format!("{}: {place}{login}{tls}{shared}{reads}{rights}", upstream.name())
}

/// The rights that the user of the proxy needs at the nodes of a cluster, besides those of the clients.
const CLUSTER_RIGHTS: &str = "; its user needs +ping +cluster|slots +cluster|nodes +cluster|info +asking";

/// The same, where replicas execute commands that only read.
const REPLICA_RIGHTS: &str =
    "; its user needs +ping +cluster|slots +cluster|nodes +cluster|info +asking +readonly";

fn list(addresses: &[Address]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn json_upstream(upstream: &Upstream) -> Value {
    let texts = |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    let sentinel = upstream.sentinel().map(|sentinel| {
        json!({
            "master": sentinel.master(),
            "nodes": texts(sentinel.nodes()),
            "credentials": sentinel.credentials().is_some(),
            "tls": sentinel.tls().is_some(),
        })
    });
    json!({
        "name": upstream.name(),
        "addresses": texts(upstream.addresses()),
        "sentinel": sentinel,
        "cluster": upstream.cluster().map(|cluster| {
            json!({ "nodes": texts(cluster.nodes()), "read_from": cluster.read_from().as_str() })
        }),
        "credentials": upstream.credentials().is_some(),
        "tls": upstream.tls().is_some(),
        "connections": upstream.connections().as_str(),
    })
}

fn auth(listener: &Listener) -> &'static str {
    listener.auth().as_str()
}

fn entries(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

fn admin(config: &Config) -> String {
    match config.admin() {
        None => "off".to_owned(),
        Some(admin) => {
            let token = if admin.token().is_some() { ", with a token" } else { "" };
            let bind = match admin.bind() {
                AdminBind::Tcp(addr) => format!("http://{addr}"),
                unix @ AdminBind::Unix(_) => unix.to_string(),
            };
            format!("{bind}{token}")
        }
    }
}

fn audit(config: &Config) -> String {
    match config.audit().path() {
        AuditPath::Unset => "stdout, unless it is a terminal".to_owned(),
        path => path.to_string(),
    }
}

fn as_json(good: bool, config: Option<&Config>, answers: Option<&Answers>, problems: &[Problem]) -> Value {
    let mut result = json!({"ok": good, "problems": problems});
    if let (Some(config), Value::Object(result)) = (config, &mut result) {
        let listeners = config.listeners().iter().map(|listener| json_listener(config, listener));
        let upstreams = config.upstreams().iter().map(|upstream| json_upstream(upstream));
        let users = config.users().iter().map(|user| {
            json!({
                "name": user.name(),
                "passwords": user.secrets().len(),
                "narrowed": user.from().is_some(),
                "own_logins": own_logins(config, user).collect::<Vec<_>>(),
                "acl": user.acl().map(Acl::text),
            })
        });
        let groups = config
            .policy()
            .groups()
            .map(|group| json!({"name": group.name(), "entries": group.entry_count()}));
        result.insert("listeners".to_owned(), listeners.collect());
        result.insert("upstreams".to_owned(), upstreams.collect());
        result.insert("users".to_owned(), users.collect());
        let scripts = config.script_logins();
        let scripts = scripts.iter().map(|login| {
            json!({
                "listener": login.listener,
                "user": login.user,
                "upstream": login.upstream,
                "acl_setuser": login.redis.line(),
                "left_out": login.redis.left_out(),
            })
        });
        result.insert("redis_users".to_owned(), scripts.collect());
        result.insert("groups".to_owned(), groups.collect());
        result.insert("hosts".to_owned(), hosts::json(config, answers));
        result.insert("admin".to_owned(), config.admin().map(|admin| admin.bind().to_string()).into());
        result.insert("audit".to_owned(), audit(config).into());
        result.insert("workers".to_owned(), config.workers().into());
    }
    result
}

fn json_listener(config: &Config, listener: &Listener) -> Value {
    let binds: Vec<Value> = listener
        .binds()
        .iter()
        .map(|bind| match bind {
            Bind::Tcp { addr, v6only } if addr.is_ipv6() => {
                json!({"address": addr.to_string(), "ipv6_only": v6only})
            }
            bind => json!({"address": bind.to_string()}),
        })
        .collect();
    json!({
        "name": listener.name(),
        "binds": binds,
        "upstream": listener.upstream().name(),
        "auth": auth(listener),
        "users": listener.users(),
        "acl": listener.acl().map(Acl::text),
        "allowed_entries": config.policy().allowed_entries(listener.index()),
        "allowed_hosts": config.allowed_hosts(listener.index()).count(),
        "tls": listener.tls().is_some(),
        "proxy_protocol": listener.proxy_protocol().is_some(),
        "shadow": config.policy().has_shadow(listener.index()),
    })
}

#[cfg(test)]
mod tests;
