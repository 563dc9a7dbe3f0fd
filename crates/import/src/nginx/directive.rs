//! The grammar of nginx files: words, quotes, comments, `;` and blocks.

use std::fmt;
use std::iter::Peekable;
use std::rc::Rc;
use std::str::Chars;

use portcullis_config::message::{Message, message};

use crate::at::At;
use crate::notes::{Notes, What};

/// The deepest nesting of blocks. nginx has no limit; its own blocks nest four deep.
const DEEPEST: usize = 16;

/// A directive, `name word word;` or `name word { ... }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// The place of the first word.
    pub(super) at: At,
    /// The words, of which there is at least one.
    pub(super) words: Vec<String>,
    pub(super) block: Option<Vec<Self>>,
}

impl Directive {
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))?;
        if self.block.is_some() { f.write_str(" {...}") } else { Ok(()) }
    }
}

impl What for &Directive {
    fn message(self, notes: &Notes) -> Message {
        message!("{}", notes.quote(&self.to_string()))
    }
}

/// Parses a whole file. `file` is its name, or `None` for the imported file.
///
/// # Errors
/// The number of the line, and the problem in it.
pub(super) fn parse(text: &str, file: Option<&Rc<str>>) -> Result<Vec<Directive>, (usize, Message)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    let mut open: Vec<(Directive, Vec<Directive>)> = Vec::new();
    let mut here: Vec<Directive> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut start = 1;
    while let Some(token) = reader.token()? {
        match token {
            Token::Word(word) => {
                if words.is_empty() {
                    start = reader.line;
                }
                words.push(word);
            }
            Token::End if words.is_empty() => return Err((reader.line, "unexpected ';'".into())),
            Token::End => {
                let at = At::of(file, start);
                here.push(Directive { at, words: std::mem::take(&mut words), block: None });
            }
            Token::Open if words.is_empty() => return Err((reader.line, "unexpected '{'".into())),
            Token::Open if open.len() >= DEEPEST => {
                return Err((reader.line, message!("more than {} blocks in each other", DEEPEST)));
            }
            Token::Open => {
                let at = At::of(file, start);
                let directive = Directive { at, words: std::mem::take(&mut words), block: None };
                open.push((directive, std::mem::take(&mut here)));
            }
            Token::Close => {
                let Some((mut directive, outside)) = open.pop().filter(|_| words.is_empty()) else {
                    return Err((reader.line, "unexpected '}'".into()));
                };
                directive.block = Some(std::mem::replace(&mut here, outside));
                here.push(directive);
            }
        }
    }
    match (words.is_empty(), open.is_empty()) {
        (true, true) => Ok(here),
        (false, _) => Err((reader.line, "unexpected end of file, expecting ';' or '}'".into())),
        (true, false) => Err((reader.line, "unexpected end of file, expecting '}'".into())),
    }
}

enum Token {
    Word(String),
    End,
    Open,
    Close,
}

struct Reader<'t> {
    chars: Peekable<Chars<'t>>,
    line: usize,
}

impl Reader<'_> {
    fn token(&mut self) -> Result<Option<Token>, (usize, Message)> {
        loop {
            match self.chars.peek().copied() {
                None => return Ok(None),
                Some(c) if c.is_ascii_whitespace() => {
                    self.take();
                }
                Some('#') => while self.take().is_some_and(|c| c != '\n') {},
                Some(';') => return Ok(self.take().map(|_| Token::End)),
                Some('{') => return Ok(self.take().map(|_| Token::Open)),
                Some('}') => return Ok(self.take().map(|_| Token::Close)),
                Some(quote @ ('"' | '\'')) => return self.quoted(quote).map(Some),
                Some(_) => return Ok(Some(self.bare())),
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token, (usize, Message)> {
        let start = self.line;
        self.take();
        let mut word = String::new();
        loop {
            match self.take() {
                None => return Err((start, "a quote that is not closed".into())),
                Some(c) if c == quote => break,
                Some('\\') => self.escaped(&mut word),
                Some(c) => word.push(c),
            }
        }
        match self.chars.peek() {
            Some(c) if c.is_ascii_whitespace() || ";{)".contains(*c) => Ok(Token::Word(word)),
            None => Ok(Token::Word(word)),
            Some(_) => Err((self.line, "unexpected text behind a quote".into())),
        }
    }

    /// Reads a word without quotes. In it `${` does not open a block, and `#` does not begin a comment.
    fn bare(&mut self) -> Token {
        let mut word = String::new();
        while let Some(c) = self.chars.peek().copied() {
            if c.is_ascii_whitespace() || c == ';' || c == '{' && !word.ends_with('$') {
                break;
            }
            self.take();
            if c == '\\' { self.escaped(&mut word) } else { word.push(c) }
        }
        Token::Word(word)
    }

    fn escaped(&mut self, word: &mut String) {
        match self.take() {
            Some('n') => word.push('\n'),
            Some('r') => word.push('\r'),
            Some('t') => word.push('\t'),
            Some(c @ ('"' | '\'' | '\\' | ';' | '{' | '}' | '#' | ' ')) => word.push(c),
            Some(c) => word.extend(['\\', c]),
            None => word.push('\\'),
        }
    }

    fn take(&mut self) -> Option<char> {
        let c = self.chars.next();
        self.line += usize::from(c == Some('\n'));
        c
    }
}
