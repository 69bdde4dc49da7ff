//! Each filter that looks at one row, on its rows of `tests/fixtures`: what it must drop and what it must leave.

#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use bioinstruct_core::record::{Instruction, Provenance};
use bioinstruct_curate::{CurateConfig, Dialect, Keep, curate, filter};
use bioinstruct_data::rows::{LocatedRow, ReadRows, read_rows_from};
use proptest::prelude::*;
use serde_json::Value;

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    fs_err::read_to_string(path).unwrap()
}

#[test]
fn filters_drop_and_leave_what_their_fixtures_say() {
    let mut wrong = Vec::new();
    for entry in filter::ALL.iter().filter(|entry| entry.quality) {
        let text = fixture(entry.name);
        let read = read_rows_from(text.as_bytes(), entry.name).unwrap();
        let config = CurateConfig { only: vec![entry.name.to_owned()], ..CurateConfig::default() };
        let outcome = curate(read, &[], &config).unwrap();
        let mut both = [0, 0];
        for (line, json) in (1..).zip(text.lines()) {
            let row: Value = serde_json::from_str(json).unwrap();
            let dropped = outcome.rejected.iter().find(|rejected| rejected.line == line);
            both[usize::from(row["expect"] == "drop")] += 1;
            if dropped.is_some() != (row["expect"] == "drop") {
                wrong.push(format!("{} line {line}: {dropped:?}", entry.name));
            }
        }
        assert!(both.iter().all(|&count| count >= 3), "{} has too few rows", entry.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Pieces of what filters look for, cut and joined anyhow.
fn odd_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,6}",
        prop::sample::select(vec![
            "A. ",
            "\nB) ",
            "\n(C)",
            "MRN: ",
            "PMID ",
            "doi 10.1000/",
            "NCT0",
            "555-123-4567",
            "(",
            "[insert ",
            "{text",
            "}",
            "```",
            "the ",
            "\n4.",
            "é@b.co",
            "β",
            "İ",
            "<|",
            "I'm sorry, but ",
            "Sure! ",
            "’",
            "à la ",
            "的的的的的的",
            "١٢٣",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Files of one to five rows; a long run asks for more.
fn fuzz_cases() -> u32 {
    std::env::var("BIOINSTRUCT_FUZZ_CASES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz_cases()))]
    #[test]
    fn no_text_stops_a_filter_and_every_row_is_accounted_for(
        texts in prop::collection::vec((odd_text(), odd_text(), odd_text()), 1..6),
    ) {
        let located = texts.into_iter().zip(1..).map(|((instruction, input, output), line)| LocatedRow {
            row: Instruction::new(instruction, input, output, None, Provenance::default()),
            file: "".into(),
            line,
        });
        let read = ReadRows { rows: located.collect(), quarantined: Vec::new() };
        let count = read.rows.len();
        let config = CurateConfig { also: vec!["quality".to_owned()], ..CurateConfig::default() };
        let outcome = curate(read, &[], &config).unwrap();
        prop_assert_eq!(outcome.kept.len() + outcome.rejected.len(), count);
    }
}

fn rows(texts: [[&str; 2]; 4]) -> ReadRows {
    let located = texts.into_iter().zip(1..).map(|([instruction, output], line)| LocatedRow {
        row: Instruction::new(
            instruction.to_owned(),
            String::new(),
            output.to_owned(),
            None,
            Provenance::default(),
        ),
        file: "".into(),
        line,
    });
    ReadRows { rows: located.collect(), quarantined: Vec::new() }
}

#[test]
fn of_rows_that_are_alike_the_wanted_one_stays() {
    let texts = [
        ["Explain the role of insulin in plain words.", "It opens doors."],
        ["Explain the role of insulin in plain English words.", "It opens doors for sugar."],
        ["Name four causes of chronic cough today.", "Asthma."],
        ["Explain the role of insulin in plain short words.", "It opens."],
    ];
    let scratch = tempfile::tempdir().unwrap();
    let scores = scratch.path().join("scores.jsonl");
    let ids: Vec<String> = rows(texts).rows.iter().map(|located| located.row.id.clone()).collect();
    let line =
        |(at, score): (usize, f64)| format!("{{\"id\": \"{}\", \"score\": {score}}}\n", ids[at]);
    fs_err::write(&scores, [(0, 2.0), (3, 4.5)].map(line).concat()).unwrap();
    let dropped = |keep: Keep| {
        let scores = if keep == Keep::Best { scores.display().to_string() } else { String::new() };
        let config =
            CurateConfig { keep, scores, dialect: Dialect::Alpaca, ..CurateConfig::default() };
        let outcome = curate(rows(texts), &[], &config).unwrap();
        let winner = outcome.rejected[0].evidence.as_ref().unwrap().nearest.clone();
        assert!(
            outcome.rejected.iter().all(|row| row.evidence.as_ref().unwrap().nearest == winner)
        );
        (
            outcome.rejected.iter().map(|row| row.line).collect::<Vec<_>>(),
            ids.iter().position(|id| *id == winner),
        )
    };
    assert_eq!(dropped(Keep::First), (vec![2, 4], Some(0)));
    assert_eq!(dropped(Keep::Longest), (vec![1, 4], Some(1)));
    assert_eq!(dropped(Keep::Best), (vec![1, 2], Some(3)));
}
