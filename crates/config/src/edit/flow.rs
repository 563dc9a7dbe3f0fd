//! Edits of lists in brackets and of mappings in braces, on one line or on several.

use std::ops::Range;

use super::yaml::{Splice, Stuck, line_break, line_end, line_start};

/// Adds items after the last one: on lines of their own if the last one has one, else beside it.
pub(super) fn append(
    text: &str,
    whole: &Range<usize>,
    items: &[Range<usize>],
    new: &[String],
) -> Result<Vec<Splice>, Stuck> {
    let (open, close) = inside(text, whole)?;
    let Some(last) = items.last() else {
        let inner = &text[open..close];
        let until = if inner.trim().is_empty() && !inner.contains('\n') { close } else { open };
        return Ok(vec![Splice { range: open..until, with: new.join(", ") }]);
    };
    let comma = comma(text, last.end..close)?;
    let start = line_start(text, last.start);
    let end = line_end(text, last.end);
    let own_line = start >= open && text[start..last.start].trim().is_empty() && end <= close;
    if own_line && comma.is_none_or(|comma| comma < end) {
        let indent = &text[start..last.start];
        let line_break = line_break(text);
        let lines = new.join(&format!(",{line_break}{indent}"));
        return Ok(match comma {
            Some(_) => vec![Splice::insert(end, format!("{indent}{lines},{line_break}"))],
            None => vec![
                Splice::insert(last.end, ","),
                Splice::insert(end, format!("{indent}{lines}{line_break}")),
            ],
        });
    }
    Ok(match comma {
        Some(comma) => vec![Splice::insert(comma + 1, format!(" {},", new.join(", ")))],
        None => vec![Splice::insert(last.end, format!(", {}", new.join(", ")))],
    })
}

/// Removes an item and one comma; if the item has its own line, the line and its comment go too.
pub(super) fn remove(
    text: &str,
    whole: &Range<usize>,
    items: &[Range<usize>],
    index: usize,
) -> Result<Vec<Splice>, Stuck> {
    let (open, close) = inside(text, whole)?;
    let Some(item) = items.get(index) else { return Err(Stuck::new(whole.start, ODD)) };
    let before = index.checked_sub(1).and_then(|at| items.get(at)).map_or(open, |item| item.end);
    let after = items.get(index + 1).map_or(close, |item| item.start);
    let comma_before = comma(text, before..item.start)?;
    let comma_after = comma(text, item.end..after)?;
    let behind = comma_after.map_or(item.end, |comma| comma + 1);

    let lines = line_start(text, item.start)..line_end(text, behind);
    let rest = text[behind..lines.end].trim_start();
    // Some put the comma in front.
    let head = text[lines.start..item.start].trim();
    let own = lines.start >= open
        && lines.end <= close
        && (head.is_empty() || head == "," && comma_after.is_none())
        && (rest.is_empty() || rest.starts_with('#'));
    if own {
        return Ok(vec![Splice::cut(lines)]);
    }
    let range = match (comma_after, comma_before) {
        (Some(_), _) => with_spaces(text, item.start..behind, open, close),
        // The comma before would be needless, unless a comment stands between: then it goes on as a last one.
        (None, Some(comma)) if text[comma + 1..item.start].trim_matches([' ', '\t']).is_empty() => {
            comma..item.end
        }
        (None, _) => item.clone(),
    };
    let left = [&text[open..range.start], &text[range.end..close]].concat();
    if left.trim().is_empty() && !left.contains('\n') {
        return Ok(vec![Splice::cut(open..close)]);
    }
    Ok(vec![Splice::cut(range)])
}

const ODD: &str = "the list is written in a form that cannot be edited";

/// Returns the offsets after the opening and of the closing bracket.
fn inside(text: &str, whole: &Range<usize>) -> Result<(usize, usize), Stuck> {
    let list = &text[whole.clone()];
    let pair = [('[', ']'), ('{', '}')]
        .iter()
        .any(|(open, close)| list.starts_with(*open) && list.ends_with(*close));
    match pair && list.len() >= 2 {
        true => Ok((whole.start + 1, whole.end - 1)),
        false => Err(Stuck::new(whole.start, ODD)),
    }
}

/// Extends the range by the spaces before the next item; at the end of a line or before a comment, by those before
/// this item.
fn with_spaces(text: &str, range: Range<usize>, open: usize, close: usize) -> Range<usize> {
    let blank = |c: char| c == ' ' || c == '\t';
    let rest = &text[range.end..close];
    let spaces = rest.len() - rest.trim_start_matches(blank).len();
    // A comment needs the space before it.
    if rest[spaces..].chars().next().is_none_or(|c| matches!(c, '\n' | '\r' | '#')) {
        let head = &text[open..range.start];
        return open + head.trim_end_matches(blank).len()..range.end;
    }
    range.start..range.end + spaces
}

/// Finds the comma in a piece of text that has only spaces and comments otherwise.
fn comma(text: &str, range: Range<usize>) -> Result<Option<usize>, Stuck> {
    let mut found = None;
    let mut comment = false;
    for (at, c) in text[range.clone()].char_indices().map(|(at, c)| (range.start + at, c)) {
        match c {
            '\n' => comment = false,
            _ if comment => {}
            '#' => comment = true,
            ',' if found.is_none() => found = Some(at),
            ' ' | '\t' | '\r' => {}
            _ => return Err(Stuck::new(at, "the entry has an anchor or a tag")),
        }
    }
    Ok(found)
}
