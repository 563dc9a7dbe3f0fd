//! The `error` label: the first word of an error reply, if Redis itself uses that word.

/// The words in alphabetical order, then `other`. These are all words in the sources of Redis 7.0.15 (server,
/// Sentinel and Cluster).
pub(super) const PREFIXES: [&str; 34] = [
    "ASK",
    "BUSY",
    "BUSYGROUP",
    "BUSYKEY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "DENIED",
    "ERR",
    "EXECABORT",
    "INPROG",
    "INVALIDOBJ",
    "IOERR",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOGOODSLAVE",
    "NOGROUP",
    "NOMASTERLINK",
    "NOPERM",
    "NOPROTO",
    "NOQUORUM",
    "NOREPLICAS",
    "NOSCRIPT",
    "NOTBUSY",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
    "UNKILLABLE",
    "WRONGPASS",
    "WRONGTYPE",
    OTHER,
];

const OTHER: &str = "other";
const OTHER_INDEX: usize = PREFIXES.len() - 1;
/// The length of the longest word. No more letters of a reply are read, because longer words are not in the set.
const LONGEST: usize = 12;

/// Returns the index in [`PREFIXES`] for an error reply such as `-WRONGTYPE Operation...`. The `-` may be missing,
/// and the line may be cut off after the first word. The body of a RESP3 bulk error is accepted as well.
pub(super) fn index_of(line: &[u8]) -> usize {
    let line = line.strip_prefix(b"-").unwrap_or(line);
    let end = line.iter().take(LONGEST + 1).position(|byte| !byte.is_ascii_uppercase()).unwrap_or(line.len());
    let word = line.get(..end).filter(|word| word.len() <= LONGEST).map_or(0, packed);
    KEYS.binary_search(&word).unwrap_or(OTHER_INDEX)
}

/// The words of [`PREFIXES`] as numbers. Comparing numbers is a few times faster than comparing strings.
const KEYS: [u128; OTHER_INDEX] = {
    let mut keys = [0; OTHER_INDEX];
    let mut index = 0;
    while index < OTHER_INDEX {
        keys[index] = packed(PREFIXES[index].as_bytes());
        index += 1;
    }
    keys
};

/// Returns a word of at most 16 letters as a number, padded with zeros, so that numbers have the order of the words.
const fn packed(word: &[u8]) -> u128 {
    let mut letters = [0; 16];
    let mut index = 0;
    while index < word.len() {
        letters[index] = word[index];
        index += 1;
    }
    u128::from_be_bytes(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(line: &[u8]) -> &'static str {
        PREFIXES[index_of(line)]
    }

    #[test]
    fn every_word_is_found_and_nothing_else_is() {
        assert!(KEYS.is_sorted(), "binary search needs order");
        assert_eq!(PREFIXES.iter().map(|word| word.len()).max(), Some(LONGEST));
        for word in &PREFIXES[..OTHER_INDEX] {
            assert_eq!(name(format!("-{word} text").as_bytes()), *word);
            assert_eq!(name(format!("-{word}\r\n").as_bytes()), *word);
            assert_eq!(name(word.as_bytes()), *word);
        }
        for line in [
            &b"-err lower case"[..],
            b"-MYSCRIPT client-chosen word",
            b"-",
            b"",
            b"- ERR",
            b"-ERRX",
            b"-other",
            b"-WRONGTYPEWRONGTYPEWRONGTYPE",
            b"-\xff\xfe",
        ] {
            assert_eq!(name(line), "other", "{line:?}");
        }
    }
}
