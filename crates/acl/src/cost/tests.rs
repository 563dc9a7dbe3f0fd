use portcullis_resp::command::{lookup, lookup_subcommand};

use super::*;

const LIMITS: CostLimits = CostLimits { count: 100, pattern: 8, subscriptions: 10, offset: 1000 };

fn id_of(args: &[&[u8]]) -> CommandId {
    let id = lookup(args[0]).unwrap_or_else(|| panic!("{}", args[0].escape_ascii()));
    if !id.is_container() {
        return id;
    }
    lookup_subcommand(id, args[1]).unwrap_or_else(|| panic!("{}", args[1].escape_ascii()))
}

fn check(line: &str) -> Result<(), Cost> {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    LIMITS.check(id_of(&args), &args)
}

/// Commands with the argument `?` in the place of a count.
const COUNTS: &[&str] = &[
    "SCAN 0 COUNT ?",
    "scan 0 match a* count ? type string",
    "SCAN 0 COUNT 1 COUNT ?",
    "HSCAN k 0 COUNT ? NOVALUES",
    "HSCAN k 0 NOVALUES COUNT ?",
    "SSCAN k 0 MATCH x COUNT ?",
    "ZSCAN k 0 NOSCORES COUNT ?",
    "SRANDMEMBER k ?",
    "HRANDFIELD k ? WITHVALUES",
    "ZRANDMEMBER k ? WITHSCORES",
    "VRANDMEMBER k ?",
    "SPOP k ?",
    "LPOP k ?",
    "RPOP k ?",
    "ZPOPMIN k ?",
    "ZPOPMAX k ?",
    "LMPOP 2 a count LEFT COUNT ?",
    "ZMPOP 1 a MIN COUNT ?",
    "BLMPOP 0 1 a RIGHT COUNT ?",
    "BZMPOP 0.5 2 a b MAX COUNT ?",
    "LPOS k count COUNT ?",
    "LPOS k e MAXLEN 5000 COUNT ?",
    "XRANGE k - + COUNT ?",
    "XREVRANGE k + - COUNT ?",
    "XAUTOCLAIM k g c 0 0-0 COUNT ? JUSTID",
    "XREAD COUNT ? STREAMS k 0",
    "XREAD BLOCK 0 COUNT ? STREAMS k 0",
    "XREADGROUP GROUP count c COUNT ? NOACK STREAMS k >",
    "XINFO STREAM k FULL COUNT ?",
    "XPENDING k g - + ?",
    "XPENDING k g - + ? consumer",
    "XPENDING k g IDLE 9000 - + ?",
    "GEORADIUS k 1 2 3 m COUNT ? ANY",
    "GEORADIUS_RO k 1 2 3 m WITHDIST COUNT ?",
    "GEORADIUSBYMEMBER k count 3 m STORE count COUNT ?",
    "GEORADIUSBYMEMBER_RO k m 3 m COUNT ?",
    "GEOSEARCH k FROMMEMBER count BYRADIUS 1 m ASC COUNT ? ANY",
    "GEOSEARCH k FROMLONLAT 1 2 BYBOX 9000 2 km COUNT ? WITHHASH",
    "GEOSEARCH k FROMLONLAT 1 2 BYPOLYGON 3 1 1 2 2 3 3 COUNT ?",
    "GEOSEARCHSTORE d k FROMLONLAT 1 2 BYRADIUS 1 m COUNT ? STOREDIST",
    "VSIM k ELE count COUNT ?",
    "VSIM k VALUES 3 9000 9000 count WITHSCORES COUNT ?",
    "VSIM k FP32 count FILTER count COUNT ?",
    "VADD k REDUCE ? FP32 count count",
    "CLUSTER GETKEYSINSLOT 7 ?",
    "MEMORY USAGE k SAMPLES ?",
];

#[test]
fn counts() {
    for template in COUNTS {
        let with = |n: &str| check(&template.replace('?', n));
        for fits in ["0", "1", "100", "-100"] {
            assert_eq!(with(fits), Ok(()), "{template} {fits}");
        }
        let above = ["101", "-101", "1000000000", "9223372036854775807", "-9223372036854775808"];
        for large in above.into_iter().chain(["99999999999999999999999999", "-18446744073709551617"]) {
            assert_eq!(with(large), Err(Cost::Count), "{template} {large}");
        }
        for none in ["", "-", "+101", "0101", "-0", "1e9", "0x65", "101x", "1.5", "\u{0661}"] {
            assert_eq!(with(none), Err(Cost::NotANumber), "{template} {none:?}");
        }
    }
}

#[test]
fn ranks_and_efforts_have_their_own_errors() {
    assert_eq!(check("LPOS k rank RANK -101 COUNT 1"), Err(Cost::Rank));
    assert_eq!(check("LPOS k rank RANK -9223372036854775808"), Err(Cost::Rank));
    assert_eq!(check("LPOS k rank RANK 100 MAXLEN 1000000"), Ok(()), "MAXLEN limits the work");
    for line in ["VSIM k ELE e EF 101", "VSIM k ELE ef FILTER-EF 101", "VADD k VALUES 2 1 1 ef CAS EF 101"] {
        assert_eq!(check(line), Err(Cost::Effort), "{line}");
    }
    assert_eq!(check("VADD k REDUCE 100 FP32 ef ef NOQUANT SETATTR ef M 16 EF 100"), Ok(()));
}

/// Commands with the argument `?` in the place of a pattern.
const PATTERNS: &[&str] = &[
    "SCAN 0 MATCH ?",
    "SCAN 0 COUNT 1 TYPE match MATCH ?",
    "HSCAN k 0 MATCH ? NOVALUES",
    "SSCAN k 0 MATCH ?",
    "ZSCAN k 0 COUNT 5 MATCH ?",
    "PSUBSCRIBE ?",
    "PSUBSCRIBE a b ?",
    "PUBSUB CHANNELS ?",
    "PUBSUB SHARDCHANNELS ?",
    "COMMAND LIST FILTERBY PATTERN ?",
    "KEYS ?",
    "CONFIG GET a ?",
    "FUNCTION LIST WITHCODE LIBRARYNAME ?",
];

#[test]
fn patterns() {
    let long = CostLimits { pattern: 1 << 10, ..LIMITS };
    for template in PATTERNS {
        let with = |limits: &CostLimits, pattern: &str| {
            let line = template.replace('?', pattern);
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            limits.check(id_of(&args), &args)
        };
        assert_eq!(with(&LIMITS, "12345678"), Ok(()), "{template}");
        assert_eq!(with(&LIMITS, "count"), Ok(()), "{template}: a value is not an option");
        assert_eq!(with(&LIMITS, "123456789"), Err(Cost::Pattern), "{template}");
        assert_eq!(with(&long, &"a*".repeat(MAX_STARS)), Ok(()), "{template}");
        assert_eq!(with(&long, &"a*".repeat(MAX_STARS + 1)), Err(Cost::Stars), "{template}");
        assert_eq!(with(&long, &"*".repeat(1 << 10)), Err(Cost::Stars), "{template}");
        assert_eq!(with(&long, &"?".repeat((1 << 10) + 1)), Err(Cost::Pattern), "{template}");
    }
    assert_eq!(check("PUNSUBSCRIBE 123456789"), Ok(()), "compared, not matched");
    assert_eq!(check("PUBSUB CHANNELS"), Ok(()));
}

/// The limit `offset` is 1000 bytes, which is 8000 bits.
#[test]
fn offsets() {
    let above = [
        ("SETRANGE k 1000 v", Ok(())),
        ("SETRANGE k 1001 v", Err(Cost::Offset)),
        ("SETRANGE k 0x1 v", Err(Cost::NotANumber)),
        ("SETRANGE k #1001 v", Err(Cost::NotANumber)),
        ("SETRANGE k 18446744073709551616 v", Err(Cost::Offset)),
        ("SETBIT k 8000 1", Ok(())),
        ("SETBIT k 8001 1", Err(Cost::BitOffset)),
        ("SETBIT k 4294967295 1", Err(Cost::BitOffset)),
        ("BITFIELD k SET u8 8000 1", Ok(())),
        ("BITFIELD k SET u8 8001 1", Err(Cost::BitOffset)),
        ("BITFIELD k SET u8 #1000 1", Ok(())),
        ("BITFIELD k SET u8 #1001 1", Err(Cost::BitOffset)),
        ("BITFIELD k INCRBY i64 #125 1", Ok(())),
        ("BITFIELD k INCRBY i64 #126 1", Err(Cost::BitOffset)),
        ("BITFIELD k SET u1 #8000 1", Ok(())),
        ("BITFIELD k SET nonsense #126 1", Err(Cost::BitOffset)),
        ("BITFIELD k SET u8 #18446744073709551615 1", Err(Cost::BitOffset)),
        ("BITFIELD k GET u8 4294967288 GET u8 #9000", Ok(())),
        ("BITFIELD k GET u8 set OVERFLOW set INCRBY u8 0 1 set u8 9999 1", Err(Cost::BitOffset)),
        ("BITFIELD k GET u8 0 NEW u8 9999 1", Err(Cost::Syntax)),
        ("BITFIELD k SET u8 # 1", Err(Cost::NotANumber)),
        ("BITFIELD k SET u8", Ok(())),
        ("BITFIELD_RO k GET u8 4294967288", Ok(())),
        ("GETBIT k 4294967295", Ok(())),
        ("GETRANGE k 0 -1", Ok(())),
    ];
    for (line, due) in above {
        assert_eq!(check(line), due, "{line}");
    }
}

/// The check ignores values that look like options, and numbers that do not raise the cost.
#[test]
fn other_arguments_are_not_judged() {
    for line in [
        "XREAD STREAMS COUNT 9000 0 0",
        "XREADGROUP GROUP COUNT 9000 STREAMS COUNT 9000 0 0",
        "LMPOP 3 COUNT 9000 k LEFT",
        "LPOS k COUNT",
        "SCAN 0 MATCH COUNT",
        "SCAN 0 COUNT",
        "GEOSEARCH k FROMMEMBER COUNT BYRADIUS 9000 m",
        "XADD s MAXLEN 9000 LIMIT 9000 * COUNT 9000",
        "LREM k 9000 COUNT",
        "LRANGE k 0 9000",
        "ZRANGEBYSCORE k 0 1 LIMIT 9000 9000",
        "SINTERCARD 2 a b LIMIT 9000",
        "SET COUNT 9000",
        "GET k",
        "SRANDMEMBER k",
        "XPENDING k g",
    ] {
        assert_eq!(check(line), Ok(()), "{line}");
    }
}

/// After an unknown option it is not certain which arguments are values, so all arguments are checked.
#[test]
fn options_of_later_servers_hide_nothing() {
    for line in [
        "SCAN 0 NEW COUNT 101",
        "SCAN 0 NEW MATCH COUNT 101",
        "SCAN 0 NEW COUNT COUNT 101",
        "SCAN 0 NEW x y COUNT 101",
        "XREAD NEW STREAMS COUNT 101",
        "VSIM k NEW VALUES COUNT 101",
        "VSIM k VALUES many COUNT 101",
        "VSIM k VALUES 0 COUNT 101",
        "LMPOP -1 a COUNT 101",
        "LMPOP 02 COUNT 101 LEFT",
        "ZMPOP 0 COUNT 101",
    ] {
        assert!(check(line).is_err(), "{line}");
    }
    assert_eq!(check("SCAN 0 NEW COUNT 100 MATCH a*"), Ok(()));
    assert_eq!(
        check("LMPOP 99999999999999999999999 COUNT 101"),
        Ok(()),
        "Redis finds no direction after the keys"
    );
}

/// Each argument of a frame with a MiB of options is read once.
#[test]
fn each_argument_is_read_once() {
    use std::cell::Cell;

    struct Counting(usize, Cell<usize>, &'static [u8]);
    impl Argv<'static> for Counting {
        fn count(&self) -> usize {
            self.0
        }

        fn arg(&self, index: usize) -> Option<&'static [u8]> {
            assert!(index + 1 >= self.1.get(), "back from {} to {index}", self.1.get());
            self.1.set(index + 1);
            (index < self.0).then_some(self.2)
        }
    }
    for id in CommandId::all() {
        for argument in [&b"1"[..], b"count", b"values", b"match", b"get", b"set"] {
            let args = Counting(50_000, Cell::new(0), argument);
            let _ = LIMITS.check(id, &args);
        }
    }
}

#[test]
fn errors_for_the_client() {
    let limits = CostLimits::default();
    let texts = [
        (Cost::Count, "ERR portcullis: COUNT above 10000 is not allowed here"),
        (Cost::Rank, "ERR portcullis: RANK above 10000 is not allowed here"),
        (Cost::Effort, "ERR portcullis: EF above 10000 is not allowed here"),
        (Cost::Pattern, "ERR portcullis: a pattern above 1024 bytes is not allowed here"),
        (Cost::Stars, "ERR portcullis: a pattern with more than 16 stars is not allowed here"),
        (Cost::Offset, "ERR portcullis: an offset above 8388608 is not allowed here"),
        (Cost::BitOffset, "ERR portcullis: a bit offset above 67108864 is not allowed here"),
        (Cost::NotANumber, "ERR value is not an integer or out of range"),
        (Cost::Syntax, "ERR syntax error"),
    ];
    for (cost, text) in texts {
        assert_eq!(cost.text(&limits), text);
    }
}

/// The check needs only the arguments before a large value.
#[test]
fn needed_arguments_of_commands() {
    let needed = |name: &str| needed_arguments(lookup(name.as_bytes()).unwrap());
    assert_eq!((needed("SETRANGE"), needed("SETBIT"), needed("SPOP"), needed("KEYS")), (3, 3, 3, 2));
    assert_eq!((needed("SCAN"), needed("BITFIELD"), needed("PSUBSCRIBE")), (u64::MAX, u64::MAX, u64::MAX));
    assert_eq!((needed("GET"), needed("MSET")), (0, 0));
}
