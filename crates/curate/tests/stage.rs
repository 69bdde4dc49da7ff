//! The stage in a run directory: what it publishes, repeats and refuses.

#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use std::path::{Path, PathBuf};

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::jsonl;
use bioinstruct_core::record::Instruction;
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_curate::statistics::Statistics;
use bioinstruct_curate::{CurateConfig, CurateError, Rejected, StageSummary, run_stage};
use bioinstruct_data::rows::{Quarantined, read_rows};
use serde_json::{Value, json};

const FILES: [&str; 9] = [
    "train.jsonl",
    "dev.jsonl",
    "origins.jsonl",
    "rejected.jsonl",
    "quarantine.jsonl",
    "findings.jsonl",
    "stats.json",
    "README.md",
    "manifest.json",
];

fn rows_file(directory: &Path) -> PathBuf {
    let path = directory.join("rows.jsonl");
    let mut rows: Vec<Value> = (0..40)
        .map(|n| json!({"instruction": format!("Task {n} asks about item {n} and thing {n}."), "output": "yes"}))
        .collect();
    rows[3]["category"] = json!("qa");
    rows[4]["licence"] = json!("CC0|1.0");
    rows[5]["input"] = json!("N/A");
    rows[6]["input"] = json!("two words");
    rows.push(json!({"instruction": "Too short", "output": "x"}));
    let mut bytes = Vec::new();
    jsonl::write(&mut bytes, &rows).unwrap();
    fs_err::write(&path, bytes).unwrap();
    path
}

fn curate_in(root: &Path, file: &Path, config: &CurateConfig) -> Result<StageSummary, CurateError> {
    let run = RunDirectory::open(root).unwrap();
    run_stage(&run, &[file.to_owned()], &[], config, 11)
}

#[test]
fn a_dataset_is_published_and_repeats_to_the_byte() {
    let scratch = tempfile::tempdir().unwrap();
    let file = rows_file(scratch.path());
    let config = CurateConfig::default();
    let first = scratch.path().join("first");
    let summary = curate_in(&first, &file, &config).unwrap();
    assert_eq!((summary.read, summary.kept, summary.quarantined), (41, 40, 0));
    assert_eq!((summary.train, summary.dev), (36, 4));
    assert_eq!(summary.rejected["length"], 1);
    assert_eq!(summary.seconds.len(), 6);

    let dataset = first.join("dataset");
    let train: Vec<Instruction> = jsonl::read(&dataset.join("train.jsonl")).unwrap();
    let dev: Vec<Instruction> = jsonl::read(&dataset.join("dev.jsonl")).unwrap();
    assert_eq!((train.len(), dev.len()), (36, 4));
    let rejected: Vec<Rejected> = jsonl::read(&dataset.join("rejected.jsonl")).unwrap();
    assert_eq!((rejected[0].line, rejected[0].filter.as_str()), (41, "length"));
    let statistics: Statistics =
        serde_json::from_str(&fs_err::read_to_string(dataset.join("stats.json")).unwrap()).unwrap();
    assert_eq!(statistics.rows.kept, 40);
    assert_eq!((statistics.categories["qa"].rows, statistics.categories["unknown"].rows), (1, 39));
    assert!((statistics.share_with_input - 1.0 / 40.0).abs() < 1e-12);
    assert_eq!(statistics.input_words.max, 2);
    let card = fs_err::read_to_string(dataset.join("README.md")).unwrap();
    assert!(card.contains(NOT_FOR_PATIENT_CARE) && card.contains("No clinician has reviewed"));
    assert!(card.contains("| licence | CC0\\|1.0 | 1 |"), "{card}");
    assert!(card.starts_with("---\n") && card.contains("\nlicense: unknown\n"), "{card}");
    assert!(card.contains("| rows.jsonl | CC0\\|1.0 | 1 | 0 |"), "{card}");
    assert!(card.contains("Nothing here was compared with the test sets"), "{card}");
    assert!(card.contains("| `length` |") && card.contains("33.8 %"), "{card}");

    let second = scratch.path().join("second");
    curate_in(&second, &file, &config).unwrap();
    for name in FILES {
        let bytes = |root: &Path| fs_err::read(root.join("dataset").join(name)).unwrap();
        assert_eq!(bytes(&first), bytes(&second), "{name}");
    }
}

#[test]
fn a_finished_stage_says_so_and_a_changed_one_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let file = rows_file(scratch.path());
    let root = scratch.path().join("run");
    let config = CurateConfig::default();
    let first = curate_in(&root, &file, &config).unwrap();
    let again = curate_in(&root, &file, &config).unwrap();
    assert!(again.was_finished && !first.was_finished);
    assert_eq!((again.kept, &again.rejected), (first.kept, &first.rejected));
    assert_eq!(again.seconds.len(), 6);
    // Written out, the dialect's own values are the same settings.
    let spelled = CurateConfig { rouge_threshold: Some(0.7), ..config.clone() };
    assert!(curate_in(&root, &file, &spelled).unwrap().was_finished);
    let other = CurateConfig { min_words: Some(2), ..config };
    let error = curate_in(&root, &file, &other).unwrap_err();
    assert!(error.to_string().contains("`min_words` is 3 there, 2 now"), "{error}");
    assert_eq!(error.kind(), FailureKind::Configuration);
}

#[test]
fn bad_rows_are_listed_and_stop_the_run() {
    let scratch = tempfile::tempdir().unwrap();
    let file = rows_file(scratch.path());
    let text = fs_err::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[6] = "{\"instruction\": \"broken";
    fs_err::write(&file, lines.join("\n")).unwrap();

    let root = scratch.path().join("run");
    let error = curate_in(&root, &file, &CurateConfig::default()).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Data);
    assert!(error.to_string().contains("rows.jsonl:7: is not JSON"), "{error}");
    assert!(error.hint().unwrap().contains("max_quarantine=1"));
    let dataset = root.join("dataset");
    let listed: Vec<Quarantined> = jsonl::read(&dataset.join("quarantine.jsonl")).unwrap();
    assert_eq!(listed[0].line, 7);
    assert!(!dataset.join("manifest.json").exists() && !dataset.join("train.jsonl").exists());

    let lenient = CurateConfig { max_quarantine: 1, ..CurateConfig::default() };
    let summary = curate_in(&root, &file, &lenient).unwrap();
    assert_eq!((summary.read, summary.kept, summary.quarantined), (41, 39, 1));
}

#[test]
fn exports_hold_the_same_rows() {
    let scratch = tempfile::tempdir().unwrap();
    let file = rows_file(scratch.path());
    let export = ["alpaca", "csv.gz", "messages", "parquet"].map(str::to_owned).to_vec();
    let config = CurateConfig { export, ..CurateConfig::default() };
    let root = scratch.path().join("run");
    curate_in(&root, &file, &config).unwrap();
    let dataset = root.join("dataset");
    let train: Vec<Instruction> = jsonl::read(&dataset.join("train.jsonl")).unwrap();
    for name in ["train.alpaca.json", "train.csv.gz", "train.parquet"] {
        let read = read_rows(&dataset.join("export").join(name)).unwrap().complete().unwrap();
        let texts = |row: &Instruction| {
            [&row.id, &row.instruction, &row.input, &row.output].map(String::clone)
        };
        assert!(read.iter().map(texts).eq(train.iter().map(texts)), "{name}");
    }
    assert!(dataset.join("export/dev.messages.jsonl").is_file());
    let wrong = CurateConfig { export: vec!["xml".to_owned()], ..CurateConfig::default() };
    let error = curate_in(&scratch.path().join("other"), &file, &wrong).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Configuration);
}

#[test]
fn nothing_to_read_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("empty.jsonl");
    fs_err::write(&file, "\n").unwrap();
    let error =
        curate_in(&scratch.path().join("run"), &file, &CurateConfig::default()).unwrap_err();
    assert!(matches!(error, CurateError::NoRows { .. }), "{error}");
    assert_eq!(error.kind(), FailureKind::Data);
}
