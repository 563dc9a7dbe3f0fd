//! From rules in any order to two lists of which deny is the stronger.

use std::collections::HashSet;

use portcullis_config::message::Message;

use super::sources::{Net, Sources};

/// An entry of `allow` or `deny`, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) net: Net,
    /// For the comment behind it: a line; may be empty.
    pub(super) origin: Message,
    /// The name its list had there.
    pub(super) group: Option<String>,
}

/// What a listener's lists will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) allow: Vec<Entry>,
    pub(super) deny: Vec<Entry>,
}

/// Lists that admit just `exact` among `reach`, the sources that can connect at all.
///
/// The entries as they were `written` serve when deny over allow makes the same of them; else they are cut into
/// prefixes, in `deny` or in `allow`, whichever needs fewer. Sources in `blur` may be left out, never let in.
pub(super) fn express(written: Lists, exact: &Sources, reach: &Sources, blur: &Sources) -> Lists {
    let exact = exact.and(reach).folded();
    if exact.is_empty() {
        return Lists { allow: Vec::new(), deny: written.deny };
    }
    let allow: Vec<Entry> =
        written.allow.into_iter().filter(|entry| Sources::from(entry.net).meets(reach)).collect();
    let written = Lists { allow: without_repeats(allow), deny: without_repeats(written.deny) };
    let admitted = set(&written.allow).and(reach).folded();
    let serves = |lists: &Lists| {
        let made = set(&lists.allow).less(&set(&lists.deny)).and(reach).folded();
        made.is_within(&exact) && exact.less(&made).is_within(blur)
    };
    if serves(&written) {
        return written;
    }
    let cut = |sources: &Sources| -> Vec<Entry> {
        let entry = |net| Entry { net, origin: "".into(), group: None };
        sources.nets().into_iter().map(entry).collect()
    };
    let wanted = exact.less(blur).or(&exact.and(&admitted));
    let by_allow = |sources| Lists { allow: cut(sources), deny: Vec::new() };
    let by_deny = Lists { deny: cut(&admitted.less(&exact)), allow: written.allow };
    let size = |lists: &Lists| lists.allow.len() + lists.deny.len();
    let candidates = [by_allow(&wanted), by_allow(&exact), by_deny];
    candidates.into_iter().filter(serves).min_by_key(size).unwrap_or_default()
}

fn set(entries: &[Entry]) -> Sources {
    entries.iter().map(|entry| entry.net).collect()
}

/// An entry says nothing more once it was written, or beside a whole family.
fn without_repeats(entries: Vec<Entry>) -> Vec<Entry> {
    let whole: Sources =
        entries.iter().map(|entry| entry.net).filter(|net| Net::all().contains(net)).collect();
    let mut seen = HashSet::new();
    let says_more = |entry: &Entry| {
        let covered = !Net::all().contains(&entry.net) && Sources::from(entry.net).is_within(&whole);
        !covered && seen.insert(entry.net)
    };
    entries.into_iter().filter(says_more).collect()
}

#[cfg(test)]
mod tests;
