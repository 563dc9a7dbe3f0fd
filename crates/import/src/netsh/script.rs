//! The lines of scripts for cmd and PowerShell, split into commands.

use std::iter::Peekable;
use std::str::Chars;

/// Words that begin a statement whose commands may run or not.
const CONDITIONS: [&str; 14] = [
    "if",
    "else",
    "elseif",
    "for",
    "foreach",
    "foreach-object",
    "while",
    "until",
    "switch",
    "function",
    "filter",
    "catch",
    "trap",
    "where-object",
];
/// Commands that succeed in general, so the command after `&&` runs.
const SUCCEEDING: [&str; 5] = ["netsh", "netsh.exe", "echo", "cd", "pushd"];

/// One command.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) text: String,
    /// Whether a condition decides if the command runs.
    pub(super) is_conditional: bool,
    /// Whether the command has ended with a redirection.
    is_redirected: bool,
}

/// The blocks that are open between two lines of a script.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// One flag for each open block: whether a condition decides if its commands run.
    open: Vec<bool>,
    /// Whether the last line ends with the head of a statement whose block may begin on the next line.
    head: bool,
}

/// Returns the lines of a script with their numbers, without PowerShell's block comments. A line that ends in `^` or a
/// backtick continues on the next line.
pub(super) fn lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    let has_comments = text.contains("<#") && text.contains("#>");
    let mut in_comment = false;
    for (number, written) in (1..).zip(text.lines()) {
        let written = match has_comments {
            true => outside_comments(written, &mut in_comment),
            false => written.to_owned(),
        };
        let written = written.trim();
        let (part, next) = match written.strip_suffix(['^', '`']) {
            Some(part) => (part.trim_end(), true),
            None => (written, false),
        };
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, line)) => {
                line.push(' ');
                line.push_str(part);
                goes_on = next;
            }
            None => {
                goes_on = next && !is_comment(part);
                lines.push((number, part.to_owned()));
            }
        }
    }
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

/// Returns the part of a line that is outside `<# ... #>`. Such a comment can begin on one line and end on another.
fn outside_comments(written: &str, inside: &mut bool) -> String {
    let (mut left, mut rest) = (String::new(), written);
    loop {
        let (before, after) = match rest.split_once(if *inside { "#>" } else { "<#" }) {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        if !*inside {
            left.push_str(before);
        }
        let Some(after) = after else { return left };
        *inside = !*inside;
        rest = after;
    }
}

fn is_comment(line: &str) -> bool {
    line.starts_with(['#', ':']) || is_rem(first_word(line))
}

/// Returns whether the word is `rem`, which makes the rest of the line a comment in cmd.
fn is_rem(word: &str) -> bool {
    word.eq_ignore_ascii_case("rem")
}

/// Returns the first word of a command. In cmd a `@` before it only keeps the command out of the output.
pub(super) fn first_word(command: &str) -> &str {
    command.split_whitespace().next().unwrap_or_default().trim_start_matches('@')
}

/// Returns whether a command begins with a condition.
pub(super) fn begins_with_condition(command: &str) -> bool {
    CONDITIONS.iter().any(|word| first_word(command).eq_ignore_ascii_case(word))
}

impl Script {
    /// Returns the commands of a line, without redirections.
    pub(super) fn parts(&mut self, line: &str) -> Vec<Part> {
        if is_comment(line) {
            return Vec::new();
        }
        let mut reader = Reader { chars: line.chars().peekable(), quote: None };
        let mut head = std::mem::take(&mut self.head) && line.starts_with('{');
        let mut parts = vec![self.part(head)];
        while let Some(c) = reader.next() {
            let Some(part) = parts.last_mut() else { break };
            if reader.quote.is_some() || !"#{}();&|> \t".contains(c) {
                part.push(c);
                continue;
            }
            let next = reader.chars.peek().copied();
            match c {
                // PowerShell takes the rest of the line for a comment, and cmd takes it after `rem`.
                '#' if part.text.is_empty() || part.text.ends_with([' ', '\t']) => break,
                ' ' | '\t' if is_rem(part.text.trim().trim_start_matches('@')) => {
                    parts.pop();
                    break;
                }
                '{' | '(' => {
                    let head = std::mem::take(&mut head);
                    self.open.push(head || part.is_conditional || begins_with_condition(&part.text));
                }
                // After the parentheses of `if (...)` its block begins.
                ')' => head = self.open.pop().unwrap_or(false),
                '}' => {
                    self.open.pop();
                    head = false;
                }
                // `&` in `2>&1` is a part of the redirection. Before the first word, `&` calls a program in PowerShell.
                '&' if part.is_redirected && next.is_some_and(|next| next.is_ascii_digit()) => continue,
                '>' => {
                    part.redirect();
                    continue;
                }
                // In cmd a condition holds for the rest of the line.
                '&' => head |= begins_with_condition(&part.text),
                ';' => head = false,
                '|' => {}
                c => {
                    part.push(c);
                    continue;
                }
            }
            let depends = part.decides_about_the_next(c, next);
            parts.push(self.part(head || depends));
        }
        self.head = head || parts.last().is_some_and(|part| begins_with_condition(&part.text));
        let trimmed = parts.into_iter().map(|part| Part { text: part.text.trim().to_owned(), ..part });
        trimmed.filter(|part| !part.text.is_empty()).collect()
    }

    fn part(&self, is_conditional: bool) -> Part {
        Part { is_conditional: is_conditional || self.open.contains(&true), ..Part::default() }
    }
}

impl Part {
    /// Returns whether the result of this command, or of the commands before it, decides if the next command runs. The
    /// separator is `c`, and `next` is the character behind it.
    fn decides_about_the_next(&self, c: char, next: Option<char>) -> bool {
        let succeeds = SUCCEEDING.iter().any(|name| first_word(&self.text).eq_ignore_ascii_case(name));
        match c {
            '|' => true,
            // The second `&` of `&&` keeps the condition of the first.
            '&' if self.text.is_empty() => self.is_conditional,
            '&' => next == Some('&') && !succeeds,
            _ => false,
        }
    }

    fn push(&mut self, c: char) {
        if !self.is_redirected {
            self.text.push(c);
        }
    }

    /// Ends the command before a redirection, and removes the number of the stream.
    fn redirect(&mut self) {
        self.is_redirected = true;
        let without = self.text.trim_end_matches(|c: char| c.is_ascii_digit() || c == '*').len();
        // `2>nul` redirects the second stream. In `6379 >nul` the number is a value.
        if self.text[..without].ends_with(' ') {
            self.text.truncate(without);
        }
    }
}

/// The characters of a line, and the quote that is open.
struct Reader<'l> {
    chars: Peekable<Chars<'l>>,
    quote: Option<char>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        match self.quote {
            None if c == '"' || c == '\'' => self.quote = Some(c),
            Some(open) if open == c => self.quote = None,
            _ => {}
        }
        Some(c)
    }
}
