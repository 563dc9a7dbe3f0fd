//! `@public`: the preset for listeners that face the internet. It allows all commands except those listed here.

use portcullis_resp::command::{CommandId, id};

/// The commands that `@public` refuses, in the order of the manual, with the reason. A container stands for all its
/// subcommands.
pub const REFUSED: &[(&[CommandId], &str)] = &[
    (&[id::MODULE], "loads code into the server"),
    (
        &[id::DEBUG, id::PFDEBUG, id::PFSELFTEST],
        "for developers: can crash or stall the server, and shows its internals",
    ),
    (&[id::MIGRATE], "connects to any given address, with a password"),
    (&[id::REPLICAOF, id::SLAVEOF, id::FAILOVER], "makes the server a copy or a replica of another one"),
    (&[id::SYNC, id::PSYNC, id::REPLCONF], "turns the connection into a copy of all data"),
    (&[id::CONFIG], "shows passwords (CONFIG GET requirepass) and rewrites settings and files"),
    (&[id::ACL], "shows and changes users and their passwords' digests"),
    (&[id::SHUTDOWN], "stops the server"),
    (&[id::SAVE, id::BGSAVE, id::BGREWRITEAOF], "writes to the disk; SAVE stalls all clients"),
    (&[id::RESTORE, id::RESTORE_ASKING], "decodes data that the client can forge (CVE-2026-25243)"),
    (
        &[
            id::EVAL,
            id::EVAL_RO,
            id::EVALSHA,
            id::EVALSHA_RO,
            id::FCALL,
            id::FCALL_RO,
            id::SCRIPT,
            id::FUNCTION,
        ],
        "runs code that may use commands refused here (CVE-2025-49844, CVE-2025-46818)",
    ),
    (
        &[id::CLIENT_KILL, id::CLIENT_PAUSE, id::CLIENT_UNPAUSE, id::CLIENT_UNBLOCK, id::CLIENT_NO_EVICT],
        "acts on connections of other clients (CVE-2026-56684)",
    ),
    (&[id::MONITOR], "shows the commands of all clients"),
    (
        &[
            id::CLUSTER_ADDSLOTS,
            id::CLUSTER_ADDSLOTSRANGE,
            id::CLUSTER_BUMPEPOCH,
            id::CLUSTER_CANCELSLOTMIGRATIONS,
            id::CLUSTER_DELSLOTS,
            id::CLUSTER_DELSLOTSRANGE,
            id::CLUSTER_FAILOVER,
            id::CLUSTER_FLUSHSLOTS,
            id::CLUSTER_FORGET,
            id::CLUSTER_MEET,
            id::CLUSTER_MIGRATESLOTS,
            id::CLUSTER_MIGRATION,
            id::CLUSTER_REPLICATE,
            id::CLUSTER_RESET,
            id::CLUSTER_SAVECONFIG,
            id::CLUSTER_SET_CONFIG_EPOCH,
            id::CLUSTER_SETSLOT,
        ],
        "changes the cluster",
    ),
    (&[id::SENTINEL], "shows and changes what a Sentinel monitors, and votes on it"),
    (&[id::LATENCY, id::SLOWLOG, id::COMMANDLOG], "shows other clients' commands and arguments"),
    (&[id::OBJECT, id::MEMORY], "shows internals of values and of the allocator"),
    (
        &[id::LCS, id::STRALGO],
        "compares two values byte by byte: seconds, and gigabytes, for two of a megabyte",
    ),
    (&[id::LOLWUT], "draws pictures of any size: seconds for one of 1000 by 1000"),
    (&[id::KEYS], "reads all keys at once, and its pattern costs time; SCAN is allowed"),
    (&[id::FLUSHALL, id::FLUSHDB, id::SWAPDB], "deletes or swaps whole databases"),
];

/// The commands that `@public-scripts` adds to `@public`. The commands inside a script are not affected: Redis
/// decides about them.
pub const SCRIPTS: &[CommandId] = &[
    id::EVAL,
    id::EVAL_RO,
    id::EVALSHA,
    id::EVALSHA_RO,
    id::FCALL,
    id::FCALL_RO,
    id::SCRIPT_LOAD,
    id::SCRIPT_EXISTS,
];

/// Returns whether `@public` refuses the command.
#[must_use]
pub fn refuses(command: CommandId) -> bool {
    REFUSED.iter().any(|(ids, _)| ids.contains(&command) || ids.contains(&command.top()))
}

#[cfg(test)]
mod tests;
