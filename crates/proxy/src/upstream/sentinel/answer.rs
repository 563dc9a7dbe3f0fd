//! What sentinels say: their answers to questions, and the messages that they publish.

use portcullis_config::Address;
use portcullis_resp::value::Value;

/// The longest host that is taken from an answer, as the longest DNS name.
const LONGEST_HOST: usize = 253;

/// The channels that the proxy subscribes to at each sentinel.
pub(crate) const CHANNELS: [&[u8]; 3] =
    [b"+failover-state-send-slaveof-noone", b"+promoted-slave", b"+switch-master"];

/// The channels of the messages that a failover has failed.
pub(crate) const ABORTED: &[u8] = b"-failover-abort-";

/// The master that one sentinel names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The address as the sentinel announces it.
    pub(crate) address: Address,
    /// The `config-epoch` of the master. Each failover has a higher one.
    pub(crate) epoch: u64,
}

/// The answer of a sentinel to `SENTINEL GET-MASTER-ADDR-BY-NAME` and `SENTINEL MASTER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It names a master.
    Names(Claim),
    /// It monitors no master of that name.
    UnknownMaster,
    /// The server is no sentinel.
    NotSentinel,
    /// The sentinel wants a login, or the login has too few rights.
    Refused,
    /// The answer makes no sense.
    Garbage,
}

impl Answer {
    /// Reads the replies to both questions.
    ///
    /// The address is from the first reply. While a failover is in progress, the leading sentinel prints the former
    /// address with the new epoch in the second one.
    pub(crate) fn read(address: &Value, details: &Value) -> Self {
        if let Some(fault) = fault(address).or_else(|| fault(details)) {
            return fault;
        }
        if *address == Value::Null {
            return Self::UnknownMaster;
        }
        let named = match address.as_array() {
            Some([host, port]) => server(host.as_str(), port.as_str()),
            _ => None,
        };
        let epoch = details.field("config-epoch").and_then(Value::as_integer);
        match (named, epoch.and_then(|epoch| u64::try_from(epoch).ok())) {
            (Some(address), Some(epoch)) => Self::Names(Claim { address, epoch }),
            _ => Self::Garbage,
        }
    }
}

/// Reads an error. `None`: the reply is no error.
fn fault(reply: &Value) -> Option<Answer> {
    let Value::Error(line) = reply else { return None };
    Some(match line {
        _ if line.starts_with(b"ERR No such master") => Answer::UnknownMaster,
        _ if line.starts_with(b"ERR unknown command") => Answer::NotSentinel,
        _ if line.starts_with(b"NOAUTH") || line.starts_with(b"NOPERM") => Answer::Refused,
        _ => Answer::Garbage,
    })
}

/// Reads an announced host and port.
fn server(host: Option<&str>, port: Option<&str>) -> Option<Address> {
    let (host, port) = (host?, port?.parse().ok()?);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let is_host = !host.is_empty() && host.len() <= LONGEST_HOST && host.bytes().all(fits);
    (is_host && port != 0).then(|| Address::Host { host: host.to_owned(), port })
}

/// A message of a sentinel about the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The leader of a failover has told a replica to become the master.
    Chosen(Change),
    /// The replica has become the master.
    Promoted(Change),
    /// The sentinel names the new master from now on.
    Switched(Change),
    /// The failover has failed.
    Aborted,
}

/// A change from one server to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The master so far.
    pub(crate) from: Address,
    /// The next master.
    pub(crate) to: Address,
}

impl Event {
    /// Reads a message about the master of this name. `None` for other messages.
    pub(crate) fn read(channel: &[u8], text: &[u8], master: &str) -> Option<Self> {
        let words: Vec<&str> = std::str::from_utf8(text).ok()?.split(' ').collect();
        match (channel, words.as_slice()) {
            (b"+switch-master", [name, from, from_port, to, to_port]) if *name == master => {
                let from = server(Some(from), Some(from_port))?;
                Some(Self::Switched(Change { from, to: server(Some(to), Some(to_port))? }))
            }
            // A message about the chosen replica ends the failover too.
            (_, ["master", name, ..] | ["slave", _, _, _, "@", name, ..]) if channel.starts_with(ABORTED) => {
                (*name == master).then_some(Self::Aborted)
            }
            (_, ["slave", _, to, to_port, "@", name, from, from_port]) if *name == master => {
                let from = server(Some(from), Some(from_port))?;
                let change = Change { from, to: server(Some(to), Some(to_port))? };
                match channel {
                    b"+promoted-slave" => Some(Self::Promoted(change)),
                    b"+failover-state-send-slaveof-noone" => Some(Self::Chosen(change)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
