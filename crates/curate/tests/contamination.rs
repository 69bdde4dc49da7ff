//! Test items in a dataset that is being made: what is dropped, reported and hidden, and that hashes do it too.

#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use std::path::{Path, PathBuf};

use bioinstruct_core::jsonl;
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_curate::decontaminate::Verdict;
use bioinstruct_curate::decontaminate::against::{
    Contaminated, ContaminationReport, Found, task_items,
};
use bioinstruct_curate::decontaminate::hashed::HashedItems;
use bioinstruct_curate::statistics::Statistics;
use bioinstruct_curate::{CurateConfig, CurateError, Rejected, StageSummary, run_stage};
use serde_json::{Value, json};

const QUESTION: &str =
    "A gardener has a painless ulcer on her left thumb two weeks after pruning roses; why?";

/// A task file and its data, of ten items.
fn task(directory: &Path, name: &str, credentialed: bool) -> PathBuf {
    let item = |number: usize| {
        let question = match number {
            0 => QUESTION.to_owned(),
            _ => format!("Which nerve number {number} runs beside artery {number} of the arm?"),
        };
        let option = |letter: &str| format!("structure {letter}{number}");
        json!({"id": format!("i{number}"), "question": question, "a": option("x"), "b": option("y"), "key": "A"})
    };
    let mut data = Vec::new();
    jsonl::write(&mut data, (0..10).map(item)).unwrap();
    fs_err::write(directory.join(format!("{name}.jsonl")), data).unwrap();
    let text = format!(
        r#"
name = "{name}"
title = "A test"
description = "Of this test."
kind = "multiple_choice"
metrics = ["accuracy"]
licence = "MIT"
source = "this file"
credentialed = {credentialed}
match_field = "question"

[data]
format = "jsonl"
file = "{name}.jsonl"
id = "id"

[data.fields]
question = "question"

[choices]
fields = ["a", "b"]

[answer]
field = "key"
form = "letter"

[profiles.default]
instruction = "Answer."
input = "{{{{ question }}}}"
"#
    );
    let path = directory.join(format!("{name}.toml"));
    fs_err::write(&path, text).unwrap();
    path
}

/// Twenty rows; the third holds an item, the fourth is like the third and holds none.
fn rows(directory: &Path) -> PathBuf {
    let mut rows: Vec<Value> = (0..20)
        .map(|n| json!({"instruction": format!("Tell a{n} b{n} c{n} of d{n}."), "output": "yes"}))
        .collect();
    rows[2] =
        json!({"instruction": "Explain the case.", "input": QUESTION, "output": "Sporotrichosis."});
    rows[3] =
        json!({"instruction": "Explain the case.", "input": "Nothing else.", "output": "It is."});
    let mut bytes = Vec::new();
    jsonl::write(&mut bytes, &rows).unwrap();
    let path = directory.join("rows.jsonl");
    fs_err::write(&path, bytes).unwrap();
    path
}

fn curate_in(
    directory: &Path,
    run: &str,
    against: &[&Path],
    contaminated: Contaminated,
) -> Result<StageSummary, CurateError> {
    let against = against.iter().map(|path| path.display().to_string()).collect();
    let config = CurateConfig { against, contaminated, ..CurateConfig::default() };
    let run = RunDirectory::open(&directory.join(run)).unwrap();
    run_stage(&run, &[directory.join("rows.jsonl")], &[], &config, 3)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_row_with_a_test_item_is_dropped_and_told() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path();
    let exam = task(directory, "exam", false);
    rows(directory);
    let summary = curate_in(directory, "run", &[&exam], Contaminated::Drop).unwrap();
    assert_eq!((summary.read, summary.kept, summary.rejected["contaminated"]), (20, 19, 1));
    assert_eq!(summary.contaminated["exam"], 1);

    let dataset = directory.join("run/dataset");
    let rejected: Vec<Rejected> = jsonl::read(&dataset.join("rejected.jsonl")).unwrap();
    // The row that is like the dropped one was judged without it, and stays.
    assert_eq!((rejected.len(), rejected[0].line), (1, 3));
    assert_eq!(rejected[0].evidence.as_ref().unwrap().nearest, "exam:i0");
    assert!(rejected[0].reason.contains("holds item i0 of exam"), "{}", rejected[0].reason);
    let found: Vec<Found> = jsonl::read(&dataset.join("contamination.jsonl")).unwrap();
    let Found::Text(hit) = &found[0] else { panic!("hashes were not asked for") };
    assert_eq!((hit.item.as_str(), hit.verdict), ("i0", Verdict::Contaminated));
    assert!(hit.item_text.contains("structure x0") && hit.row_text.contains("gardener"));
    let report: ContaminationReport = read(&dataset.join("contamination.json"));
    let of_exam = &report.tasks["exam"];
    assert_eq!((report.rows, of_exam.items, of_exam.contaminated.len()), (20, 10, 1));
    assert!(of_exam.remaining.is_empty());
    let statistics: Statistics = read(&dataset.join("stats.json"));
    assert_eq!(statistics.contamination, Some(report));
    let card = fs_err::read_to_string(dataset.join("README.md")).unwrap();
    assert!(card.contains("| exam | 10 | texts | 1 | 1 | 0 | 0 |"), "{card}");

    let kept = curate_in(directory, "reported", &[&exam], Contaminated::Report).unwrap();
    assert_eq!((kept.kept, kept.rejected["contaminated"], kept.contaminated["exam"]), (19, 0, 1));
    let report: ContaminationReport = read(&directory.join("reported/dataset/contamination.json"));
    assert!(report.tasks["exam"].remaining.contains("i0"));
    let error = curate_in(directory, "run", &[&exam], Contaminated::Report).unwrap_err();
    assert!(error.to_string().contains("contaminated"), "{error}");
}

#[test]
fn restricted_items_are_named_and_not_shown() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path();
    let exam = task(directory, "exam", true);
    rows(directory);
    curate_in(directory, "run", &[&exam], Contaminated::Drop).unwrap();
    for name in ["contamination.jsonl", "contamination.json", "stats.json", "README.md"] {
        let text = fs_err::read_to_string(directory.join("run/dataset").join(name)).unwrap();
        assert!(!text.contains("gardener") && text.contains("exam"), "{name}: {text}");
    }
}

#[test]
fn hashed_items_drop_the_same_row() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path();
    let (items, _) = task_items(&task(directory, "exam", true).display().to_string()).unwrap();
    let hashes = directory.join("exam.hashes");
    let mut bytes = Vec::new();
    HashedItems::of(&items, "salt").write(&mut bytes).unwrap();
    fs_err::write(&hashes, bytes).unwrap();
    rows(directory);
    let summary = curate_in(directory, "run", &[&hashes], Contaminated::Drop).unwrap();
    assert_eq!((summary.kept, summary.rejected["contaminated"]), (19, 1));
    let found: Vec<Found> =
        jsonl::read(&directory.join("run/dataset/contamination.jsonl")).unwrap();
    assert!(
        matches!(&found[..], [Found::Hashes(hit)] if hit.item == "i0" && 2 * hit.runs >= hit.of_runs)
    );
    let error = curate_in(directory, "twice", &[&hashes, &hashes], Contaminated::Drop).unwrap_err();
    assert!(error.to_string().contains("named twice"), "{error}");
}
