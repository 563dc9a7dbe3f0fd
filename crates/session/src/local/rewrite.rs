//! Replies of an upstream whose address clients must not see: INFO, ROLE, CONFIG GET and HELLO.
//!
//! The gate removes the fields that name servers, files or zones, and describes itself in their place: a master without
//! replicas, at the address of the listener.

use portcullis_resp::encode;
use portcullis_resp::scan::{Reply, ReplyHead, ReplyScanner, aggregate_header};

use crate::face::Mode;

/// A reply that the gate rewrites, and the facts that its new form contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) of: Rewritten,
    pub(crate) mode: Mode,
    /// The port of the listener. `None` if it is not known.
    pub(crate) port: Option<u16>,
}

/// The command whose reply is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rewritten {
    Info,
    Role,
    ConfigGet,
}

impl Rewritten {
    /// Returns the error in place of a reply that is too long to be rewritten.
    pub(crate) const fn too_long(self) -> &'static [u8] {
        match self {
            Self::Info => b"-ERR portcullis: INFO is too long to be rewritten\r\n",
            Self::Role => b"-ERR portcullis: ROLE is too long to be rewritten\r\n",
            Self::ConfigGet => b"-ERR portcullis: CONFIG GET is too long to be rewritten\r\n",
        }
    }

    /// Returns the error in place of `+QUEUED`.
    pub(crate) const fn not_in_transaction(self) -> &'static [u8] {
        match self {
            Self::Info => b"-ERR portcullis: INFO is not allowed inside MULTI here, send it outside\r\n",
            Self::Role => b"-ERR portcullis: ROLE is not allowed inside MULTI here, send it outside\r\n",
            Self::ConfigGet => {
                b"-ERR portcullis: CONFIG GET is not allowed inside MULTI here, send it outside\r\n"
            }
        }
    }
}

impl Rewrite {
    /// Appends the new form of `frame`, which is a whole reply and no error. Returns `None` if the reply does not have
    /// the form that its command has in Redis, so that it cannot be rewritten.
    pub(crate) fn write(self, frame: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self.of {
            Rewritten::Info => self.info(frame, out),
            Rewritten::Role => role(frame, out),
            Rewritten::ConfigGet => self.config(frame, out),
        }
    }

    fn info(self, frame: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (kind, body) = text_of(frame)?;
        let mut text = Vec::with_capacity(body.len());
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            self.line(line, &mut text);
        }
        encode::verbatim(out, &text, kind == b'=');
        Some(())
    }

    /// Appends a line of INFO, another value of its field, or nothing.
    fn line(self, line: &[u8], text: &mut Vec<u8>) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return text.extend_from_slice(line);
        };
        let name = line.get(..colon).unwrap_or_default();
        let value = match name {
            b"role" => "master",
            b"connected_slaves" => "0",
            b"redis_mode" | b"server_mode" => self.mode.as_str(),
            b"cluster_enabled" => cluster_enabled(self.mode, "1", "0"),
            b"tcp_port" => match self.port {
                Some(port) => return field(text, name, &port.to_string()),
                None => return,
            },
            _ if is_hidden_field(name) => return,
            _ => return text.extend_from_slice(line),
        };
        field(text, name, value);
    }

    fn config(self, frame: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (head, elements) = elements(frame)?;
        if !matches!(head.kind, b'*' | b'%') || !elements.len().is_multiple_of(2) {
            return None;
        }
        encode::map(out, elements.len() / 2, head.kind == b'%');
        for pair in elements.chunks_exact(2) {
            let [name, value] = pair else { return None };
            out.extend_from_slice(name);
            match self.parameter(bulk_of(name)?) {
                Some(new) => encode::bulk(out, new.as_bytes()),
                None => out.extend_from_slice(value),
            }
        }
        Some(())
    }

    /// Returns the value that clients see for a parameter. `None` if they see the server's own.
    fn parameter(self, name: &[u8]) -> Option<String> {
        let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
        if HIDDEN_PARAMETERS.iter().any(is) {
            return Some(String::new());
        }
        if HIDDEN_PORTS.iter().any(is) {
            return Some("0".to_owned());
        }
        if is(&"port") {
            return Some(self.port.unwrap_or(0).to_string());
        }
        is(&"cluster-enabled").then(|| cluster_enabled(self.mode, "yes", "no").to_owned())
    }
}

/// Returns whether a field of INFO names a server, its files or its place.
fn is_hidden_field(name: &[u8]) -> bool {
    const HIDDEN: [&[u8]; 5] =
        [b"config_file", b"executable", b"availability_zone", b"master_replid", b"master_replid2"];
    // The offset of a master is no fact about another server.
    const OF_MASTER: [&[u8]; 2] = [b"master_repl_offset", b"master_failover_state"];
    let numbered = |prefix: &[u8]| {
        name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit))
    };
    // A replica describes its master in fields that begin with `master_`, and itself in others with `slave_`.
    let of_replica = (name.starts_with(b"master_") && !OF_MASTER.contains(&name))
        || name.starts_with(b"slave_")
        || name == b"replica_announced";
    HIDDEN.contains(&name) || of_replica || numbered(b"slave") || numbered(b"listener")
}

fn field(text: &mut Vec<u8>, name: &[u8], value: &str) {
    text.extend_from_slice(name);
    text.push(b':');
    text.extend_from_slice(value.as_bytes());
    text.extend_from_slice(b"\r\n");
}

const fn cluster_enabled(mode: Mode, yes: &'static str, no: &'static str) -> &'static str {
    match mode {
        Mode::Cluster => yes,
        Mode::Standalone => no,
    }
}

/// Appends ROLE of a master without replicas. A replica is shown as a master, as in all other answers. The roles of
/// other servers have no addresses.
fn role(frame: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (head, elements) = elements(frame)?;
    let first = bulk_of(elements.first()?)?;
    let offset = match first {
        b"master" => elements.get(1)?,
        b"slave" => elements.get(4)?,
        b"sentinel" => {
            out.extend_from_slice(frame);
            return Some(());
        }
        _ => return None,
    };
    if head.kind != b'*' || offset.first() != Some(&b':') {
        return None;
    }
    encode::array(out, 3);
    encode::bulk(out, b"master");
    out.extend_from_slice(offset);
    encode::array(out, 0);
    Some(())
}

/// Appends a reply to HELLO with `id` as the client's id. With a `mode`, the reply describes the gate: that mode, a
/// master, and no zone. Returns `None` if the reply does not have the form that it has in Redis.
pub(crate) fn hello(frame: &[u8], id: u64, mode: Option<Mode>, out: &mut Vec<u8>) -> Option<()> {
    let (head, elements) = elements(frame)?;
    if !matches!(head.kind, b'*' | b'%') || !elements.len().is_multiple_of(2) {
        return None;
    }
    let hidden = |name: &[u8]| mode.is_some() && bulk_of(name) == Some(b"availability_zone");
    let pairs = || elements.chunks_exact(2).filter(|pair| !pair.first().is_some_and(|name| hidden(name)));
    encode::map(out, pairs().count(), head.kind == b'%');
    for pair in pairs() {
        let [name, value] = pair else { return None };
        out.extend_from_slice(name);
        match (bulk_of(name), mode) {
            (Some(b"id"), _) => encode::integer(out, i64::try_from(id).unwrap_or(i64::MAX)),
            (Some(b"mode"), Some(mode)) => encode::bulk(out, mode.as_str().as_bytes()),
            (Some(b"role"), Some(_)) => encode::bulk(out, b"master"),
            _ => out.extend_from_slice(value),
        }
    }
    Some(())
}

/// Returns whether an error line sends the client to another server.
pub(crate) fn is_redirect(line: &[u8]) -> bool {
    [&b"-MOVED "[..], b"-ASK ", b"-REDIRECT "].iter().any(|prefix| line.starts_with(prefix))
}

/// Returns the elements of an aggregate, each with its own header. Returns `None` if the reply is none.
fn elements(frame: &[u8]) -> Option<(ReplyHead, Vec<&[u8]>)> {
    let (head, mut at) = aggregate_header(frame).ok()??;
    let mut elements = Vec::new();
    while let Some(rest) = frame.get(at..).filter(|rest| !rest.is_empty()) {
        let Ok(Reply::Whole { len, .. }) = ReplyScanner::new().next(rest) else { return None };
        elements.push(rest.get(..len)?);
        at += len;
    }
    Some((head, elements))
}

/// Returns the text of a bulk string.
fn bulk_of(element: &[u8]) -> Option<&[u8]> {
    let (kind, text) = text_of(element)?;
    (kind == b'$').then_some(text)
}

/// Returns the type and the text of a bulk string, or of a verbatim string in plain text.
fn text_of(frame: &[u8]) -> Option<(u8, &[u8])> {
    let kind = *frame.first()?;
    let header = frame.iter().position(|byte| *byte == b'\n')?;
    let body = frame.get(header + 1..)?.strip_suffix(b"\r\n")?;
    match kind {
        b'$' => Some((kind, body)),
        b'=' => Some((kind, body.strip_prefix(b"txt:")?)),
        _ => None,
    }
}

/// Parameters whose values are addresses, names of hosts or zones.
const HIDDEN_PARAMETERS: [&str; 14] = [
    "bind",
    "bind-source-addr",
    "replicaof",
    "slaveof",
    "replica-announce-ip",
    "slave-announce-ip",
    "cluster-announce-ip",
    "cluster-announce-client-ipv4",
    "cluster-announce-client-ipv6",
    "cluster-announce-hostname",
    "cluster-announce-human-nodename",
    "unixsocket",
    "availability-zone",
    "pidfile",
];

/// Parameters whose values are ports that no client of the gate can connect to.
const HIDDEN_PORTS: [&str; 7] = [
    "tls-port",
    "cluster-port",
    "cluster-announce-port",
    "cluster-announce-tls-port",
    "cluster-announce-bus-port",
    "replica-announce-port",
    "slave-announce-port",
];

#[cfg(test)]
mod tests;
