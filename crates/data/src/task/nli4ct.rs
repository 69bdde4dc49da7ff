//! NLI4CT's files: statements by id, and beside them the folder `CT json` with one file for each trial.
//!
//! A row gains `primary` and, when it compares two trials, `secondary`: the lines of the section that the statement is about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::TaskError;
use super::rows::{Row, read_object, read_text, wrong_file};

/// Every statement of `text` with the lines of its trials; the trials are looked for beside `path`.
pub(super) fn read(text: &str, path: &Path) -> Result<Vec<Row>, TaskError> {
    let mut rows = read_object(text, path)?;
    let mut trials = Trials { folder: folder(path)?, known: BTreeMap::new() };
    for row in &mut rows {
        let section = row.text("Section_id", path)?;
        let primary = row.text("Primary_id", path)?;
        let primary = trials.section(&primary, &section)?;
        let secondary = match row.value.get("Secondary_id") {
            None | Some(Value::Null) => Value::Array(Vec::new()),
            Some(_) => trials.section(&row.text("Secondary_id", path)?, &section)?,
        };
        if let Value::Object(fields) = &mut row.value {
            fields.insert("primary".to_owned(), primary);
            fields.insert("secondary".to_owned(), secondary);
        }
    }
    Ok(rows)
}

fn folder(path: &Path) -> Result<PathBuf, TaskError> {
    let folder = path.with_file_name("CT json");
    if folder.is_dir() {
        return Ok(folder);
    }
    let reason = "the folder `CT json` with the trial reports is not beside it".to_owned();
    Err(wrong_file(path, reason))
}

struct Trials {
    folder: PathBuf,
    known: BTreeMap<String, Map<String, Value>>,
}

impl Trials {
    fn section(&mut self, trial: &str, section: &str) -> Result<Value, TaskError> {
        let path = self.folder.join(format!("{trial}.json"));
        // The name comes from a file, and must not lead out of the folder.
        if !trial.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(wrong_file(&path, format!("`{trial}` is no trial's number")));
        }
        if !self.known.contains_key(trial) {
            let text = read_text(&path)?;
            let report = serde_json::from_str(&text)
                .map_err(|error| wrong_file(&path, error.to_string()))?;
            self.known.insert(trial.to_owned(), report);
        }
        let lines = self.known[trial].get(section).filter(|lines| lines.is_array()).cloned();
        lines.ok_or_else(|| wrong_file(&path, format!("it has no section `{section}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_gets_the_lines_of_its_trials() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.json");
        let statements = serde_json::json!({
            "a": {"Type": "Single", "Section_id": "Results", "Primary_id": "NCT1", "Statement": "s", "Label": "Entailment"},
            "b": {"Type": "Comparison", "Section_id": "Results", "Primary_id": "NCT1", "Secondary_id": "NCT2",
                  "Statement": "t", "Label": "Contradiction"},
        });
        let text = statements.to_string();
        let complaint = |text: &str| read(text, &path).unwrap_err().to_string();
        assert!(complaint(&text).ends_with("`CT json` with the trial reports is not beside it"));

        let trials = folder.path().join("CT json");
        fs_err::create_dir(&trials).unwrap();
        fs_err::write(trials.join("NCT1.json"), r#"{"Results": ["one", "  two"]}"#).unwrap();
        fs_err::write(trials.join("NCT2.json"), r#"{"Results": ["three"], "Eligibility": "x"}"#)
            .unwrap();
        let rows = read(&text, &path).unwrap();
        assert_eq!(rows[0].value["primary"], serde_json::json!(["one", "  two"]));
        assert_eq!(rows[0].value["secondary"], serde_json::json!([]));
        assert_eq!(rows[1].value["secondary"], serde_json::json!(["three"]));

        let other = text.replace("\"Results\"", "\"Eligibility\"");
        assert!(complaint(&other).ends_with("NCT1.json: it has no section `Eligibility`"));
        let outside = text.replace("NCT2", "../x");
        assert!(complaint(&outside).ends_with("`../x` is no trial's number"));
    }
}
