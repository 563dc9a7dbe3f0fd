//! SENTINEL, and the other commands of a listener that is only a sentinel.
//!
//! The sentinel knows one master, at the address of the listener that has the data. So no client ever has to look for
//! another master: the gate follows the master of the upstream itself.

use portcullis_resp::command::{id, lookup_subcommand};
use portcullis_resp::encode;

use super::{Answered, Face, Place, bulk, empty_array, help, text_reply, unknown_subcommand, wrong_arity};

/// The version of Redis in whose words the sentinel answers.
const VERSION: &str = "7.2.0";

impl Face {
    /// Answers SENTINEL. `args` are the arguments after the name. A question about one master is answered for any name.
    pub(crate) fn sentinel(&self, here: &Place, args: &[&[u8]], resp3: bool) -> Answered {
        let Some((word, rest)) = args.split_first() else { return wrong_arity(id::SENTINEL.name()) };
        let Some(subcommand) = lookup_subcommand(id::SENTINEL, word) else {
            return unknown_subcommand(id::SENTINEL.name(), word);
        };
        let given = u64::try_from(args.len()).unwrap_or(u64::MAX).saturating_add(1);
        if !subcommand.info().takes(given) {
            return wrong_arity(subcommand.name());
        }
        if rest.first().is_some_and(|name| name.len() > MAX_MASTER) {
            return Answered::Error(NO_SUCH_MASTER.to_vec());
        }
        match (subcommand, rest) {
            (id::SENTINEL_GET_MASTER_ADDR_BY_NAME, _) => Answered::Reply(address(here)),
            (id::SENTINEL_MASTER, [name, ..]) => {
                let mut out = Vec::with_capacity(640);
                master(&mut out, name, here, resp3);
                Answered::Reply(out)
            }
            (id::SENTINEL_MASTERS, _) => {
                let mut out = Vec::with_capacity(640);
                encode::array(&mut out, self.masters.len());
                self.masters.iter().for_each(|name| master(&mut out, name.as_bytes(), here, resp3));
                Answered::Reply(out)
            }
            // There are no replicas and no other sentinels.
            (
                id::SENTINEL_REPLICAS
                | id::SENTINEL_SLAVES
                | id::SENTINEL_SENTINELS
                | id::SENTINEL_PENDING_SCRIPTS,
                _,
            ) => empty_array(),
            (id::SENTINEL_CKQUORUM, _) => Answered::Reply(QUORUM.to_vec()),
            (id::SENTINEL_MYID, _) => text_reply(&here.id),
            (id::SENTINEL_IS_MASTER_DOWN_BY_ADDR, _) => Answered::Reply(NOT_DOWN.to_vec()),
            (id::SENTINEL_HELP, _) => help("SENTINEL", &HELP),
            _ => Answered::Refused(CHANGES),
        }
    }

    /// Returns the reply to ROLE of a sentinel.
    pub(crate) fn sentinel_role(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        encode::array(&mut out, 2);
        bulk(&mut out, "sentinel");
        encode::array(&mut out, self.masters.len());
        self.masters.iter().for_each(|name| bulk(&mut out, name));
        out
    }

    /// Returns the reply to INFO of a sentinel.
    pub(crate) fn sentinel_info(&self, here: &Place, resp3: bool) -> Vec<u8> {
        let mut text = format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_mode:sentinel\r\nrun_id:{}\r\n\r\n# Sentinel\r\n\
             sentinel_masters:{}\r\nsentinel_tilt:0\r\nsentinel_tilt_since_seconds:-1\r\n\
             sentinel_running_scripts:0\r\nsentinel_scripts_queue_length:0\r\n\
             sentinel_simulate_failure_flags:0\r\n",
            here.id,
            self.masters.len()
        );
        for (index, name) in self.masters.iter().enumerate() {
            text.push_str(&format!(
                "master{index}:name={name},status=ok,address={}:{},slaves=0,sentinels=1\r\n",
                here.host, here.port
            ));
        }
        let mut out = Vec::with_capacity(text.len() + 16);
        encode::verbatim(&mut out, text.as_bytes(), resp3);
        out
    }
}

/// Returns the reply to HELLO of a sentinel. `id` is the client's.
pub(crate) fn hello(id: u64, resp3: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    encode::map(&mut out, 6, resp3);
    let mut text = |key: &str, value: &str| {
        bulk(&mut out, key);
        bulk(&mut out, value);
    };
    text("server", "redis");
    text("version", VERSION);
    bulk(&mut out, "proto");
    encode::integer(&mut out, if resp3 { 3 } else { 2 });
    bulk(&mut out, "id");
    encode::integer(&mut out, i64::try_from(id).unwrap_or(i64::MAX));
    bulk(&mut out, "mode");
    bulk(&mut out, "sentinel");
    bulk(&mut out, "modules");
    encode::array(&mut out, 0);
    out
}

fn address(here: &Place) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    encode::array(&mut out, 2);
    bulk(&mut out, &here.host);
    bulk(&mut out, &here.port.to_string());
    out
}

/// Appends the description of the master.
fn master(out: &mut Vec<u8>, name: &[u8], here: &Place, resp3: bool) {
    encode::map(out, FIELDS.len() + 5, resp3);
    bulk(out, "name");
    encode::bulk(out, name);
    let port = here.port.to_string();
    let own = [("ip", &*here.host), ("port", &port), ("runid", &here.id), ("flags", "master")];
    for (field, value) in own.iter().chain(&FIELDS) {
        bulk(out, field);
        bulk(out, value);
    }
}

/// The fields of a master that is well, has no replicas and no other sentinels.
const FIELDS: [(&str, &str); 15] = [
    ("link-pending-commands", "0"),
    ("link-refcount", "1"),
    ("last-ping-sent", "0"),
    ("last-ok-ping-reply", "0"),
    ("last-ping-reply", "0"),
    ("down-after-milliseconds", "5000"),
    ("info-refresh", "0"),
    ("role-reported", "master"),
    ("role-reported-time", "0"),
    ("config-epoch", "0"),
    ("num-slaves", "0"),
    ("num-other-sentinels", "0"),
    ("quorum", "1"),
    ("failover-timeout", "180000"),
    ("parallel-syncs", "1"),
];

/// The longest name of a master in a question. The answer repeats it.
const MAX_MASTER: usize = 255;

const NO_SUCH_MASTER: &[u8] = b"-ERR No such master with that name\r\n";
const QUORUM: &[u8] = b"+OK 1 usable Sentinels. Quorum and failover authorization can be reached\r\n";
/// The master is not down, and no sentinel was voted for.
const NOT_DOWN: &[u8] = b"*3\r\n:0\r\n$1\r\n*\r\n:0\r\n";

const HELP: [&str; 10] = [
    "CKQUORUM <master-name>",
    "GET-MASTER-ADDR-BY-NAME <master-name>",
    "HELP",
    "IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>",
    "MASTER <master-name>",
    "MASTERS",
    "MYID",
    "REPLICAS <master-name>",
    "SENTINELS <master-name>",
    "SLAVES <master-name>",
];

const CHANGES: &[u8] = b"-ERR portcullis: this gate does not change sentinels\r\n";
