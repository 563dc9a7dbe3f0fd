//! CLUSTER of a cluster of one node, which has all slots.

use portcullis_resp::command::{CommandId, id, lookup_subcommand};
use portcullis_resp::slot::{SLOTS, slot};
use portcullis_resp::{encode, reply};

use super::{
    Answered, Face, Place, bulk, empty_array, help, integer_reply, text_reply, unknown_subcommand,
    wrong_arity,
};

impl Face {
    /// Answers CLUSTER. `args` are the arguments after the name.
    pub(crate) fn cluster(&self, here: &Place, args: &[&[u8]], resp3: bool) -> Answered {
        let Some((word, args)) = args.split_first() else { return wrong_arity(id::CLUSTER.name()) };
        let Some(subcommand) = lookup_subcommand(id::CLUSTER, word) else {
            return unknown_subcommand(id::CLUSTER.name(), word);
        };
        let given = u64::try_from(args.len()).unwrap_or(u64::MAX).saturating_add(2);
        if !subcommand.info().takes(given) {
            return wrong_arity(subcommand.name());
        }
        if !self.cluster {
            return Answered::Error(reply::CLUSTER_DISABLED.to_vec());
        }
        match (subcommand, args) {
            (id::CLUSTER_SLOTS, _) => Answered::Reply(slots(here, resp3)),
            (id::CLUSTER_SHARDS, _) => Answered::Reply(self.shards(here, resp3)),
            (id::CLUSTER_NODES, _) => verbatim(&node(here), resp3),
            (id::CLUSTER_INFO, _) => verbatim(INFO, resp3),
            (id::CLUSTER_MYID | id::CLUSTER_MYSHARDID, _) => text_reply(&here.id),
            (id::CLUSTER_KEYSLOT, [key]) => integer_reply(i64::from(slot(key))),
            (
                id::CLUSTER_LINKS | id::CLUSTER_REPLICAS | id::CLUSTER_SLAVES | id::CLUSTER_GETSLOTMIGRATIONS,
                _,
            ) => empty_array(),
            (id::CLUSTER_COUNT_FAILURE_REPORTS, _) => integer_reply(0),
            (id::CLUSTER_COUNTKEYSINSLOT | id::CLUSTER_GETKEYSINSLOT | id::CLUSTER_SLOT_STATS, _) => {
                Answered::Error(NOT_KNOWN.to_vec())
            }
            (id::CLUSTER_HELP, _) => help("CLUSTER", &SUBCOMMANDS),
            _ => Answered::Refused(CHANGES),
        }
    }

    /// Answers READONLY, READWRITE or ASKING, which have no effect on a master.
    pub(crate) fn cluster_mode(&self, command: CommandId, arguments: u64) -> Answered {
        if !command.info().takes(arguments) {
            wrong_arity(command.name())
        } else if self.cluster {
            Answered::Reply(reply::OK.to_vec())
        } else {
            Answered::Error(reply::CLUSTER_DISABLED.to_vec())
        }
    }

    fn shards(&self, here: &Place, resp3: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(320);
        encode::array(&mut out, 1);
        encode::map(&mut out, 2, resp3);
        bulk(&mut out, "slots");
        encode::array(&mut out, 2);
        encode::integer(&mut out, 0);
        encode::integer(&mut out, i64::from(SLOTS - 1));
        bulk(&mut out, "nodes");
        encode::array(&mut out, 1);
        let pairs = 7 + usize::from(self.tls) + usize::from(here.name().is_some());
        encode::map(&mut out, pairs, resp3);
        let mut pair = |key: &str, value: &str| {
            bulk(&mut out, key);
            bulk(&mut out, value);
        };
        pair("id", &here.id);
        port(&mut out, "port", here);
        if self.tls {
            port(&mut out, "tls-port", here);
        }
        let mut pair = |key: &str, value: &str| {
            bulk(&mut out, key);
            bulk(&mut out, value);
        };
        pair("ip", &here.host);
        pair("endpoint", &here.host);
        if let Some(name) = here.name() {
            pair("hostname", name);
        }
        pair("role", "master");
        bulk(&mut out, "replication-offset");
        encode::integer(&mut out, 1);
        bulk(&mut out, "health");
        bulk(&mut out, "online");
        out
    }
}

fn port(out: &mut Vec<u8>, key: &str, here: &Place) {
    bulk(out, key);
    encode::integer(out, i64::from(here.port));
}

fn slots(here: &Place, resp3: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    encode::array(&mut out, 1);
    encode::array(&mut out, 3);
    encode::integer(&mut out, 0);
    encode::integer(&mut out, i64::from(SLOTS - 1));
    encode::array(&mut out, 4);
    bulk(&mut out, &here.host);
    encode::integer(&mut out, i64::from(here.port));
    bulk(&mut out, &here.id);
    match here.name() {
        None => encode::map(&mut out, 0, resp3),
        Some(name) => {
            encode::map(&mut out, 1, resp3);
            bulk(&mut out, "hostname");
            bulk(&mut out, name);
        }
    }
    out
}

/// Returns the line of CLUSTER NODES. Redis writes IPv6 addresses without brackets.
fn node(here: &Place) -> String {
    let Place { host, port, id } = here;
    let bus = here.bus();
    let name = here.name().map(|name| format!(",{name}")).unwrap_or_default();
    format!("{id} {host}:{port}@{bus}{name} myself,master - 0 0 1 connected 0-{}\n", SLOTS - 1)
}

fn verbatim(text: &str, resp3: bool) -> Answered {
    let mut out = Vec::with_capacity(text.len() + 32);
    encode::verbatim(&mut out, text.as_bytes(), resp3);
    Answered::Reply(out)
}

const INFO: &str = "cluster_enabled:1\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n\
cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:1\r\n\
cluster_current_epoch:1\r\ncluster_my_epoch:1\r\n";

const SUBCOMMANDS: [&str; 9] =
    ["HELP", "INFO", "KEYSLOT <key>", "LINKS", "MYID", "MYSHARDID", "NODES", "SHARDS", "SLOTS"];

const NOT_KNOWN: &[u8] = b"-ERR portcullis: not known for an upstream that is no cluster\r\n";
const CHANGES: &[u8] = b"-ERR portcullis: clients do not change the cluster here\r\n";
