//! Questions on a terminal. Each answer is checked by the loader before the next question.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use portcullis_config::{LoadOptions, Problem, Severity, read_document};

use super::super::forward::{Comments, ForwardArgs};
use super::{ALLOW, LISTEN, TO, with_defaults};

/// The questions ended before the last answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the input ended")]
    Input,
    #[error("cannot use the terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// A question, and the option that its answer stands for.
struct Question {
    option: &'static str,
    text: &'static str,
    /// The answer where the user only presses Enter.
    default: &'static str,
    set: fn(&mut ForwardArgs, &str),
}

const QUESTIONS: [Question; 4] = [
    Question {
        option: "--listen",
        text: "Address that clients connect to",
        default: LISTEN,
        set: |forward, answer| forward.listen = words(answer),
    },
    Question {
        option: "--to",
        text: "Address of Redis",
        default: TO,
        set: |forward, answer| forward.to = Some(answer.to_owned()),
    },
    Question {
        option: "--allow",
        text: "Addresses and networks to admit, separated by spaces",
        default: ALLOW,
        set: |forward, answer| forward.allow = words(answer),
    },
    Question {
        option: "--password-file",
        text: "File with the password of Redis; Enter if clients send it themselves",
        default: "",
        set: |forward, answer| {
            forward.password_file = Some(answer.to_owned()).filter(|file| !file.is_empty())
        },
    },
];

/// Asks for everything that a first configuration needs.
///
/// # Errors
/// The input ends, or the terminal fails.
pub(super) fn forward(path: &Path) -> Result<ForwardArgs, Ended> {
    let (mut input, mut output) = (io::stdin().lock(), io::stderr().lock());
    ask_all(path, &mut input, &mut output)
}

fn ask_all(path: &Path, input: &mut impl BufRead, output: &mut impl Write) -> Result<ForwardArgs, Ended> {
    writeln!(output, "This writes {}. Enter takes the value in brackets; Ctrl-C ends.\n", path.display())?;
    let mut forward = with_defaults(ForwardArgs::default());
    for question in &QUESTIONS {
        loop {
            let mut next = forward.clone();
            (question.set)(&mut next, &question.ask(input, output)?);
            let problems = problems(&next, question.option)?;
            for problem in &problems {
                writeln!(output, "  {}: {}", problem.severity(), problem.message())?;
                problem.hint().map_or(Ok(()), |hint| writeln!(output, "  hint: {hint}"))?;
            }
            if problems.iter().all(|problem| problem.severity() != Severity::Error) {
                forward = next;
                break;
            }
        }
    }
    writeln!(output)?;
    Ok(forward)
}

impl Question {
    fn ask(&self, input: &mut impl BufRead, output: &mut impl Write) -> Result<String, Ended> {
        match self.default {
            "" => write!(output, "{}: ", self.text)?,
            default => write!(output, "{} [{default}]: ", self.text)?,
        }
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            writeln!(output)?;
            return Err(Ended::Input);
        }
        let answer = line.trim();
        Ok(if answer.is_empty() { self.default } else { answer }.to_owned())
    }
}

/// The problems of the answer to one question: all other lines are defaults, or have been checked.
fn problems(forward: &ForwardArgs, option: &str) -> io::Result<Vec<Problem>> {
    let document = Arc::new(forward.document(Comments::Without)?);
    let mut problems = match read_document(&document, &LoadOptions::new()).result {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    problems.retain(|problem| problem.file() == option);
    Ok(problems)
}

fn words(answer: &str) -> Vec<String> {
    let words = answer.split([' ', '\t', ',']).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
