//! The last reloads, and the files of the configuration in force.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::SystemTime;

use portcullis_config::ConfigFile;
use serde_json::Value;

use super::guard::Access;
use crate::control::report::Report;
use crate::log::Timestamp;

/// The reloads that are kept. A person looks at the last few.
const KEPT: usize = 20;

/// The parts of a report that an operator sees and others do not: they may have addresses.
const FOR_OPERATORS: [&str; 2] = ["not_applied", "error"];

/// The parts of a problem that others see: its place, and not its words.
const PLACE: [&str; 4] = ["severity", "file", "line", "column"];

/// The last reloads, and the files of the configuration in force.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    /// The number of reloads so far, whatever their result.
    count: u64,
    last: VecDeque<Value>,
    files: Vec<PathBuf>,
}

impl Reloads {
    /// Records a reload.
    pub(super) fn add(&mut self, report: &Report) {
        self.count += 1;
        // A report is words and numbers, so this does not fail.
        let Ok(mut report) = serde_json::to_value(report) else { return };
        report["time"] = Timestamp(SystemTime::now()).to_string().into();
        if self.last.len() >= KEPT {
            self.last.pop_back();
        }
        self.last.push_front(report);
    }

    /// Records the files of the configuration in force.
    pub(super) fn set_files(&mut self, files: &[ConfigFile]) {
        self.files = files.iter().map(|file| file.path.clone()).collect();
    }

    /// Returns the number of reloads so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the files of the configuration in force.
    pub(super) fn files(&self) -> Vec<String> {
        self.files.iter().map(|path| path.display().to_string()).collect()
    }

    /// Returns the last reloads, the latest first.
    pub(super) fn json(&self, access: Access) -> Vec<Value> {
        self.last.iter().map(|report| shown(report, access)).collect()
    }
}

fn shown(report: &Value, access: Access) -> Value {
    let mut report = report.clone();
    if access.is_operator() {
        return report;
    }
    if let Value::Object(facts) = &mut report {
        facts.retain(|key, _| !FOR_OPERATORS.contains(&key.as_str()));
        if let Some(Value::Array(problems)) = facts.get_mut("problems") {
            for problem in problems {
                let place =
                    PLACE.iter().filter_map(|key| Some(((*key).to_owned(), problem.get(*key)?.clone())));
                *problem = Value::Object(place.collect());
            }
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::guard::Credential;
    use super::*;
    use crate::control::report::Trigger;

    #[test]
    fn the_last_ones_are_kept_and_counted() {
        let mut reloads = Reloads::default();
        for generation in 1..=30 {
            reloads.add(&Report::unchanged(Trigger::Api, generation));
        }
        let shown = reloads.json(Access::Reader);
        assert_eq!((shown.len(), reloads.count()), (KEPT, 30));
        assert_eq!((&shown[0]["generation"], &shown[19]["generation"]), (&json!(30), &json!(11)));
    }

    #[test]
    fn words_that_may_have_addresses_are_for_operators() {
        let error = std::io::Error::other("10.0.0.5:6379: refused");
        let mut reloads = Reloads::default();
        reloads.add(&Report::failed(Trigger::Watch, 7, &error));
        let reader = json!(reloads.json(Access::Reader)).to_string();
        assert!(!reader.contains("10.0.0.5") && reader.contains("rejected"), "{reader}");
        let operator = json!(reloads.json(Access::Operator(Credential::Token([0; 32])))).to_string();
        assert!(operator.contains("10.0.0.5"), "{operator}");

        let problem = json!({"severity": "error", "file": "a.yaml", "line": 3, "column": 1,
                             "message": "10.0.0.5 is wrong", "hint": "correct 10.0.0.5"});
        let report = json!({"result": "rejected", "problems": [problem]});
        let reader = shown(&report, Access::Reader);
        let place = json!({"severity": "error", "file": "a.yaml", "line": 3, "column": 1});
        assert_eq!(reader, json!({"result": "rejected", "problems": [place]}));
    }
}
