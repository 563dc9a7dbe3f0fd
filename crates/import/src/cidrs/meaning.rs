//! The meaning of keys and words near an address. Only a small set of words is known to admit clients.

use super::has_redis_port;

/// The effect that a key, a heading or a line has on its addresses. The order is that of precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    /// Admits inbound TCP to the port of Redis, or says nothing about it.
    #[default]
    Admits,
    /// Contains a word that is not known to admit.
    Unknown,
    Refuses,
    /// Concerns other ports or another protocol.
    OtherPort,
    /// Describes something in prose.
    Prose,
    /// Concerns connections to other servers.
    Elsewhere,
}

/// The parts of words about connections to other servers.
const ELSEWHERE: [&str; 11] = [
    "egress",
    "isegress",
    "outbound",
    "outgoing",
    "output",
    "out",
    "dest",
    "destination",
    "dst",
    "forward",
    "postrouting",
];
/// The parts of keys whose values are a description and not a list.
const PROSE: [&str; 11] = [
    "desc",
    "description",
    "comment",
    "comments",
    "note",
    "notes",
    "name",
    "remark",
    "owner",
    "title",
    "gateway",
];
/// The parts of words that refuse, or mean the opposite.
const REFUSALS: [&str; 11] =
    ["ban", "bans", "banned", "banlist", "block", "black", "not", "no", "never", "bad", "without"];
/// The beginnings of parts that refuse.
const REFUSING: [&str; 17] = [
    "deny",
    "deni",
    "drop",
    "reject",
    "refus",
    "blocked",
    "blocking",
    "blocklist",
    "blacklist",
    "exclu",
    "except",
    "disallow",
    "forbid",
    "prohibit",
    "revok",
    "malicious",
    "quarantin",
];
/// The parts of words and keys that admit, or that only say that there are addresses.
const ADMITS: &str = " accept accepted active addr address addresses allow allowed allowlist allows acl acls authorized body \
    cidr cidrs cidrip client clients data default entries entry from group groups inbound ingress in input ip ips iplist iprange \
    ipranges ipv ipv4 ipv6 item items list lists net nets network networks permission permissions permit permitted policy \
    prefix prefixes properties range ranges response result results rule rules security set source sources spec src tcp \
    trusted values v4 v6 white whitelist whitelisted \
    actions api codespaces copilot dependabot enterprise git github hooks importer macos packages pages web ";

impl Meaning {
    /// Returns the meaning of a key or a word, such as `cidr_blocks` or `SourceCidrIp`.
    pub(super) fn of(word: &str) -> Self {
        if let Some((port, protocol)) = word.split_once('/')
            && let (Ok(port), "tcp" | "udp" | "any") = (port.parse::<i64>(), protocol)
        {
            return if port > 0 && protocol != "udp" && has_redis_port(port, port) {
                Self::Admits
            } else {
                Self::OtherPort
            };
        }
        if let Ok(port) = word.parse::<i64>() {
            return if port > 0 && has_redis_port(port, port) { Self::Admits } else { Self::Unknown };
        }
        let parts = parts(word);
        let any = |known: &[&str]| parts.iter().any(|part| known.contains(&part.as_str()));
        let refuses = parts.iter().enumerate().any(|(at, part)| {
            // `cidr_block` is a block of addresses, while `block_ips` refuses.
            REFUSALS.contains(&part.as_str()) && (at == 0 || part != "block")
                || REFUSING.iter().any(|start| part.starts_with(start))
        });
        let block = |part: &str| part == "block" || part == "blocks";
        let admits = |part: &String| ADMITS.contains(&format!(" {part} ")) || block(part);
        match () {
            () if any(&ELSEWHERE) => Self::Elsewhere,
            () if any(&PROSE) => Self::Prose,
            () if refuses => Self::Refuses,
            () if !parts.is_empty() && parts.iter().all(admits) => Self::Admits,
            () => Self::Unknown,
        }
    }

    /// Returns the meaning of several words together.
    pub(super) fn of_all<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        words.into_iter().map(Self::of).max().unwrap_or(Self::Admits)
    }

    /// Returns the reason in the note about an address that is not admitted.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Admits => "it is not an address",
            Self::Unknown => "what stands near it is not known to admit clients of Redis",
            Self::Refuses => "its line or key refuses",
            Self::OtherPort => "its rule is not about TCP, or its ports do not include 6379",
            Self::Prose => "it stands in a text that describes something",
            Self::Elsewhere => "it is about connections to elsewhere",
        }
    }
}

/// Splits a word at punctuation and where a capital letter follows a small one.
fn parts(word: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut after_small = false;
    for c in word.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && after_small {
            parts.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(part) = parts.last_mut()
        {
            part.extend(c.to_lowercase());
        }
        after_small = c.is_lowercase() || c.is_ascii_digit();
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Returns whether a protocol includes TCP.
pub(super) fn has_tcp(protocol: &str) -> bool {
    let protocol = protocol.to_ascii_lowercase();
    ["tcp", "6", "-1", "all", "any", "*", ""].contains(&protocol.as_str())
}

/// Returns whether a list of ports includes the port of Redis. Reads `6379`, `ALL`, `6379,6380`, `6000-7000` and
/// `6379/6379`.
pub(super) fn has_ports(text: &str) -> bool {
    text.split(',').any(|part| {
        let part = part.trim().to_ascii_lowercase();
        // A minus sign at the beginning, as in `-1`, does not separate two ports.
        let range = part.split_once('/').or_else(|| part.trim_start_matches('-').split_once('-'));
        let (from, to) = range.unwrap_or((&part, &part));
        match (from.trim().parse(), to.trim().parse()) {
            (Ok(from), Ok(to)) => has_redis_port(from, to),
            _ => ["all", "any", "*", ""].contains(&part.as_str()),
        }
    })
}
