//! Lists of which deny is the stronger, made of rules in any order.

use std::collections::HashSet;

use portcullis_config::message::Message;

use super::sources::{Net, Sources};

/// An entry of `allow` or `deny`, and the line that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) net: Net,
    /// Comment behind the entry. May be empty.
    pub(super) origin: Message,
    /// The name that its list has in the imported file.
    pub(super) group: Option<String>,
}

/// The two lists of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) allow: Vec<Entry>,
    pub(super) deny: Vec<Entry>,
}

/// Makes lists that admit just `exact` among `reach`, the sources that can connect at all.
///
/// The entries as they were `written` serve when deny over allow makes the same of them; else they are cut into
/// prefixes, in `deny` or in `allow`, whichever needs fewer. Sources in `blur` may be left out, and are never admitted.
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

/// Returns the part of `exact` that entries name, and whether there is more. An entry for a whole family names no source.
pub(super) fn named(entries: Vec<Entry>, exact: &Sources) -> (Vec<Entry>, bool) {
    let names = |entry: &Entry| !Net::all()[..2].contains(&entry.net);
    let entries = without_repeats(entries.into_iter().filter(names).collect());
    let set = set(&entries);
    let more = !exact.is_within(&set);
    if set.is_within(exact) {
        return (entries, more);
    }
    let nets = set.and(exact).folded().nets().into_iter();
    (nets.map(|net| Entry { net, origin: "".into(), group: None }).collect(), more)
}

fn set(entries: &[Entry]) -> Sources {
    entries.iter().map(|entry| entry.net).collect()
}

/// Drops entries that were written before, and those that stand beside their whole family.
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
