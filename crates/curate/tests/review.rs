//! A dataset's sheet for raters, their answers, and the history of a row.

#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use std::path::{Path, PathBuf};

use bioinstruct_core::jsonl;
use bioinstruct_core::record::Instruction;
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_curate::history::History;
use bioinstruct_curate::review::stage::{audit, take};
use bioinstruct_curate::{CurateConfig, CurateError, Rejected, run_stage};
use serde_json::{Value, json};

/// Sixty rows of two categories, the last a near-copy of the first.
fn dataset(directory: &Path) -> RunDirectory {
    let row = |n: usize| {
        let category = if n.is_multiple_of(3) { "qa" } else { "generation" };
        json!({"instruction": format!("Tell a{n} b{n} c{n} of d{n}."), "output": format!("yes {n}"), "category": category})
    };
    let mut rows: Vec<Value> = (0..60).map(row).collect();
    rows.push(json!({"instruction": "Tell a0 b0 c0 of d0 now.", "output": "no"}));
    let mut bytes = Vec::new();
    jsonl::write(&mut bytes, rows).unwrap();
    let file = directory.join("rows.jsonl");
    fs_err::write(&file, bytes).unwrap();
    let run = RunDirectory::open(&directory.join("run")).unwrap();
    run_stage(&run, &[file], &[], &CurateConfig::default(), 5).unwrap();
    run
}

/// The sheet with these answers in its question columns; `answers` sees the position of a row and its category.
fn fill(sheet: &Path, name: &str, answers: impl Fn(usize, &str) -> [String; 8]) -> PathBuf {
    let mut reader = csv::Reader::from_path(sheet).unwrap();
    let path = sheet.with_file_name(name);
    let mut writer = csv::Writer::from_path(&path).unwrap();
    writer.write_record(reader.headers().unwrap()).unwrap();
    for (at, record) in reader.records().enumerate() {
        let record = record.unwrap();
        let category = record[1].split(' ').next().unwrap().to_owned();
        let mut cells: Vec<String> = record.iter().map(str::to_owned).collect();
        cells[6..14].clone_from_slice(&answers(at, &category));
        writer.write_record(cells).unwrap();
    }
    writer.flush().unwrap();
    path
}

fn answers(valid: &str, category: &str) -> [String; 8] {
    [valid, "Yes", "1", "no", "none", "no", category, ""].map(str::to_owned)
}

#[test]
fn sheets_come_back_with_intervals_and_agreement() {
    let scratch = tempfile::tempdir().unwrap();
    let run = dataset(scratch.path());
    let (sheet, count) = audit(&run, 20, 5).unwrap();
    assert_eq!(count, 20);
    let bytes = fs_err::read(&sheet).unwrap();
    audit(&run, 20, 5).unwrap();
    assert_eq!(bytes, fs_err::read(&sheet).unwrap());

    let first = fill(&sheet, "first.csv", |at, category| {
        answers(if at < 15 { "yes" } else { "no" }, category)
    });
    let second = fill(&sheet, "second.csv", |at, category| {
        answers(if at < 14 { "y" } else { "n" }, if at == 3 { "other" } else { category })
    });
    let review = take(&run, &[first.clone(), second], 5).unwrap();
    assert_eq!((review.dataset_rows, review.rows), (60, 20));
    assert_eq!(review.raters, ["first", "second"]);
    let valid = &review.questions["valid_task"];
    assert_eq!((valid.rows, valid.undecided), (20, 1));
    let good = valid.good.unwrap();
    assert_eq!((good.count, good.of), (14, 19));
    assert!(good.low < good.share && good.share < good.high);
    // Two raters, twenty rows, one of them apart: p = 0.95, e = 0.75 * 0.7 + 0.25 * 0.3.
    let pair = &valid.pairs[0];
    assert!((pair.accuracy - 0.95).abs() < 1e-12 && (pair.kappa.unwrap() - 0.875).abs() < 1e-12);
    assert!((valid.alpha.unwrap() - (1.0 - 39.0 * 2.0 / (2.0 * 29.0 * 11.0))).abs() < 1e-12);
    assert_eq!(review.questions["difficulty"].rows, 0);
    let category = review.category.unwrap();
    // Where the raters differ there is no category to compare.
    assert_eq!((category.rows, category.accuracy), (19, 1.0));
    assert!(scratch.path().join("run/review/review.json").is_file());

    let wrong = fill(&sheet, "wrong.csv", |_, _| answers("perhaps", "qa"));
    let error = take(&run, &[wrong], 5).unwrap_err().to_string();
    assert!(error.contains("line 2, `valid_task`: \"perhaps\""), "{error}");
    let text = fs_err::read_to_string(&first).unwrap();
    let unknown = sheet.with_file_name("unknown.csv");
    fs_err::write(&unknown, text.replacen('\n', "\n0123", 1)).unwrap();
    assert!(take(&run, &[unknown], 5).unwrap_err().to_string().contains("is not in this dataset"));
}

#[test]
fn a_rows_history_tells_what_beat_it() {
    let scratch = tempfile::tempdir().unwrap();
    let _run = dataset(scratch.path());
    let root = scratch.path().join("run");
    let rejected: Vec<Rejected> = jsonl::read(&root.join("dataset/rejected.jsonl")).unwrap();
    let history = History::of(&root, &rejected[0].row.id, &[]).unwrap();
    let fate = &history.fates[0];
    assert_eq!((fate.place.as_str(), fate.origin.as_ref().unwrap().line), ("rejected", 61));
    assert_eq!(fate.lost_against.as_ref().unwrap().instruction, "Tell a0 b0 c0 of d0.");
    let verdicts: Vec<&str> = fate.opinions.iter().map(|one| one.verdict.as_str()).collect();
    assert_eq!(verdicts, ["passed", "passed", "passed", "passed", "passed", "dropped"]);
    assert!(fate.opinions[5].reason.contains("ROUGE-L"));

    let dev: Vec<Instruction> = jsonl::read(&root.join("dataset/dev.jsonl")).unwrap();
    let history = History::of(&root, &dev[0].id, &[]).unwrap();
    let fate = &history.fates[0];
    let number: usize = dev[0].output["yes ".len()..].parse().unwrap();
    assert_eq!((fate.place.as_str(), fate.origin.as_ref().unwrap().line), ("dev", number + 1));
    assert!(fate.opinions.iter().all(|one| one.verdict == "passed"));
    let error = History::of(&root, "0000", &[]).unwrap_err();
    assert!(matches!(error, CurateError::NoSuchRow { .. }), "{error}");
}
