//! The table that says which kind of connection each command needs if upstream connections are shared.
//!
//! [`Pin::Share`] is an allow list, based on the replies that Redis 6.2 to 8 and Valkey 8 can give. A command is on it
//! if it
//!
//! - is known to each of these servers, because the error for an unknown command repeats its arguments;
//! - leaves nothing on the connection, and has the same reply on every connection of this user, database and RESP version;
//! - never blocks;
//! - never repeats text of the client in a status or error line, where a line break would forge a reply. Redis replaces
//!   line breaks there, except in lines from scripts and modules; another server with the same protocol may not.
//!
//! Any other command uses a connection of the client's own, which costs no more than without sharing.

use portcullis_resp::command::{CommandId, id};

/// The kind of connection that a command needs if upstream connections are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// A shared connection. For XREAD the session also checks the arguments, because XREAD with BLOCK needs another
    /// kind.
    Share,
    /// A connection of the client's own until the command is answered. This applies to scripts, functions, modules,
    /// administration, commands that repeat the client's text in errors, and all commands that are not known to be
    /// harmless.
    Reply,
    /// A connection of the client's own as long as the state lasts that the command begins or ends. The gate can see
    /// the end of this state.
    State,
    /// A connection of the client's own until RESET or its end. The command leaves state whose end the gate cannot see.
    Session,
    /// No connection: the gate answers the command.
    Gate,
    /// Refusal. The answer depends on the writes of one connection, so a shared connection cannot give it.
    Refuse,
}

impl Pin {
    /// Returns the pin of `command`, whatever its arguments are. The pin of a container applies to its subcommands that
    /// are not in the table.
    #[must_use]
    pub fn of(command: CommandId) -> Self {
        PINS.get(command.index()).copied().unwrap_or(Self::Session)
    }

    /// Returns the pin of a call of `command`. `arguments` is the number of its arguments, including the name. Some
    /// commands are harmless if they have no options.
    #[must_use]
    pub fn of_call(command: CommandId, arguments: u64) -> Self {
        if BARE.contains(&(command, arguments)) { Self::Share } else { Self::of(command) }
    }
}

static PINS: [Pin; CommandId::COUNT] = pins();

const fn pins() -> [Pin; CommandId::COUNT] {
    let pins = [Pin::Reply; CommandId::COUNT];
    let pins = with(pins, SHARE, Pin::Share);
    let pins = with(pins, STATE, Pin::State);
    let pins = with(pins, SESSION, Pin::Session);
    let pins = with(pins, GATE, Pin::Gate);
    with(pins, REFUSE, Pin::Refuse)
}

/// Sets the pin of each command in a list. This runs only at compile time, and a command on two lists stops the build.
const fn with(
    mut pins: [Pin; CommandId::COUNT],
    commands: &[CommandId],
    pin: Pin,
) -> [Pin; CommandId::COUNT] {
    let mut rest = commands;
    while let [command, after @ ..] = rest {
        assert!(matches!(pins[command.index()], Pin::Reply));
        pins[command.index()] = pin;
        rest = after;
    }
    pins
}

/// Commands for shared connections. GEOADD repeats coordinates in its errors, but as numbers that it has parsed;
/// GEORADIUS and its variants repeat their own names. TYPE may return a module's name for its type, which no client
/// chooses.
#[rustfmt::skip]
const SHARE: &[CommandId] = &[
    // strings
    id::APPEND, id::DECR, id::DECRBY, id::GET, id::GETDEL, id::GETEX, id::GETRANGE, id::GETSET, id::INCR, id::INCRBY,
    id::INCRBYFLOAT, id::MGET, id::MSET, id::MSETNX, id::PSETEX, id::SET, id::SETEX, id::SETNX, id::SETRANGE, id::STRLEN,
    id::SUBSTR,
    // bits, counts, places
    id::BITCOUNT, id::BITFIELD, id::BITFIELD_RO, id::BITOP, id::BITPOS, id::GETBIT, id::SETBIT,
    id::PFADD, id::PFCOUNT, id::PFMERGE,
    id::GEOADD, id::GEODIST, id::GEOHASH, id::GEOPOS, id::GEORADIUS, id::GEORADIUS_RO, id::GEORADIUSBYMEMBER,
    id::GEORADIUSBYMEMBER_RO, id::GEOSEARCH, id::GEOSEARCHSTORE,
    // keys
    id::COPY, id::DEL, id::DUMP, id::EXISTS, id::MOVE, id::PERSIST, id::PTTL, id::RANDOMKEY, id::RENAME, id::RENAMENX,
    id::SORT, id::TOUCH, id::TTL, id::TYPE, id::UNLINK,
    // hashes
    id::HDEL, id::HEXISTS, id::HGET, id::HGETALL, id::HINCRBY, id::HINCRBYFLOAT, id::HKEYS, id::HLEN, id::HMGET,
    id::HMSET, id::HRANDFIELD, id::HSCAN, id::HSET, id::HSETNX, id::HSTRLEN, id::HVALS,
    // lists
    id::LINDEX, id::LINSERT, id::LLEN, id::LMOVE, id::LPOP, id::LPOS, id::LPUSH, id::LPUSHX, id::LRANGE, id::LREM,
    id::LSET, id::LTRIM, id::RPOP, id::RPOPLPUSH, id::RPUSH, id::RPUSHX,
    // sets
    id::SADD, id::SCARD, id::SDIFF, id::SDIFFSTORE, id::SINTER, id::SINTERSTORE, id::SISMEMBER, id::SMEMBERS,
    id::SMISMEMBER, id::SMOVE, id::SPOP, id::SRANDMEMBER, id::SREM, id::SSCAN, id::SUNION, id::SUNIONSTORE,
    // sorted sets
    id::ZADD, id::ZCARD, id::ZCOUNT, id::ZDIFF, id::ZDIFFSTORE, id::ZINCRBY, id::ZINTER, id::ZINTERSTORE, id::ZLEXCOUNT,
    id::ZMSCORE, id::ZPOPMAX, id::ZPOPMIN, id::ZRANDMEMBER, id::ZRANGE, id::ZRANGEBYLEX, id::ZRANGEBYSCORE,
    id::ZRANGESTORE, id::ZRANK, id::ZREM, id::ZREMRANGEBYLEX, id::ZREMRANGEBYRANK, id::ZREMRANGEBYSCORE, id::ZREVRANGE,
    id::ZREVRANGEBYLEX, id::ZREVRANGEBYSCORE, id::ZREVRANK, id::ZSCAN, id::ZSCORE, id::ZUNION, id::ZUNIONSTORE,
    // streams; commands that name a consumer group quote it if it does not exist: XREADGROUP, XCLAIM, XPENDING, XINFO,
    // XGROUP
    id::XACK, id::XADD, id::XDEL, id::XLEN, id::XRANGE, id::XREAD, id::XREVRANGE, id::XSETID, id::XTRIM,
    // messages
    id::PUBLISH,
    // the server; clients send these when they connect
    id::DBSIZE, id::ECHO, id::INFO, id::LASTSAVE, id::PING, id::ROLE, id::TIME,
];

/// Commands that accept options from Redis 7 on, with their number of arguments without options. They repeat an unknown
/// option in the error.
const BARE: &[(CommandId, u64)] = &[(id::EXPIRE, 3), (id::EXPIREAT, 3), (id::PEXPIRE, 3), (id::PEXPIREAT, 3)];

#[rustfmt::skip]
const STATE: &[CommandId] = &[
    id::MULTI, id::EXEC, id::DISCARD, id::WATCH, id::UNWATCH,
    id::SUBSCRIBE, id::PSUBSCRIBE, id::SSUBSCRIBE, id::UNSUBSCRIBE, id::PUNSUBSCRIBE, id::SUNSUBSCRIBE,
    id::MONITOR, id::CLIENT_NO_EVICT,
    id::BLMOVE, id::BLMPOP, id::BLPOP, id::BRPOP, id::BRPOPLPUSH, id::BZMPOP, id::BZPOPMAX, id::BZPOPMIN,
];

/// Commands that leave state whose end the gate cannot see. DEBUG is one, because some of its subcommands change later
/// replies on their connection. CLIENT PAUSE leaves no state, but during the pause the first write of any client would
/// block a shared connection. The client that sent CLIENT PAUSE must be able to continue and to end the pause.
#[rustfmt::skip]
const SESSION: &[CommandId] = &[
    CommandId::UNKNOWN,
    id::CLIENT_CACHING, id::CLIENT_CAPA, id::CLIENT_IMPORT_SOURCE, id::CLIENT_NO_TOUCH, id::CLIENT_PAUSE,
    id::CLIENT_TRACKING,
    id::ASKING, id::READONLY, id::READWRITE,
    id::SYNC, id::PSYNC, id::REPLCONF,
    id::SCRIPT_DEBUG, id::DEBUG,
];

#[rustfmt::skip]
const GATE: &[CommandId] = &[
    id::AUTH, id::HELLO, id::QUIT, id::RESET, id::SELECT,
    id::CLIENT, id::CLIENT_GETNAME, id::CLIENT_ID, id::CLIENT_INFO, id::CLIENT_KILL, id::CLIENT_LIST, id::CLIENT_REPLY,
    id::CLIENT_SETINFO, id::CLIENT_SETNAME, id::CLIENT_UNBLOCK,
];

const REFUSE: &[CommandId] = &[id::WAIT, id::WAITAOF];

#[cfg(test)]
mod tests;
