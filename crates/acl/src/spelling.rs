//! Known words that are like a misspelled one.

/// A longer text is not a misspelled word.
const LONGEST_WORD: usize = 64;

/// The shortest beginning of a word that stands for the word.
const SHORTEST_BEGINNING: usize = 3;

/// Returns the known word that was probably meant: at most a third of the letters may differ, or it is the only one that
/// begins with the text. Case does not count, and neither does `-` for `_`.
pub fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    let length = text.chars().count();
    let near = within(text, words.iter().copied(), (length / 3).max(1));
    if near.is_some() || !(SHORTEST_BEGINNING..=LONGEST_WORD).contains(&length) {
        return near;
    }
    let written = folded(text);
    let mut longer = words.iter().filter(|word| folded(word).starts_with(&written));
    longer.next().copied().filter(|_| longer.next().is_none())
}

/// Returns the first of the known words that differ from the text by the fewest edits, and by at most `budget`.
pub fn within<'w>(text: &str, words: impl IntoIterator<Item = &'w str>, budget: usize) -> Option<&'w str> {
    if text.chars().count() > LONGEST_WORD {
        return None;
    }
    let written = folded(text);
    let near = words.into_iter().filter_map(|word| {
        let word_folded = folded(word);
        // Each letter that one of them has more is an edit.
        let distance = match word_folded.len().abs_diff(written.len()) {
            more if more > budget => return None,
            _ => distance(&written, &word_folded),
        };
        (distance <= budget).then_some((distance, word))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

fn folded(text: &str) -> Vec<char> {
    text.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Counts the edits between two words; a swap of neighbours counts as one.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let edit = last[j] + usize::from(a != b);
            let mut best = edit.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests;
