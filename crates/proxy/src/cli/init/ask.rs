//! Questions on a terminal. Each answer is checked by the loader before the next question.

use std::io::{self, BufRead, Write};
use std::path::{Path, absolute};
use std::sync::Arc;

use portcullis_config::message::Masked;
use portcullis_config::{LoadOptions, Problem, Severity, read_document};

use super::super::forward::{Comments, ForwardArgs};
use super::super::naming;
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
    kind: Kind,
    set: fn(&mut ForwardArgs, &str),
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Addresses and networks.
    Words,
    /// The name of a file with a password.
    SecretFile,
}

/// The hint for a file that cannot be used. A user may have typed the password.
const FILE_HINT: &str =
    "type the name of a file that holds the password, not the password itself; or only Enter";

/// The hint for a password file that contradicts the networks: the loader's own names keys of the file.
const BOTH_HINT: &str =
    "name the networks; or press Enter at the last question, and clients send the password themselves";

const QUESTIONS: [Question; 4] = [
    Question {
        option: "--listen",
        text: "Address that clients connect to",
        default: LISTEN,
        kind: Kind::Words,
        set: |forward, answer| forward.listen = words(answer),
    },
    Question {
        option: "--to",
        text: "Address of Redis",
        default: TO,
        kind: Kind::Words,
        set: |forward, answer| forward.to = Some(answer.to_owned()),
    },
    Question {
        option: "--allow",
        text: "Addresses and networks to admit, separated by spaces",
        default: ALLOW,
        kind: Kind::Words,
        set: |forward, answer| forward.allow = words(answer),
    },
    Question {
        option: "--password-file",
        text: "File with the password of Redis; Enter if clients send it themselves",
        default: "",
        kind: Kind::SecretFile,
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
    let mut number = 0;
    while let Some(question) = QUESTIONS.get(number) {
        let answer = question.ask(input, output)?;
        let mut next = forward.clone();
        (question.set)(&mut next, &answer);
        let found = question.judge(&next, &answer, number)?;
        found.told.iter().try_for_each(|told| told.write(output))?;
        match found.verdict {
            Verdict::Good => {
                forward = next;
                number += 1;
            }
            Verdict::Again => {}
            Verdict::Back(earlier) => {
                writeln!(output, "  These answers do not fit together. Please answer again:")?;
                for question in &QUESTIONS[earlier..] {
                    (question.set)(&mut forward, question.default);
                }
                number = earlier;
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

    /// Judges the answer to this question, which has this number, together with all answers before it.
    fn judge(&self, forward: &ForwardArgs, answer: &str, number: usize) -> io::Result<Judged> {
        let told = self.faults_of_words(forward, answer)?;
        if !told.is_empty() {
            return Ok(Judged { told, verdict: Verdict::Again });
        }
        let problems = problems(forward)?;
        let own = problems.iter().filter(|problem| problem.file() == self.option);
        let told: Vec<Told> = own.map(|problem| self.tell(problem, answer)).collect();
        if told.iter().any(|told| told.severity == Severity::Error) {
            return Ok(Judged { told, verdict: Verdict::Again });
        }
        // An error that this answer causes at an earlier one: either of them can be corrected.
        let is_at = |question: &Self| {
            problems.iter().any(|problem| is_error(problem) && problem.file() == question.option)
        };
        match QUESTIONS[..number].iter().position(is_at) {
            None => Ok(Judged { told, verdict: Verdict::Good }),
            Some(earlier) => {
                let mut told: Vec<Told> =
                    problems.iter().filter(|problem| is_error(problem)).map(Told::of).collect();
                if let (Kind::SecretFile, Some(last)) = (self.kind, told.last_mut()) {
                    last.hint = Some(BOTH_HINT.to_owned());
                }
                Ok(Judged { told, verdict: Verdict::Back(earlier) })
            }
        }
    }

    /// The errors of each word of the answer alone, with the word. Only an answer of words is judged so.
    fn faults_of_words(&self, forward: &ForwardArgs, answer: &str) -> io::Result<Vec<Told>> {
        let mut faults = Vec::new();
        for word in words(answer).iter().filter(|_| self.kind == Kind::Words) {
            let mut alone = forward.clone();
            (self.set)(&mut alone, word);
            let found = problems(&alone)?;
            let found = found.iter().filter(|problem| is_error(problem) && problem.file() == self.option);
            faults.extend(found.map(|problem| Told::of(problem).naming(word)));
        }
        Ok(faults)
    }

    /// Hides the name of a file that does not exist, because it may be the password itself.
    fn tell(&self, problem: &Problem, answer: &str) -> Told {
        let told = Told::of(problem);
        let path = match absolute(answer) {
            Ok(path) if self.kind == Kind::SecretFile && path.symlink_metadata().is_err() => path,
            _ => return told,
        };
        let message = told.message.replace(&Masked::path(&path).to_string(), "this file");
        Told { message, hint: Some(FILE_HINT.to_owned()), ..told }
    }
}

/// The problems of an answer, and the next step.
struct Judged {
    told: Vec<Told>,
    verdict: Verdict,
}

/// The question that follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The next question.
    Good,
    /// The same question.
    Again,
    /// An earlier question: its answer and this one contradict each other.
    Back(usize),
}

/// A problem as the terminal shows it.
struct Told {
    severity: Severity,
    message: String,
    hint: Option<String>,
}

impl Told {
    fn of(problem: &Problem) -> Self {
        Self {
            severity: problem.severity(),
            message: problem.message().to_owned(),
            hint: problem.hint().map(str::to_owned),
        }
    }

    /// Names the word that the user typed, where the loader hides it.
    fn naming(mut self, word: &str) -> Self {
        self.message = naming(&self.message, word);
        self
    }

    fn write(&self, output: &mut impl Write) -> io::Result<()> {
        writeln!(output, "  {}: {}", self.severity, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| writeln!(output, "  hint: {hint}"))
    }
}

/// The problems of all answers so far.
fn problems(forward: &ForwardArgs) -> io::Result<Vec<Problem>> {
    let document = Arc::new(forward.document(Comments::Without)?);
    Ok(match read_document(&document, &LoadOptions::new()).result {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    })
}

fn is_error(problem: &Problem) -> bool {
    problem.severity() == Severity::Error
}

fn words(answer: &str) -> Vec<String> {
    let words = answer.split([' ', '\t', ',']).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
