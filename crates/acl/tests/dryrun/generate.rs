//! Rules and command lines, always the same for the same seed.

use portcullis_resp::value::Value;

/// Splitmix64, a generator of pseudo-random numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }

    /// One of the words, in any mixture of upper and lower case.
    pub(crate) fn pick_case(&mut self, from: &[&str]) -> String {
        let picked = self.pick(from);
        self.case(picked)
    }

    /// The text in any mixture of upper and lower case.
    pub(crate) fn case(&mut self, text: &str) -> String {
        text.chars().map(|c| if self.one_in(2) { c.to_ascii_uppercase() } else { c }).collect()
    }
}

/// A command of the server.
pub(crate) struct Known {
    /// `config|get`
    pub(crate) name: String,
    pub(crate) arity: i64,
    pub(crate) categories: Vec<String>,
    pub(crate) is_container: bool,
}

impl Known {
    pub(crate) fn of(entry: &Value) -> Vec<Self> {
        let fields = entry.as_array().unwrap();
        let subcommands = fields[9].as_array().unwrap();
        let own = Self {
            name: fields[0].as_str().unwrap().to_owned(),
            arity: fields[1].as_integer().unwrap(),
            categories: fields[6]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap().trim_start_matches('@').to_owned())
                .collect(),
            is_container: !subcommands.is_empty(),
        };
        std::iter::once(own).chain(subcommands.iter().flat_map(Self::of)).collect()
    }
}

pub(crate) const KEYS: &[&str] =
    &["app:1", "app:2", "app:", "tmp:1", "a", "b", "", "[x]", "app:\u{e9}", "dir/sub/leaf", "*", "a*c"];

const PATTERNS: &[&str] = &[
    "app:*", "app:?", "app:[12]", "tmp:*", "a", "?", "", "*:1", "a*", "*b*", "[^a]*", "\\[x]", "d*/s*f",
    "**", "app:[1-", "[a-b]", "*[", "\\*", "a\\*c", "app:1", "[]", "[^]*",
];

const CHANNELS: &[&str] = &["news:*", "news:1", "a", "", "?", "*1", "news:", "**"];

/// Words that mean something to some command, and keys, and channels.
const WORDS: &[&str] = &[
    "app:1",
    "app:2",
    "tmp:1",
    "a",
    "b",
    "",
    "news:1",
    "news:*",
    "other",
    "0",
    "1",
    "2",
    "3",
    "-1",
    "STORE",
    "store",
    "STOREDIST",
    "LIMIT",
    "BY",
    "nosort",
    "w_*",
    "GET",
    "#",
    "ASC",
    "KEYS",
    "STREAMS",
    "COUNT",
    "BLOCK",
    "GROUP",
    "NOACK",
    "AUTH",
    "COPY",
    "WITHSCORES",
    "WEIGHTS",
    "LEFT",
    "MIN",
    "EX",
    "NX",
    "SET",
    "INCRBY",
    "u8",
    "$",
    ">",
    "m",
];

/// Lines of commands whose options decide about keys: `K` is a key, `C` a channel, `?` any word, and any other word
/// itself.
pub(crate) const SHAPES: &[&str] = &[
    "SORT K STORE K",
    "SORT K BY nosort GET # LIMIT 0 1 ASC STORE K",
    "SORT K BY ? GET ? STORE K",
    "SORT K LIMIT STORE K STORE K",
    "SORT_RO K BY ? GET ?",
    "SORT_RO K ALPHA",
    "GEORADIUS K 1 2 3 m STORE K",
    "GEORADIUS K 1 2 3 m COUNT 1 ANY ASC",
    "GEORADIUSBYMEMBER K m 3 m STOREDIST K",
    "GEOSEARCHSTORE K K FROMMEMBER m BYRADIUS 1 m",
    "GEORADIUS_RO K 1 2 3 m",
    "MIGRATE h 1 K 0 100",
    "MIGRATE h 1 K 0 100 COPY REPLACE",
    "MIGRATE h 1  0 100 COPY AUTH ? KEYS K K K",
    "MIGRATE h 1  0 100 AUTH2 ? ? KEYS K",
    "MIGRATE h 1  0 100 AUTH KEYS KEYS K",
    "XREAD STREAMS K K 0 0",
    "XREAD COUNT 1 BLOCK 0 STREAMS K K K 0 0 0",
    "XREADGROUP GROUP g c COUNT 1 NOACK STREAMS K 0",
    "XREADGROUP GROUP STREAMS STREAMS STREAMS K 0",
    "XGROUP CREATE K g $",
    "XINFO STREAM K",
    "EVAL s 2 K K ? ?",
    "EVALSHA s 1 K",
    "EVAL_RO s 0 ? ?",
    "EVALSHA_RO s 2 K K",
    "FCALL f 2 K K c",
    "FCALL_RO f 1 K",
    "ZUNIONSTORE K 2 K K WEIGHTS 1 2",
    "ZINTERSTORE K 1 K AGGREGATE SUM",
    "ZDIFFSTORE K 3 K K K",
    "ZUNION 2 K K WITHSCORES",
    "ZINTER 1 K",
    "ZDIFF 2 K K",
    "ZINTERCARD 2 K K LIMIT 1",
    "SINTERCARD 2 K K LIMIT 1",
    "ZRANGESTORE K K 0 1",
    "SUNIONSTORE K K K",
    "SINTERSTORE K K",
    "SDIFFSTORE K K K",
    "ZMPOP 2 K K MIN COUNT 1",
    "BZMPOP 0 2 K K MIN",
    "LMPOP 2 K K LEFT",
    "BLMPOP 0 1 K LEFT COUNT 2",
    "SET K b EX 1 GET",
    "SET K b NX",
    "SET K get",
    "SET K b",
    "GETSET K v",
    "GETEX K PERSIST",
    "GETDEL K",
    "BITFIELD K GET u8 0 OVERFLOW SUM GET u8 1",
    "BITFIELD K GET u8 0 SET u8 0 1",
    "BITFIELD K INCRBY u8 0 1",
    "BITFIELD_RO K GET u8 0",
    "BITOP AND K K K",
    "MSET K 1 K 2",
    "MSETNX K 1",
    "MGET K K K",
    "DEL K K",
    "EXISTS K K",
    "TOUCH K",
    "TYPE K",
    "STRLEN K",
    "TTL K",
    "BLPOP K K K 0",
    "COPY K K REPLACE",
    "LMOVE K K LEFT LEFT",
    "RPOPLPUSH K K",
    "SMOVE K K m",
    "RENAME K K",
    "RENAMENX K K",
    "MEMORY USAGE K SAMPLES 1",
    "OBJECT FREQ K",
    "OBJECT ENCODING K",
    "DEBUG OBJECT K",
    "DUMP K",
    "RESTORE K 0 x",
    "PFCOUNT K K",
    "PFMERGE K K K",
    "LCS K K",
    "SUBSCRIBE C C",
    "PSUBSCRIBE C",
    "SSUBSCRIBE C C",
    "PUBLISH C m",
    "SPUBLISH C m",
    "UNSUBSCRIBE C",
    "PUNSUBSCRIBE C",
    "SUNSUBSCRIBE C",
    "UNSUBSCRIBE",
    "SELECT 1",
    "SELECT 0",
    "CONFIG GET maxmemory",
    "CLIENT KILL ID 1",
    "PING",
    "PING a",
    "AUTH x",
    "HELLO 3",
    "QUIT",
    "RESET",
    "KEYS *",
    "SCAN 0 MATCH K",
    "RANDOMKEY",
    "FLUSHALL",
    "WATCH K K",
];

/// First arguments in rules.
const FIRST: &[&str] =
    &["select|0", "select|1", "ping|a", "get|app:1", "set|a", "bitop|and", "debug|object", "georadius|a"];

pub(crate) struct Rules {
    /// The rules outside parentheses, and the selectors, each as one word.
    pub(crate) words: Vec<String>,
    pub(crate) names_keys: bool,
    pub(crate) names_channels: bool,
}

impl Rules {
    pub(crate) fn generate(random: &mut Random, commands: &[Known], categories: &[&str]) -> Self {
        let mut rules = Self { words: Vec::new(), names_keys: false, names_channels: false };
        rules.words = list(random, commands, categories, 7);
        let names = |sign: &[char], all: &[&str]| {
            rules
                .words
                .iter()
                .any(|word| word.starts_with(sign) || all.iter().any(|all| word.eq_ignore_ascii_case(all)))
        };
        rules.names_keys = names(&['~', '%'], &["allkeys", "resetkeys"]);
        rules.names_channels = names(&['&'], &["allchannels", "resetchannels"]);
        for _ in 0..random.below(8).saturating_sub(4) {
            let selector = format!("({})", list(random, commands, categories, 4).join(" "));
            let at = random.below(rules.words.len() + 1);
            rules.words.insert(at, selector);
        }
        rules
    }
}

fn list(random: &mut Random, commands: &[Known], categories: &[&str], most: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    // Most commands are refused by name unless some list begins with all of them.
    if random.one_in(2) {
        words.push(random.pick_case(&["+@all", "allcommands"]));
    }
    let count = random.below(most) + 1;
    for _ in 0..count {
        words.push(word(random, commands, categories));
    }
    words
}

fn word(random: &mut Random, commands: &[Known], categories: &[&str]) -> String {
    let sign = if random.one_in(2) { "+" } else { "-" };
    let names: Vec<_> = commands.iter().map(|command| &*command.name).collect();
    match random.below(20) {
        0 => format!("{sign}@{}", random.pick_case(categories)),
        1..=3 => format!("{sign}{}", random.pick_case(&names)),
        4 => format!("{sign}{}", random.pick_case(SHAPES).split(' ').next().unwrap()),
        5 => format!("+{}", random.pick_case(FIRST)),
        6..=9 => format!("~{}", random.pick(PATTERNS)),
        10 | 11 => format!("%{}~{}", random.case("r"), random.pick(PATTERNS)),
        12 => format!("%{}~{}", random.case("w"), random.pick(PATTERNS)),
        13 => format!("%{}~{}", random.case("rw"), random.pick(PATTERNS)),
        14..=16 => format!("&{}", random.pick(CHANNELS)),
        17 => random.pick_case(&["nocommands", "-@all", "allcommands", "+@all"]),
        18 => random.pick_case(&["resetkeys", "allkeys", "~*", "%RW~*", "%R~*"]),
        _ => random.pick_case(&["resetchannels", "allchannels", "&*"]),
    }
}

/// A command line with as many words as the server accepts.
pub(crate) fn line(random: &mut Random, command: &Known) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> =
        command.name.split('|').map(|name| random.case(name).into_bytes()).collect();
    let least = usize::try_from(command.arity.unsigned_abs()).unwrap();
    let more = if command.arity < 0 { random.below(6) } else { 0 };
    while words.len() < least + more {
        let word = if random.one_in(2) { random.pick(KEYS) } else { random.pick(WORDS) };
        words.push(word.as_bytes().to_vec());
    }
    words
}

pub(crate) fn shape(random: &mut Random, shape: &str) -> Vec<Vec<u8>> {
    let mut words = shape.split(' ');
    let name = random.case(words.next().unwrap()).into_bytes();
    let rest = words.map(|word| match word {
        "K" => random.pick(KEYS).as_bytes().to_vec(),
        "C" => random.pick(&["news:1", "news:2", "news:*", "a", "", "other", "?", "*1"]).as_bytes().to_vec(),
        "?" => random.pick(WORDS).as_bytes().to_vec(),
        word => word.as_bytes().to_vec(),
    });
    std::iter::once(name).chain(rest).collect()
}
