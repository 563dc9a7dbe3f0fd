//! Rules for the security groups of AWS, in the JSON form of its command line.

use std::collections::BTreeSet;

use ipnet::IpNet;
use portcullis_acl::AdmittedNetwork;
use portcullis_config::Bind;
use serde_json::{Value, json};

use super::Exported;
use crate::generation::explain::moment;

/// The rules that a security group of AWS can have unless its quota was raised.
const MOST_RULES: usize = 60;

/// Returns the value of `--ip-permissions`. `made` says when and from what; it becomes the description of each rule.
pub(super) fn permissions(exported: &[Exported<'_>], made: &str) -> String {
    let permissions: Vec<Value> = exported
        .iter()
        .flat_map(|listener| ports(listener).into_iter().map(move |port| permission(listener, port, made)))
        .collect();
    format!("{:#}\n", Value::from(permissions))
}

fn permission(listener: &Exported<'_>, port: u16, made: &str) -> Value {
    let range = |key: &str, network: &AdmittedNetwork| {
        let end = network.until.map(|until| format!(", until {}", moment(until))).unwrap_or_default();
        json!({ key: network.net.to_string(), "Description": plain(&format!("{}{end}, made {made}", listener.name)) })
    };
    let of = |family: fn(&IpNet) -> bool, key: &str| -> Vec<Value> {
        listener
            .networks
            .iter()
            .filter(|network| family(&network.net))
            .map(|network| range(key, network))
            .collect()
    };
    json!({
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "IpRanges": of(|net| matches!(net, IpNet::V4(_)), "CidrIp"),
        "Ipv6Ranges": of(|net| matches!(net, IpNet::V6(_)), "CidrIpv6"),
    })
}

fn ports(listener: &Exported<'_>) -> BTreeSet<u16> {
    let port = |bind: &Bind| match bind {
        Bind::Tcp { addr, .. } => Some(addr.port()),
        Bind::Unix(_) => None,
    };
    listener.binds.iter().filter_map(port).collect()
}

/// Returns a description of at most 255 of the characters that AWS takes.
fn plain(text: &str) -> String {
    let known = |c: &char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(*c);
    text.chars().filter(known).take(255).collect()
}

/// Returns notes about what a security group cannot express.
pub(super) fn notes(exported: &[Exported<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    let rules: usize = exported.iter().map(|listener| listener.networks.len() * ports(listener).len()).sum();
    if rules > MOST_RULES {
        notes.push(format!(
            "these are {rules} rules; a security group of AWS has at most {MOST_RULES} by default"
        ));
    }
    for listener in exported {
        let ends = |network: &AdmittedNetwork| Some((network.net, moment(network.until?)));
        for (net, at) in listener.networks.iter().filter_map(ends) {
            notes.push(format!(
                "listener {}: {net} ends at {at}, but the security group keeps it",
                listener.name
            ));
        }
    }
    notes
}
