//! Limits: the defaults with their reasons, and the allowed ranges.

use std::time::Duration;

use portcullis_acl::CostLimits;
use portcullis_acl::rate::{MAX_FAILURES, Rate, SourceLimits};

use super::fields::Fields;
use super::problem::{Position, Problems};
use super::raw::Node;
use super::value;
use crate::message::{Masked, message};

/// Limits of one client, one command or the process. Every limit has a value; `None` is a written `off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(super) clients: u64,
    pub(super) bulk: u64,
    pub(super) arguments: u64,
    pub(super) inline: usize,
    pub(super) held_command: usize,
    pub(super) client_output_buffer: usize,
    pub(super) pattern: usize,
    pub(super) count: u64,
    pub(super) subscriptions: u64,
    pub(super) buffers: u64,
    pub(super) per_source: SourceLimits,
    pub(super) timeouts: Timeouts,
    pub(super) tcp: Tcp,
}

impl Limits {
    /// Number of connections at a time: of the process, or of a listener that sets its own.
    pub fn clients(&self) -> u64 {
        self.clients
    }

    /// Bytes in one argument.
    pub fn bulk(&self) -> u64 {
        self.bulk
    }

    /// Arguments of one command, its name included.
    pub fn arguments(&self) -> u64 {
        self.arguments
    }

    /// Bytes of an inline command.
    pub fn inline(&self) -> usize {
        self.inline
    }

    /// Bytes of a command that is held until it can be checked.
    pub fn held_command(&self) -> usize {
        self.held_command
    }

    /// Bytes of replies that wait for one client of shared upstream connections.
    pub fn client_output_buffer(&self) -> usize {
        self.client_output_buffer
    }

    /// The cost limits of one command under `@public`.
    pub fn costs(&self) -> CostLimits {
        let Self { pattern, count, subscriptions, bulk, .. } = *self;
        CostLimits { pattern, count, subscriptions, ..CostLimits::default() }.with_bulk(bulk)
    }

    /// Bytes in all buffers of the process.
    pub fn buffers(&self) -> u64 {
        self.buffers
    }

    /// Limits of one source address on one listener.
    pub fn per_source(&self) -> &SourceLimits {
        &self.per_source
    }

    /// Timeouts of connections and of shutdown.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Options of client and upstream sockets.
    pub fn tcp(&self) -> &Tcp {
        &self.tcp
    }
}

impl Default for Limits {
    fn default() -> Self {
        let costs = CostLimits::default();
        Self {
            clients: 10_000,               // Redis: maxclients
            bulk: 512 << 20,               // Redis: proto-max-bulk-len
            arguments: 1 << 20, // Redis: 1024 * 1024 before 7.0; later INT_MAX, which bounds nothing
            inline: 64 << 10,   // Redis: PROTO_INLINE_MAX_SIZE
            held_command: 1 << 20, // keys and a small value; larger ones are refused where keys are checked
            client_output_buffer: 1 << 20, // a second of a line with 10 Mbit/s
            pattern: costs.pattern,
            count: costs.count,
            subscriptions: costs.subscriptions,
            buffers: 256 << 20, // half of a small machine's memory
            per_source: SourceLimits { block_for: BLOCK_FOR, ..SourceLimits::default() },
            timeouts: Timeouts::default(),
            tcp: Tcp::default(),
        }
    }
}

/// Timeouts of connections and of shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub(super) tls: Duration,
    pub(super) idle: Option<Duration>,
    pub(super) frame: Option<Duration>,
    pub(super) proxy_header: Duration,
    pub(super) login: Option<Duration>,
    pub(super) write: Option<Duration>,
    pub(super) drain: Duration,
}

impl Timeouts {
    /// Time from the connection to the end of the TLS handshake.
    pub fn tls(&self) -> Duration {
        self.tls
    }

    /// Time without a pending command or reply after which a client is disconnected; `None`: no limit.
    pub fn idle(&self) -> Option<Duration> {
        self.idle
    }

    /// Time from the first byte of a command to its last, extended by each 64 KiB received; `None`: no limit.
    pub fn frame(&self) -> Option<Duration> {
        self.frame
    }

    /// Time from the connection of a trusted sender to the end of its PROXY header.
    pub fn proxy_header(&self) -> Duration {
        self.proxy_header
    }

    /// Time from the connection to the login, where the proxy checks logins; elsewhere the time that Redis has to
    /// answer a login. `None`: no limit for the login, and a default for the reply.
    pub fn login(&self) -> Option<Duration> {
        self.login
    }

    /// Time that a write may make no progress; `None`: no limit.
    pub fn write(&self) -> Option<Duration> {
        self.write
    }

    /// Time from SIGTERM to the end of the process.
    pub fn drain(&self) -> Duration {
        self.drain
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let half_a_minute = Duration::from_secs(30);
        // Redis: timeout 0, so idle is off. The others bound what a stalled peer can hold.
        Self {
            tls: Duration::from_secs(5), // a handshake over a lossy line takes a second or two
            idle: None,
            frame: Some(half_a_minute),
            // The specification asks for at least 3 s, so that one lost segment is survived.
            proxy_header: Duration::from_secs(3),
            login: Some(half_a_minute),
            write: Some(half_a_minute),
            drain: half_a_minute,
        }
    }
}

/// Options of client and upstream sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    pub(super) keepalive: Option<Duration>,
    pub(super) user_timeout: Option<Duration>,
}

impl Tcp {
    /// Idle time before the first probe, whole seconds; `None`: no probes.
    pub fn keepalive(&self) -> Option<Duration> {
        self.keepalive
    }

    /// `TCP_USER_TIMEOUT`, how long sent data may stay unacknowledged; `None`: the system's.
    pub fn user_timeout(&self) -> Option<Duration> {
        self.user_timeout
    }
}

impl Default for Tcp {
    fn default() -> Self {
        // Redis: tcp-keepalive 300.
        Self { keepalive: Some(Duration::from_secs(300)), user_timeout: Some(Duration::from_secs(30)) }
    }
}

/// Values that a `limits` mapping sets; unset values are taken from the level below.
#[derive(Clone, Debug, Default)]
pub(super) struct Patch {
    clients: Option<u64>,
    bulk: Option<u64>,
    arguments: Option<u64>,
    inline: Option<u64>,
    held_command: Option<u64>,
    /// The limit and its place.
    client_output_buffer: Option<(u64, Position)>,
    pattern: Option<u64>,
    count: Option<u64>,
    subscriptions: Option<u64>,
    /// The places of these three limits.
    costs_written: Vec<(&'static str, Position)>,
    buffers: Option<u64>,
    source_clients: Option<u64>,
    connects: Option<Rate>,
    auth_failures: Option<Rate>,
    block_for: Option<Duration>,
    login: Option<Option<Duration>>,
    tls: Option<Duration>,
    idle: Option<Option<Duration>>,
    frame: Option<Option<Duration>>,
    proxy_header: Option<Duration>,
    write: Option<Option<Duration>>,
    drain: Option<Duration>,
    keepalive: Option<Option<Duration>>,
    user_timeout: Option<Option<Duration>>,
}

/// Long enough to make guessing hopeless, short enough that an honest mistake needs no operator.
const BLOCK_FOR: Duration = Duration::from_secs(10 * 60);

/// File descriptors are 32-bit numbers.
const CLIENTS: (u64, u64) = (1, 1 << 30);
/// Redis refuses less than 1 MiB for `proto-max-bulk-len`, but a proxy may be narrower.
const BULK: (u64, u64) = (1 << 10, 1 << 40);
/// Redis counts them in an `int`.
const ARGUMENTS: (u64, u64) = (1, (1 << 31) - 1);
/// An inline command is held whole.
const INLINE: (u64, u64) = (1 << 10, 16 << 20);
/// Less than one read would make the simplest commands uncheckable; more than this is too much to hold.
const HELD: (u64, u64) = (16 << 10, 512 << 20);
/// Less than one read from the upstream would disconnect fast clients; more than the largest argument delays no other
/// client.
const OUTPUT: (u64, u64) = (16 << 10, 512 << 20);
/// One byte is a pattern; a pattern must fit into what is held of a command, 1 MiB by default.
const PATTERN: (u64, u64) = (1, 1 << 20);
/// Counts are 63-bit numbers to Redis; more than this is no limit.
const COUNT: (u64, u64) = (1, 1 << 40);
/// Redis holds one entry per subscription; more than this is no limit.
const SUBSCRIPTIONS: (u64, u64) = (1, 1 << 30);
/// A few clients must be able to work.
const BUFFERS: (u64, u64) = (1 << 20, 1 << 40);
/// Linux takes 1 to 32767 seconds (`MAX_TCP_KEEPIDLE`).
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32_767));

impl Patch {
    /// The `limits` of the process.
    pub(super) fn process(node: &Node, problems: &mut Problems) -> Self {
        let mut patch = Self::default();
        let Some(mut fields) = Fields::of(node, "limits", problems) else { return patch };
        patch.shared(&mut fields, problems);
        patch.buffers =
            fields.take("buffers").and_then(|node| value::size(node, "buffers", BUFFERS, problems));
        if let Some(mut timeouts) =
            fields.take("timeouts").and_then(|node| Fields::of(node, "timeouts", problems))
        {
            patch.timeouts(&mut timeouts, problems);
            patch.drain = timeouts.take("drain").and_then(|node| value::duration(node, "drain", problems));
            timeouts.finish(problems);
        }
        fields.finish(problems);
        patch
    }

    /// The `limits` of a listener: those that a connection has by itself.
    pub(super) fn listener(node: &Node, problems: &mut Problems) -> Self {
        let mut patch = Self::default();
        let Some(mut fields) = Fields::of(node, "limits of a listener", problems) else { return patch };
        patch.shared(&mut fields, problems);
        only_for_the_process(&mut fields, "buffers", problems);
        if let Some(mut timeouts) =
            fields.take("timeouts").and_then(|node| Fields::of(node, "timeouts", problems))
        {
            patch.timeouts(&mut timeouts, problems);
            only_for_the_process(&mut timeouts, "drain", problems);
            timeouts.finish(problems);
        }
        fields.finish(problems);
        patch
    }

    /// Returns these values where set, and those of `below` otherwise.
    pub(super) fn over(&self, below: &Limits) -> Limits {
        let bytes =
            |set: Option<u64>, below: usize| set.and_then(|set| usize::try_from(set).ok()).unwrap_or(below);
        Limits {
            clients: self.clients.unwrap_or(below.clients),
            bulk: self.bulk.unwrap_or(below.bulk),
            arguments: self.arguments.unwrap_or(below.arguments),
            inline: bytes(self.inline, below.inline),
            held_command: bytes(self.held_command, below.held_command),
            client_output_buffer: bytes(
                self.client_output_buffer.as_ref().map(|(bytes, _)| *bytes),
                below.client_output_buffer,
            ),
            pattern: bytes(self.pattern, below.pattern),
            count: self.count.unwrap_or(below.count),
            subscriptions: self.subscriptions.unwrap_or(below.subscriptions),
            buffers: self.buffers.unwrap_or(below.buffers),
            per_source: SourceLimits {
                clients: self
                    .source_clients
                    .and_then(|clients| u32::try_from(clients).ok())
                    .or(below.per_source.clients),
                connects: self.connects.or(below.per_source.connects),
                auth_failures: self.auth_failures.or(below.per_source.auth_failures),
                block_for: self.block_for.unwrap_or(below.per_source.block_for),
            },
            timeouts: Timeouts {
                tls: self.tls.unwrap_or(below.timeouts.tls),
                idle: self.idle.unwrap_or(below.timeouts.idle),
                frame: self.frame.unwrap_or(below.timeouts.frame),
                proxy_header: self.proxy_header.unwrap_or(below.timeouts.proxy_header),
                login: self.login.unwrap_or(below.timeouts.login),
                write: self.write.unwrap_or(below.timeouts.write),
                drain: self.drain.unwrap_or(below.timeouts.drain),
            },
            tcp: Tcp {
                keepalive: self.keepalive.unwrap_or(below.tcp.keepalive),
                user_timeout: self.user_timeout.unwrap_or(below.tcp.user_timeout),
            },
        }
    }

    /// The place of the limit that only shared connections use.
    pub(super) fn client_output_buffer(&self) -> Option<&Position> {
        self.client_output_buffer.as_ref().map(|(_, place)| place)
    }

    /// The keys of the limits for `@public` alone, with their places.
    pub(super) fn costs_written(&self) -> impl Iterator<Item = (&'static str, &Position)> {
        self.costs_written.iter().map(|(key, place)| (*key, place))
    }

    fn shared(&mut self, fields: &mut Fields<'_>, problems: &mut Problems) {
        self.clients =
            fields.take("clients").and_then(|node| value::number(node, "clients", CLIENTS, problems));
        self.bulk = fields.take("bulk").and_then(|node| value::size(node, "bulk", BULK, problems));
        self.arguments =
            fields.take("arguments").and_then(|node| value::number(node, "arguments", ARGUMENTS, problems));
        self.inline = fields.take("inline").and_then(|node| value::size(node, "inline", INLINE, problems));
        self.held_command =
            fields.take("held_command").and_then(|node| value::size(node, "held_command", HELD, problems));
        self.client_output_buffer = fields.take_with_key("client_output_buffer").and_then(|(place, node)| {
            Some((value::size(node, "client_output_buffer", OUTPUT, problems)?, place.clone()))
        });
        self.costs(fields, problems);
        if let Some(mut fields) =
            fields.take("per_source").and_then(|node| Fields::of(node, "per_source", problems))
        {
            self.per_source(&mut fields, problems);
            fields.finish(problems);
        }
        if let Some(mut tcp) = fields.take("tcp").and_then(|node| Fields::of(node, "tcp", problems)) {
            self.keepalive = tcp.take("keepalive").and_then(|node| keepalive(node, problems));
            self.user_timeout = tcp
                .take("user_timeout")
                .and_then(|node| value::duration_or_off(node, "user_timeout", problems));
            tcp.finish(problems);
        }
    }

    fn costs(&mut self, fields: &mut Fields<'_>, problems: &mut Problems) {
        let mut take = |key| {
            let (place, node) = fields.take_with_key(key)?;
            self.costs_written.push((key, place.clone()));
            Some(node)
        };
        self.pattern = take("pattern").and_then(|node| value::size(node, "pattern", PATTERN, problems));
        self.count = take("count").and_then(|node| value::number(node, "count", COUNT, problems));
        self.subscriptions = take("subscriptions")
            .and_then(|node| value::number(node, "subscriptions", SUBSCRIPTIONS, problems));
    }

    fn per_source(&mut self, fields: &mut Fields<'_>, problems: &mut Problems) {
        self.source_clients =
            fields.take("clients").and_then(|node| value::number(node, "clients", CLIENTS, problems));
        self.connects = fields.take("connects").and_then(|node| value::rate(node, "connects", problems));
        self.auth_failures = fields.take("auth_failures").and_then(|node| {
            let rate = value::rate(node, "auth_failures", problems)?;
            if rate.count() <= MAX_FAILURES {
                return Some(rate);
            }
            let message = message!(
                "auth_failures must be at most {}, not {}: each failure in the window is kept in memory",
                MAX_FAILURES,
                rate.count()
            );
            problems.error(&node.place, message, "write 10/1m");
            None
        });
        self.block_for =
            fields.take("block_for").and_then(|node| value::duration(node, "block_for", problems));
    }

    fn timeouts(&mut self, fields: &mut Fields<'_>, problems: &mut Problems) {
        self.idle = fields.take("idle").and_then(|node| value::duration_or_off(node, "idle", problems));
        self.frame = fields.take("frame").and_then(|node| value::duration_or_off(node, "frame", problems));
        self.write = fields.take("write").and_then(|node| value::duration_or_off(node, "write", problems));
        self.tls = fields.take("tls").and_then(|node| value::duration(node, "tls", problems));
        self.proxy_header =
            fields.take("proxy_header").and_then(|node| value::duration(node, "proxy_header", problems));
        self.login = fields.take("login").and_then(|node| value::duration_or_off(node, "login", problems));
    }
}

fn only_for_the_process(fields: &mut Fields<'_>, name: &'static str, problems: &mut Problems) {
    if let Some((place, _)) = fields.take_with_key(name) {
        problems.error(
            place,
            message!("'{}' applies to the whole process, not to a listener", name),
            "set it under limits at the top level",
        );
    }
}

fn keepalive(node: &Node, problems: &mut Problems) -> Option<Option<Duration>> {
    let value = value::duration_or_off(node, "keepalive", problems)?;
    let (least, most) = KEEPALIVE;
    if value.is_some_and(|value| value < least || value > most || value.subsec_nanos() != 0) {
        let written = value::text(node, "keepalive", problems).map(Masked::of);
        let written = written.unwrap_or_else(|| Masked::known("an empty value"));
        let message = message!("keepalive must be whole seconds, from 1s to 32767s, not '{}'", written);
        problems.error(&node.place, message, "write 300s, or off");
        return None;
    }
    Some(value)
}
