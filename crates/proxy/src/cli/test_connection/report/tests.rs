use super::super::step::{Finding, StepName, Trouble};
use super::*;

const SHORT: Duration = Duration::from_micros(240);

#[test]
fn a_step_is_a_line_with_its_time_at_the_end() {
    let step = Step::new(StepName::Ping, None, SHORT).found(Finding::Reply("PONG"));
    assert_eq!(lines(&step), format!("  PING     PONG{}0.2 ms\n", " ".repeat(59)));
    let step = Step::new(StepName::Connect, "10.0.2.7:6379".to_owned(), Duration::from_millis(2340));
    assert_eq!(lines(&step), format!("  connect  10.0.2.7:6379{}2.3 s\n", " ".repeat(51)));
}

#[test]
fn a_failure_is_followed_by_the_advice() {
    let step = Step::new(StepName::Connect, "10.0.2.7:6379".to_owned(), SHORT);
    let step = step.with(Trouble::failure("refused", "Connection refused", "start Redis there"));
    let expected =
        "  connect  10.0.2.7:6379  FAILED after 0.2 ms: Connection refused\n           start Redis there\n";
    assert_eq!(lines(&step), expected);
}

#[test]
fn a_warning_stands_between_the_finding_and_the_advice() {
    let step = Step::new(StepName::Ping, None, SHORT).found(Finding::Reply("PONG"));
    let text = lines(&step.with(Trouble::warning("noperm", "no right", "give it")));
    let rest = text.split_once('\n').unwrap().1;
    assert_eq!(rest, "           warning: no right\n           give it\n");
}

#[test]
fn no_line_is_longer_than_a_terminal_is_wide() {
    let words = "a right that is missing ".repeat(20);
    for trouble in [Trouble::failure("x", &words, &words), Trouble::warning("x", &words, &words)] {
        let step = Step::new(StepName::Role, words.clone(), SHORT).with(trouble);
        assert!(lines(&step).lines().all(|line| line.len() <= WIDTH), "{}", lines(&step));
    }
    // What must be copied stays whole.
    let long = "x".repeat(100);
    let step = Step::new(StepName::Connect, long.clone(), SHORT);
    assert!(lines(&step).contains(&format!("{long} 0.2 ms\n")), "{}", lines(&step));
}

/// Makes a report of parts, each with steps that have these problems.
fn report(parts: &[(bool, &[Option<Severity>])]) -> Report {
    let mut report = Report::new(Form::Json);
    for (works, steps) in parts {
        report.begin(PartKind::Upstream, "main", "standalone");
        for severity in *steps {
            let trouble = severity.map(|severity| Trouble { severity, ..Trouble::failure("x", "y", "z") });
            report.add(Step::new(StepName::Auth, None, SHORT).with(trouble));
        }
        report.end(*works);
    }
    report
}

#[test]
fn the_last_line_says_what_works() {
    let (failed, warned, skipped) =
        (Some(Severity::Failure), Some(Severity::Warning), Some(Severity::NotTested));
    type Row<'r> = (&'r [(bool, &'r [Option<Severity>])], &'r str);
    let rows: [Row<'_>; 6] = [
        (&[(true, &[None])], "works"),
        (&[(true, &[None, warned]), (true, &[None])], "works, with 1 warning"),
        // One of several addresses does not answer.
        (&[(true, &[failed, warned, None])], "works, with 2 warnings"),
        (&[(true, &[skipped])], "works, with 1 step not tested"),
        (&[(true, &[warned, skipped, skipped])], "works, with 1 warning and 2 steps not tested"),
        (&[(true, &[warned]), (false, &[None, failed])], "does not work: upstream main (AUTH)"),
    ];
    for (parts, expected) in rows {
        assert_eq!(report(parts).verdict(), expected);
    }
}
