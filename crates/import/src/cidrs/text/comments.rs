//! Comments of plain text, YAML, SQL and Terraform.

/// Removes comments, also those that span several lines.
#[derive(Default)]
pub(super) struct Comments {
    /// The text that ends the open comment. `None` outside such comments.
    until: Option<&'static str>,
}

impl Comments {
    /// Returns the line without its comments. The line continues after a comment that ends in it. A comment to the end
    /// of the line is `#`, `;`, `//` or `--` at its beginning or after a space.
    pub(super) fn without(&mut self, line: &str) -> String {
        let (mut kept, mut rest) = (String::new(), line);
        loop {
            if let Some(end) = self.until {
                let Some((_, after)) = rest.split_once(end) else { return kept };
                (self.until, rest) = (None, after);
                kept.push(' ');
            }
            let marks = ["/*", "<!--", "#", ";", "//", "-- "];
            let begins = |at: usize| rest[..at].chars().next_back().is_none_or(char::is_whitespace);
            let first = marks
                .iter()
                .filter_map(|mark| {
                    let at = rest.match_indices(mark).map(|(at, _)| at).find(|at| begins(*at))?;
                    Some((at, *mark))
                })
                .min();
            let Some((at, mark)) = first else {
                kept.push_str(rest);
                return kept;
            };
            kept.push_str(&rest[..at]);
            self.until = match mark {
                "/*" => Some("*/"),
                "<!--" => Some("-->"),
                _ => return kept,
            };
            rest = &rest[at + mark.len()..];
        }
    }
}
