//! Turns rules that are read in order into an `allow` and a `deny` list, of which `deny` is the stronger.

use std::collections::HashSet;

use portcullis_config::message::Message;

use super::sources::{Net, Sources};

/// An entry of `allow` or `deny`, with the comment that names its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) net: Net,
    /// The comment behind the entry. It may be empty.
    pub(super) origin: Message,
    /// The name that the list of the entry has in the imported file. `None` if it has no name.
    pub(super) group: Option<String>,
}

/// The two lists of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) allow: Vec<Entry>,
    pub(super) deny: Vec<Entry>,
}

/// Returns lists that admit exactly the sources in `exact`. Only sources in `reach` count, because others cannot
/// connect.
///
/// The entries stay as they were `written` if `deny` over `allow` then admits the same sources. If not, they are split
/// into prefixes, in `deny` or in `allow`, whichever needs fewer entries. The lists may leave out sources in `blur`,
/// and never admit a source outside `exact`.
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

/// Returns the part of `exact` that the entries name, and whether `exact` has more sources. An entry for a whole
/// address family does not count as a name.
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

/// Removes repeated entries, and entries that an entry for their whole family covers.
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
