//! Each `golden/NAME.yaml` gives exactly the problems of `golden/NAME.txt`.
//!
//! `PORTCULLIS_GOLDEN=write` rewrites the texts: read the difference before you commit it.

use std::path::Path;

use super::*;

#[test]
fn every_problem_has_its_place_and_hint() {
    let dir = Path::new("src/tests/golden");
    let mut names: Vec<PathBuf> =
        dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| is_yaml(path)).collect();
    names.sort();
    assert!(names.len() > 10);
    for path in names {
        let text = problems(&path).replace(&format!("{}/", dir.display()), "");
        assert!(!text.contains("CANARY"), "{}: {text}", path.display());
        let golden = path.with_extension("txt");
        if std::env::var("PORTCULLIS_GOLDEN").is_ok_and(|mode| mode == "write") {
            std::fs::write(&golden, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap();
        assert_eq!(text, expected, "{}", path.display());
    }
}

/// The contract of a file with seven mistakes.
#[test]
fn seven_mistakes_are_seven_problems() {
    let problems = load(Path::new("src/tests/golden/seven.yaml"), &LoadOptions::new()).unwrap_err();
    assert_eq!(problems.iter().filter(|problem| problem.severity() == Severity::Error).count(), 7);
    assert!(
        problems.iter().all(|problem| problem.line() > 0 && problem.column() > 0 && problem.hint().is_some())
    );
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml")
}

fn problems(path: &Path) -> String {
    let options = LoadOptions::new().at(NOW);
    let problems = match load(path, &options) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    assert_complete(&problems);
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
