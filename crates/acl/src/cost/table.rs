//! The arguments that influence the cost of a command.

use portcullis_resp::command::{CommandId, id};

/// The meaning of an argument for the cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Count,
    Rank,
    Effort,
    Pattern,
    /// The offset of a byte, up to which Redis allocates memory.
    Offset,
    /// The offset of a bit, up to which Redis allocates memory.
    BitOffset,
}

/// The arguments of a command that influence its cost.
#[derive(Debug)]
pub(super) enum Judged {
    /// The argument at this position (the name is 0), if there is one.
    Value { place: u16, meaning: Meaning },
    /// All arguments from this position on.
    Values { from: u16, meaning: Meaning },
    /// The arguments after certain words, from this position on.
    Words { from: u16, words: &'static [Word] },
    /// The arguments after certain words. The words come after the keys, whose number is the argument at position
    /// `numkeys`.
    WordsBehindKeys { numkeys: u16, words: &'static [Word] },
    /// The count of XPENDING. It comes after `start end`, before which `IDLE ms` may stand.
    Pending,
    /// The offsets to which BITFIELD writes.
    Bitfield,
}

/// A word among the options of a command.
#[derive(Debug)]
pub(super) struct Word {
    /// The word in lower case.
    pub(super) name: &'static str,
    pub(super) then: Then,
}

/// The arguments that come after a word.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// One argument of this meaning.
    Value(Meaning),
    /// This number of arguments, which do not influence the cost.
    Skip(u8),
    /// A number, then as many arguments as it says, then `more` arguments. None of them influences the cost.
    Counted { more: u8 },
    /// No later argument influences the cost.
    End,
}

const fn count(name: &'static str) -> Word {
    Word { name, then: Then::Value(Meaning::Count) }
}

const fn skip(name: &'static str, arguments: u8) -> Word {
    Word { name, then: Then::Skip(arguments) }
}

const fn pattern(name: &'static str) -> Word {
    Word { name, then: Then::Value(Meaning::Pattern) }
}

const fn effort(name: &'static str) -> Word {
    Word { name, then: Then::Value(Meaning::Effort) }
}

const SCAN: &[Word] =
    &[pattern("match"), count("count"), skip("type", 1), skip("novalues", 0), skip("noscores", 0)];
const POP: &[Word] = &[skip("left", 0), skip("right", 0), skip("min", 0), skip("max", 0), count("count")];
/// MAXLEN only makes LPOS cheaper, so every value is allowed.
const POSITIONS: &[Word] =
    &[Word { name: "rank", then: Then::Value(Meaning::Rank) }, count("count"), skip("maxlen", 1)];
const COUNT: &[Word] = &[count("count"), skip("justid", 0)];
const STREAMS: &[Word] = &[
    count("count"),
    skip("block", 1),
    skip("group", 2),
    skip("noack", 0),
    skip("claim", 1),
    Word { name: "streams", then: Then::End },
];
const STREAM_INFO: &[Word] = &[skip("full", 0), count("count")];
const RADIUS: &[Word] = &[
    count("count"),
    skip("withdist", 0),
    skip("withhash", 0),
    skip("withcoord", 0),
    skip("any", 0),
    skip("asc", 0),
    skip("desc", 0),
    skip("store", 1),
    skip("storedist", 1),
];
const SEARCH: &[Word] = &[
    count("count"),
    skip("frommember", 1),
    skip("fromlonlat", 2),
    skip("byradius", 2),
    skip("bybox", 3),
    Word { name: "bypolygon", then: Then::Counted { more: 0 } },
    skip("any", 0),
    skip("asc", 0),
    skip("desc", 0),
    skip("withdist", 0),
    skip("withhash", 0),
    skip("withcoord", 0),
    skip("storedist", 0),
];
const SIMILAR: &[Word] = &[
    skip("ele", 1),
    skip("fp32", 1),
    Word { name: "values", then: Then::Counted { more: 0 } },
    count("count"),
    effort("ef"),
    effort("filter-ef"),
    skip("epsilon", 1),
    skip("filter", 1),
    skip("withscores", 0),
    skip("withattribs", 0),
    skip("truth", 0),
    skip("nothread", 0),
];
/// VADD has its element after the vector, which is one argument more.
const VECTOR: &[Word] = &[
    count("reduce"),
    skip("fp32", 2),
    Word { name: "values", then: Then::Counted { more: 1 } },
    effort("ef"),
    skip("cas", 0),
    skip("noquant", 0),
    skip("q8", 0),
    skip("bin", 0),
    skip("setattr", 1),
    skip("m", 1),
];
const FILTER: &[Word] = &[skip("filterby", 0), pattern("pattern"), skip("module", 1), skip("aclcat", 1)];
const LIBRARIES: &[Word] = &[pattern("libraryname"), skip("withcode", 0)];
const SAMPLES: &[Word] = &[count("samples")];

/// Returns the arguments of a command that influence its cost. `None` for most commands.
///
/// A count is checked if a larger count makes Redis do more work. LIMIT is bounded by the data. Counts of keys,
/// fields or identifiers are bounded by the frame.
pub(super) fn judged(id: CommandId) -> Option<&'static Judged> {
    use Judged::{Bitfield, Pending, Value, Values, Words, WordsBehindKeys};
    use Meaning::{BitOffset, Count, Offset, Pattern};
    Some(match id {
        id::SCAN => &Words { from: 2, words: SCAN },
        id::HSCAN | id::SSCAN | id::ZSCAN => &Words { from: 3, words: SCAN },
        id::SRANDMEMBER
        | id::HRANDFIELD
        | id::ZRANDMEMBER
        | id::VRANDMEMBER
        | id::SPOP
        | id::LPOP
        | id::RPOP
        | id::ZPOPMIN
        | id::ZPOPMAX => &Value { place: 2, meaning: Count },
        id::CLUSTER_GETKEYSINSLOT => &Value { place: 3, meaning: Count },
        id::LMPOP | id::ZMPOP => &WordsBehindKeys { numkeys: 1, words: POP },
        id::BLMPOP | id::BZMPOP => &WordsBehindKeys { numkeys: 2, words: POP },
        id::LPOS => &Words { from: 3, words: POSITIONS },
        id::XRANGE | id::XREVRANGE => &Words { from: 4, words: COUNT },
        id::XAUTOCLAIM => &Words { from: 6, words: COUNT },
        id::XREAD | id::XREADGROUP => &Words { from: 1, words: STREAMS },
        id::XINFO_STREAM => &Words { from: 3, words: STREAM_INFO },
        id::XPENDING => &Pending,
        id::GEORADIUS | id::GEORADIUS_RO => &Words { from: 6, words: RADIUS },
        id::GEORADIUSBYMEMBER | id::GEORADIUSBYMEMBER_RO => &Words { from: 5, words: RADIUS },
        id::GEOSEARCH => &Words { from: 2, words: SEARCH },
        id::GEOSEARCHSTORE => &Words { from: 3, words: SEARCH },
        id::VSIM => &Words { from: 2, words: SIMILAR },
        id::VADD => &Words { from: 2, words: VECTOR },
        id::MEMORY_USAGE => &Words { from: 3, words: SAMPLES },
        id::KEYS => &Value { place: 1, meaning: Pattern },
        id::PUBSUB_CHANNELS | id::PUBSUB_SHARDCHANNELS => &Value { place: 2, meaning: Pattern },
        id::PSUBSCRIBE => &Values { from: 1, meaning: Pattern },
        id::CONFIG_GET => &Values { from: 2, meaning: Pattern },
        id::COMMAND_LIST => &Words { from: 2, words: FILTER },
        id::FUNCTION_LIST => &Words { from: 2, words: LIBRARIES },
        id::SETRANGE => &Value { place: 2, meaning: Offset },
        id::SETBIT => &Value { place: 2, meaning: BitOffset },
        id::BITFIELD => &Bitfield,
        _ => return None,
    })
}
