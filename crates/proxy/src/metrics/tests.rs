use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::thread;

use portcullis_resp::command::{CommandId, lookup, lookup_subcommand};

use super::error_prefix::PREFIXES;
use super::labels::RedirectKind;
use super::*;

/// The metric families of this page, all of which are part of the contract.
const FAMILIES: [&str; 50] = [
    "portcullis_build_info",
    "portcullis_auth_failures_total",
    "portcullis_buffers_bytes",
    "portcullis_bytes_total",
    "portcullis_clients",
    "portcullis_command_duration_seconds",
    "portcullis_commands_denied_total",
    "portcullis_commands_total",
    "portcullis_config_last_reload_successful",
    "portcullis_config_last_reload_timestamp_seconds",
    "portcullis_config_reloads_total",
    "portcullis_connections_accepted_total",
    "portcullis_connections_closed_total",
    "portcullis_connections_refused_total",
    "portcullis_error_replies_total",
    "portcullis_group_entries",
    "portcullis_group_hits_total",
    "portcullis_group_next_expiry_timestamp_seconds",
    "portcullis_host_entries",
    "portcullis_host_lookups_total",
    "portcullis_limit_buffers_bytes",
    "portcullis_limit_clients",
    "portcullis_log_lines_dropped_total",
    "portcullis_sessions_carried_total",
    "portcullis_sessions_dropped_total",
    "portcullis_shadow_denied_total",
    "portcullis_sources_blocked",
    "portcullis_tls_certificate_not_after_timestamp_seconds",
    "portcullis_upstream_command_duration_seconds",
    "portcullis_upstream_connections",
    "portcullis_upstream_errors_total",
    "portcullis_upstream_failovers_total",
    "portcullis_upstream_nodes",
    "portcullis_upstream_paused_seconds_total",
    "portcullis_upstream_pushes_dropped_total",
    "portcullis_upstream_redirects_total",
    "portcullis_upstream_replica_reads_total",
    "portcullis_upstream_replica_reads_repeated_total",
    "portcullis_upstream_uncovered_slots",
    "portcullis_upstream_up",
    "portcullis_upstream_view_age_seconds",
    "portcullis_upstream_views_total",
    "portcullis_user_clients",
    "portcullis_user_commands_total",
    "portcullis_worker_sessions",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
];

fn names() -> Names {
    Names {
        listeners: vec!["public".into(), "local".into()],
        upstreams: vec!["main".into()],
        upstream_of: vec![0, 0],
        groups: vec!["office".into(), "staging".into()],
    }
}

/// Returns the metrics and the series of a configuration, which the page shows as long as a reference exists.
fn metrics(workers: usize) -> (Arc<Metrics>, Series) {
    let metrics = Metrics::new(workers, vec![Box::new(|| 3), Box::new(|| 4)]);
    let series = metrics.series(&names());
    (metrics, series)
}

fn listener(series: &Series, index: usize, worker: usize) -> ListenerCounts {
    ListenerCounts::new(Arc::clone(&series.listeners[index]), worker)
}

fn command(name: &str) -> CommandId {
    lookup(name.as_bytes()).unwrap()
}

/// Returns metrics with every kind of event at least once, from two workers.
fn busy() -> (Arc<Metrics>, Series) {
    let (metrics, series) = metrics(2);
    let (get, client) = (command("get"), command("client"));
    let reply = lookup_subcommand(client, b"reply").unwrap();
    for worker in 0..2 {
        let (public, local) = (listener(&series, 0, worker), listener(&series, 1, worker));
        let upstream = UpstreamCounts::new(Arc::clone(&series.upstreams[0]), worker);
        public.opened();
        local.opened();
        local.closed(ClosedReason::Idle);
        public.commands(get, 10);
        public.commands(client, 1);
        public.commands(reply, 2);
        public.commands(CommandId::UNKNOWN, 5);
        public.duration(get, 9, 60_000);
        public.duration(get, 1, 2_000_000_000);
        public.denied(client, DeniedReason::Command, 1);
        public.denied(reply, DeniedReason::Command, 2);
        public.denied(reply, DeniedReason::Size, 1);
        public.denied(CommandId::UNKNOWN, DeniedReason::Command, 1);
        public.bytes(Direction::FromClient, 1000);
        public.error_reply(b"-WRONGTYPE Operation against a key\r\n");
        public.error_reply(b"-\"}{\n forged\r\n");
        upstream.connection(UpstreamState::Used, 2);
        upstream.connection(UpstreamState::Used, -1);
        upstream.error(UpstreamErrorKind::Refused);
        upstream.redirected(RedirectKind::Moved);
        upstream.replica_reads(10, 1);
        let stats = metrics.worker(worker);
        stats.clients(1);
        stats.buffers(65_536);
        stats.buffers(-16_384);
    }
    series.listeners[0].accepted();
    series.listeners[0].refused(RefusedReason::NotAllowed);
    series.listeners[0].shadow_denied();
    series.groups[1].hit();
    series.upstreams[0].probed(Some(UpstreamErrorKind::Refused), true);
    series.upstreams[0].probed(None, true);
    let views = series.upstreams[0].views();
    views.judged(ReloadResult::Applied);
    views.failed_over();
    views.set_cluster(Some(ClusterGauges { masters: 3, replicas: 2, uncovered: 5 }));
    views.paused(Duration::from_millis(1250));
    series.groups[0].set(4, Some(1_790_000_000));
    series.groups[1].set(1, None);
    metrics.config_read(ReloadResult::Applied, UNIX_EPOCH + Duration::from_millis(1_780_000_000_250));
    (metrics, series)
}

/// One page, read strictly: each family appears once, with its HELP, then its TYPE, then all its samples.
struct Parsed {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Parsed {
    fn of(page: &str) -> Self {
        assert!(page.ends_with('\n'));
        let mut parsed = Self { families: BTreeMap::new(), samples: BTreeMap::new() };
        let (mut help, mut family, mut kind) = (String::new(), String::new(), String::new());
        for line in page.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, text) = rest.split_once(' ').expect("a help text");
                assert!(!text.trim().is_empty(), "{line}");
                help = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, what) = rest.split_once(' ').expect("a type");
                assert_eq!(name, help, "HELP comes right before TYPE");
                assert!(["counter", "gauge", "histogram"].contains(&what), "{line}");
                (family, kind) = (name.to_owned(), what.to_owned());
                let before = parsed.families.insert(family.clone(), kind.clone());
                assert!(before.is_none(), "{name} appears twice");
            } else {
                parsed.sample(line, &family, &kind);
            }
        }
        parsed
    }

    fn sample(&mut self, line: &str, family: &str, kind: &str) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().unwrap();
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
        match kind {
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
            _ => assert_eq!(suffix, "", "{line}"),
        }
        assert_eq!(kind == "counter", family.ends_with("_total"), "{family}");
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let inner = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("braces");
            for label in inner.split(',') {
                let (label, text) = label.split_once('=').expect("label=value");
                assert!(label.bytes().all(|byte| byte.is_ascii_lowercase()), "{line}");
                assert!(text.len() > 2 && text.starts_with('"') && text.ends_with('"'), "{line}");
            }
        }
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(self.samples.insert(series.to_owned(), value).is_none(), "{series} appears twice");
    }

    fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series}"))
    }

    fn with_prefix(&self, prefix: &str) -> usize {
        self.samples.keys().filter(|series| series.starts_with(prefix)).count()
    }
}

#[test]
fn every_family_is_there_once_with_help_and_type() {
    let ((quiet, _quiet), (busy, _busy)) = (metrics(1), busy());
    for page in [quiet.render(), busy.render()] {
        let families: BTreeSet<_> = Parsed::of(&page).families.into_keys().collect();
        let expected: BTreeSet<_> = FAMILIES.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(families, expected);
    }
}

#[test]
fn closed_sets_start_at_zero_and_open_ended_ones_empty() {
    let (metrics, _series) = metrics(1);
    let page = Parsed::of(&metrics.render());
    for (series, count) in [
        ("portcullis_clients{", 2),
        ("portcullis_connections_accepted_total{", 2),
        ("portcullis_connections_refused_total{", 2 * RefusedReason::ALL.len()),
        ("portcullis_connections_closed_total{", 2 * ClosedReason::ALL.len()),
        ("portcullis_commands_denied_total", 0),
        ("portcullis_bytes_total{", 2 * Direction::ALL.len()),
        ("portcullis_upstream_errors_total{", UpstreamErrorKind::ALL.len()),
        ("portcullis_upstream_connections{", UpstreamState::ALL.len()),
        ("portcullis_upstream_up{", 1),
        ("portcullis_group_hits_total{", 2),
        ("portcullis_worker_sessions{", 1),
        ("portcullis_commands_total", 0),
        ("portcullis_command_duration_seconds", 0),
        ("portcullis_error_replies_total{", 2 * PREFIXES.len()),
        ("portcullis_limit_clients{", 2),
        ("portcullis_tls_certificate_not_after_timestamp_seconds", 0),
        ("portcullis_group_next_expiry_timestamp_seconds", 0),
    ] {
        assert_eq!(page.with_prefix(series), count, "{series}");
    }
    assert!(page.samples.iter().filter(|(name, _)| name.contains("_total{")).all(|(_, value)| *value == 0.0));
}

#[test]
fn workers_are_summed_and_subcommands_count_as_their_command() {
    let (metrics, _series) = busy();
    let page = Parsed::of(&metrics.render());
    for (series, value) in [
        ("portcullis_clients{listener=\"public\"}", 2.0),
        ("portcullis_clients{listener=\"local\"}", 0.0),
        ("portcullis_connections_closed_total{listener=\"local\",reason=\"idle\"}", 2.0),
        ("portcullis_commands_total{listener=\"public\",command=\"get\"}", 20.0),
        ("portcullis_commands_total{listener=\"public\",command=\"client\"}", 6.0),
        ("portcullis_commands_total{listener=\"public\",command=\"other\"}", 10.0),
        ("portcullis_commands_denied_total{listener=\"public\",reason=\"command\",command=\"client\"}", 6.0),
        ("portcullis_commands_denied_total{listener=\"public\",reason=\"size\",command=\"client\"}", 2.0),
        ("portcullis_commands_denied_total{listener=\"public\",reason=\"command\",command=\"other\"}", 2.0),
        ("portcullis_bytes_total{listener=\"public\",direction=\"from_client\"}", 2000.0),
        ("portcullis_error_replies_total{listener=\"public\",error=\"WRONGTYPE\"}", 2.0),
        ("portcullis_error_replies_total{listener=\"public\",error=\"other\"}", 2.0),
        ("portcullis_upstream_connections{upstream=\"main\",state=\"used\"}", 2.0),
        ("portcullis_upstream_errors_total{upstream=\"main\",kind=\"refused\"}", 3.0),
        ("portcullis_upstream_up{upstream=\"main\"}", 1.0),
        ("portcullis_upstream_failovers_total{upstream=\"main\"}", 1.0),
        ("portcullis_upstream_views_total{upstream=\"main\",result=\"applied\"}", 1.0),
        ("portcullis_upstream_paused_seconds_total{upstream=\"main\"}", 1.25),
        ("portcullis_upstream_nodes{upstream=\"main\",role=\"master\"}", 3.0),
        ("portcullis_upstream_nodes{upstream=\"main\",role=\"replica\"}", 2.0),
        ("portcullis_upstream_uncovered_slots{upstream=\"main\"}", 5.0),
        ("portcullis_upstream_redirects_total{upstream=\"main\",kind=\"moved\"}", 2.0),
        ("portcullis_upstream_redirects_total{upstream=\"main\",kind=\"ask\"}", 0.0),
        ("portcullis_upstream_replica_reads_total{upstream=\"main\"}", 20.0),
        ("portcullis_upstream_replica_reads_repeated_total{upstream=\"main\"}", 2.0),
        ("portcullis_shadow_denied_total{listener=\"public\"}", 1.0),
        ("portcullis_config_reloads_total{result=\"applied\"}", 1.0),
        ("portcullis_config_reloads_total{result=\"rejected\"}", 0.0),
        ("portcullis_buffers_bytes", 98_304.0),
        ("portcullis_worker_sessions{worker=\"1\"}", 1.0),
        ("portcullis_connections_accepted_total{listener=\"public\"}", 1.0),
        ("portcullis_connections_refused_total{listener=\"public\",reason=\"not_allowed\"}", 1.0),
        ("portcullis_group_entries{group=\"office\"}", 4.0),
        ("portcullis_group_hits_total{group=\"staging\"}", 1.0),
        ("portcullis_group_next_expiry_timestamp_seconds{group=\"office\"}", 1_790_000_000.0),
        ("portcullis_config_last_reload_successful", 1.0),
        ("portcullis_config_last_reload_timestamp_seconds", 1_780_000_000.25),
        ("portcullis_log_lines_dropped_total", 7.0),
    ] {
        assert_eq!(page.value(series), value, "{series}");
    }
    assert_eq!(page.with_prefix("portcullis_commands_total"), 3);
}

#[test]
fn a_histogram_is_cumulative_and_agrees_with_its_count() {
    let (metrics, _series) = busy();
    let page = Parsed::of(&metrics.render());
    let labels = "listener=\"public\",command=\"get\"";
    let bucket =
        |le: &str| page.value(&format!("portcullis_command_duration_seconds_bucket{{{labels},le=\"{le}\"}}"));
    assert_eq!(page.with_prefix("portcullis_command_duration_seconds_bucket"), histogram::BUCKETS);
    assert_eq!(bucket("0.00005"), 0.0);
    assert_eq!(bucket("0.0001"), 18.0);
    assert_eq!(bucket("1"), 18.0);
    assert_eq!(bucket("+Inf"), 20.0);
    assert_eq!(page.value(&format!("portcullis_command_duration_seconds_count{{{labels}}}")), 20.0);
    let sum = page.value(&format!("portcullis_command_duration_seconds_sum{{{labels}}}"));
    assert!((sum - (18.0 * 60e-6 + 2.0 * 2.0)).abs() < 1e-9, "{sum}");
}

/// Threat 30: whatever clients send, the number of series depends only on the configuration.
#[test]
fn client_chosen_text_makes_no_series() {
    let (metrics, series) = metrics(1);
    let stats = listener(&series, 0, 0);
    let mut counts = BTreeSet::new();
    for round in 0..3 {
        for n in 0..20_000 {
            let text = format!("cmd{}", n + round * 20_000);
            stats.commands(lookup(text.as_bytes()).unwrap_or(CommandId::UNKNOWN), 1);
            stats.error_reply(format!("-CMD{n} {text}").as_bytes());
        }
        counts.insert(Parsed::of(&metrics.render()).samples.len());
    }
    assert_eq!(counts.len(), 1);
}

#[test]
fn a_worker_out_of_range_counts_nothing() {
    let (metrics, series) = metrics(1);
    let counts = listener(&series, 0, 9);
    counts.commands(CommandId::UNKNOWN, 1);
    counts.opened();
    UpstreamCounts::new(Arc::clone(&series.upstreams[0]), 9).error(UpstreamErrorKind::Auth);
    let page = Parsed::of(&metrics.render());
    assert!(page.samples.iter().filter(|(name, _)| name.contains("_total{")).all(|(_, value)| *value == 0.0));
}

#[test]
fn a_name_that_stays_goes_on_counting_and_one_that_is_gone_is_shown_while_it_is_used() {
    let (metrics, first) = busy();
    let next = metrics.series(&Names {
        listeners: vec!["new".into(), "public".into()],
        upstreams: vec!["other".into()],
        upstream_of: vec![0, 0],
        groups: vec!["staging".into()],
    });
    assert!(Arc::ptr_eq(&first.listeners[0], &next.listeners[1]));
    let value = |series: &str| Parsed::of(&metrics.render()).samples.get(series).copied();
    assert_eq!(value("portcullis_connections_accepted_total{listener=\"public\"}"), Some(1.0));
    assert_eq!(value("portcullis_connections_accepted_total{listener=\"new\"}"), Some(0.0));
    assert_eq!(value("portcullis_upstream_connections{upstream=\"main\",state=\"used\"}"), Some(2.0));
    let session = listener(&first, 1, 0);
    drop(first);
    assert_eq!(value("portcullis_clients{listener=\"local\"}"), Some(0.0), "a session is still there");
    drop(session);
    assert_eq!(value("portcullis_clients{listener=\"local\"}"), None);
    assert_eq!(value("portcullis_group_entries{group=\"office\"}"), None);
    assert_eq!(value("portcullis_group_hits_total{group=\"staging\"}"), Some(1.0));
}

#[test]
fn pages_can_be_rendered_while_workers_count() {
    let (metrics, series) = metrics(2);
    thread::scope(|scope| {
        for worker in 0..2 {
            let stats = listener(&series, 0, worker);
            scope.spawn(move || {
                for n in 0..50_000 {
                    stats.opened();
                    stats.commands(CommandId::UNKNOWN, 1);
                    stats.duration(CommandId::UNKNOWN, 1, n * 1000);
                    stats.closed(ClosedReason::Client);
                }
            });
        }
        for _ in 0..50 {
            let page = Parsed::of(&metrics.render());
            assert!(page.value("portcullis_clients{listener=\"public\"}") <= 2.0);
        }
    });
    let page = Parsed::of(&metrics.render());
    assert_eq!(page.value("portcullis_commands_total{listener=\"public\",command=\"other\"}"), 100_000.0);
    assert_eq!(page.value("portcullis_clients{listener=\"public\"}"), 0.0);
}

/// Runs Prometheus's own linter, if it is installed. The other tests check the same without it.
#[test]
fn promtool_finds_nothing_to_complain_about() {
    let (metrics, _series) = busy();
    let page = metrics.render();
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        #[expect(
            clippy::print_stderr,
            reason = "a test that checks nothing must not look like one that passed"
        )]
        {
            eprintln!("NOT CHECKED: promtool (Debian package prometheus) is not installed");
        }
        return;
    };
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn durations_stay_with_the_upstream_that_had_the_commands() {
    let (metrics, first) = metrics(1);
    let counts = listener(&first, 0, 0);
    let of = |upstream: &str| {
        let page = Parsed::of(&metrics.render());
        let of = |part: &str| {
            let name =
                format!("portcullis_upstream_command_duration_seconds_{part}{{upstream=\"{upstream}\"}}");
            page.samples.get(&name).copied()
        };
        (of("count"), of("sum"))
    };
    assert_eq!(of("main"), (Some(0.0), Some(0.0)), "it exists from the start");
    counts.duration(command("get"), 3, 1_000_000_000);
    listener(&first, 1, 0).duration(command("set"), 1, 1_000_000_000);
    assert_eq!(of("main"), (Some(4.0), Some(4.0)));
    // A reload moves `public` to another upstream, and removes `local`.
    let names = Names {
        listeners: vec!["public".into()],
        upstreams: vec!["main".into(), "other".into()],
        upstream_of: vec![1],
        ..Names::default()
    };
    let next = metrics.series(&names);
    drop(first);
    counts.duration(command("get"), 2, 1_000_000_000);
    assert_eq!((of("main"), of("other")), ((Some(4.0), Some(4.0)), (Some(2.0), Some(2.0))));
    drop((next, counts));
    assert_eq!((of("main"), of("other")), ((None, None), (None, None)), "no configuration names them");
}

#[test]
fn users_have_series_from_their_first_login_on() {
    let (metrics, series) = metrics(2);
    let of = |name: &str| {
        let name = format!("portcullis_user_{name}{{listener=\"public\",user=\"alice\"}}");
        Parsed::of(&metrics.render()).samples.get(&name).copied()
    };
    assert_eq!((of("clients"), of("commands_total")), (None, None));
    let clients = [0, 1].map(|worker| listener(&series, 0, worker).log_in("alice"));
    clients.iter().for_each(|client| client.commands(5));
    assert_eq!((of("clients"), of("commands_total")), (Some(2.0), Some(10.0)));
    drop(clients);
    assert_eq!((of("clients"), of("commands_total")), (Some(0.0), Some(10.0)));
}

/// Series whose labels have fixed values exist before their first event, so that a rate has a beginning.
#[test]
fn counters_with_closed_labels_exist_from_the_start() {
    let (metrics, _series) = metrics(1);
    let page = metrics.render();
    let later = ["command", "user"];
    for family in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")) {
        let sample = page
            .lines()
            .find(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' '])));
        // An upstream is known as a cluster when its first map is in force.
        let of_clusters = ["redirects", "replica_reads"];
        let is_later = later.iter().chain(&of_clusters).any(|label| family.contains(label));
        assert!(sample.is_some() || is_later, "{family} has no series");
    }
    for (family, of) in [
        ("connections_refused_total", RefusedReason::ALL.len()),
        ("connections_closed_total", ClosedReason::ALL.len()),
        ("error_replies_total", PREFIXES.len()),
        ("bytes_total", Direction::ALL.len()),
    ] {
        let samples = page
            .lines()
            .filter(|line| line.starts_with(&format!("portcullis_{family}{{listener=\"public\"")));
        assert_eq!(samples.count(), of, "{family}");
    }
}
