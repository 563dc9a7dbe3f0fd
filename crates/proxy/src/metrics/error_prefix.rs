//! The `error` label: the first word of an error reply, as long as it is one that Redis itself writes.

/// The words, in alphabetical order, then `other`: all that the sources of Redis 7.0.15 (server, Sentinel and Cluster)
/// contain.
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
/// Longer words cannot be in the set, so no more than this is looked at.
const LONGEST: usize = 12;

/// The place in [`PREFIXES`] of an error reply: `-WRONGTYPE Operation...`, with or without its `-`, whole or cut off
/// after the first word, or the body of a RESP3 bulk error.
pub(super) fn index_of(line: &[u8]) -> usize {
    let line = line.strip_prefix(b"-").unwrap_or(line);
    let end = line.iter().take(LONGEST + 1).position(|byte| !byte.is_ascii_uppercase()).unwrap_or(line.len());
    let word = line.get(..end).unwrap_or_default();
    if word == b"ERR" {
        return ERR_INDEX;
    }
    PREFIXES[..OTHER_INDEX].binary_search_by(|known| known.as_bytes().cmp(word)).unwrap_or(OTHER_INDEX)
}

const ERR_INDEX: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(line: &[u8]) -> &'static str {
        PREFIXES[index_of(line)]
    }

    #[test]
    fn every_word_is_found_and_nothing_else_is() {
        assert!(PREFIXES[..OTHER_INDEX].is_sorted(), "binary search needs order");
        assert_eq!(PREFIXES[ERR_INDEX], "ERR");
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
