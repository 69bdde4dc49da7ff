//! What each dialect keeps and drops, and that one-by-one and whole-file curation agree.

#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use bioinstruct_core::record::{Category, Instruction, Provenance, SeedTask};
use bioinstruct_curate::{Admission, CurateConfig, Dialect, NoveltyKey, Outcome, curate};
use bioinstruct_data::rows::{LocatedRow, ReadRows};
use proptest::prelude::*;

fn row(instruction: &str, input: &str, output: &str) -> Instruction {
    let texts = [instruction, input, output].map(str::to_owned);
    let [instruction, input, output] = texts;
    Instruction::new(instruction, input, output, None, Provenance::default())
}

fn read(rows: &[Instruction]) -> ReadRows {
    let located = rows.iter().zip(1..).map(|(row, line)| LocatedRow {
        row: row.clone(),
        file: "rows.jsonl".into(),
        line,
    });
    ReadRows { rows: located.collect(), quarantined: Vec::new() }
}

fn seed(id: &str, instruction: &str) -> SeedTask {
    let json = serde_json::json!({
        "id": id, "instruction": instruction, "output": "x", "category": Category::Qa,
    });
    serde_json::from_value(json).unwrap()
}

fn run(rows: &[Instruction], seeds: &[SeedTask], dialect: Dialect, only: &[&str]) -> Outcome {
    let config = CurateConfig {
        dialect,
        only: only.iter().map(|&name| name.to_owned()).collect(),
        ..CurateConfig::default()
    };
    curate(read(rows), seeds, &config).unwrap()
}

/// (line, filter) of the rejected rows.
fn dropped(outcome: &Outcome) -> Vec<(usize, &str)> {
    let rejected = outcome.rejected.iter();
    rejected.map(|row| (row.line, row.filter.as_str())).collect()
}

#[test]
fn the_paper_drops_for_every_reason() {
    let words = |count: usize| vec!["w"; count].join(" ");
    let rows = [
        row("Explain the role of insulin in plain words.", "", "It opens doors."),
        row("Explain the role of insulin in plain words.", "", "It opens doors."),
        row("List causes of cough.", "", " \n"),
        row("Explain insulin.", "", "x"),
        row(&words(151), "", "x"),
        row("Describe the Images of this patient.", "", "x"),
        row("Copy this text out once.", "Take  aspirin.", "Take aspirin. "),
        row("Explain the role of insulin in plain English.", "", "x"),
        row("Describe how photography of a paragraph works.", "", "x"),
        row(&words(150), "", "x"),
    ];
    let outcome = run(&rows, &[], Dialect::Paper, &[]);
    let expected = [
        (2, "exact"),
        (3, "empty-output"),
        (4, "length"),
        (5, "length"),
        (6, "keyword"),
        (7, "output-repeats-input"),
        (8, "rouge-l"),
    ];
    assert_eq!(dropped(&outcome), expected);
    assert_eq!(outcome.kept, [rows[0].clone(), rows[8].clone(), rows[9].clone()]);
    let evidence = outcome.rejected[6].evidence.clone().unwrap();
    let similarity = evidence.similarity.unwrap();
    assert_eq!(evidence.nearest, rows[0].id);
    assert_eq!((similarity.lcs, similarity.m, similarity.n), (7, 8, 8));
    assert!((similarity.f - 0.875).abs() < 1e-15);
    let line = serde_json::to_value(&outcome.rejected[6]).unwrap();
    assert_eq!(line["evidence"]["lcs"], 7);
    assert_eq!(line["instruction"], rows[7].instruction);
}

/// Both pairs have F = 14/20; by the reference's rounding (7, 13) comes out above 0.7 and (10, 10) as 0.7 itself.
#[test]
fn ties_are_decided_as_in_the_reference() {
    let rows = [
        row("a b c d e f g", "", "x"),
        row("a b c d e f g h i j k l m", "", "x"),
        row("1 2 3 4 5 6 7 8 9 10", "", "x"),
        row("1 2 3 4 5 6 7 x y z", "", "x"),
    ];
    let lines = |dialect| {
        let outcome = run(&rows, &[], dialect, &["rouge-l"]);
        outcome.rejected.iter().map(|row| row.line).collect::<Vec<_>>()
    };
    assert_eq!(lines(Dialect::Paper), [2, 4]);
    assert_eq!(lines(Dialect::Alpaca), [2]);
    assert_eq!(lines(Dialect::SelfInstruct), [2]);
    assert_eq!(lines(Dialect::Alpacare), [1, 2]);
}

#[test]
fn seeds_stand_before_every_row_and_are_named() {
    let seeds = [seed("seed-001", "Name the drug in this note now.")];
    let rows = [
        row("Name the drug in this note today.", "", "x"),
        row("Name the drug in this note now.", "", "x"),
    ];
    let outcome = run(&rows, &seeds, Dialect::Paper, &[]);
    assert_eq!(dropped(&outcome), [(1, "rouge-l"), (2, "exact")]);
    let nearest = |at: usize| outcome.rejected[at].evidence.as_ref().unwrap().nearest.as_str();
    assert_eq!((nearest(0), nearest(1)), ("seed-001", "seed-001"));
    // AlpaCare's filter looks at the rows alone, and drops both.
    let outcome = run(&rows, &seeds, Dialect::Alpacare, &[]);
    assert_eq!(dropped(&outcome), [(1, "rouge-l"), (2, "rouge-l")]);
}

#[test]
fn only_means_only() {
    let rows = [
        row("Draw.", "a", "a"),
        row("Draw.", "a", "a"),
        row("", "", ""),
        row("Show me an image of it, please.", "", "x"),
    ];
    let lines = |only: &[&str]| {
        let outcome = run(&rows, &[], Dialect::Paper, only);
        outcome.rejected.iter().map(|row| row.line).collect::<Vec<_>>()
    };
    assert_eq!(lines(&["exact"]), [2]);
    assert_eq!(lines(&["length"]), [1, 2, 3]);
    assert_eq!(lines(&["keyword"]), [4]);
    assert_eq!(lines(&["output-repeats-input"]), [1, 2, 3]);
    assert_eq!(lines(&["rouge-l"]), [2]);
    assert_eq!(lines(&["length", "keyword"]), [1, 2, 3, 4]);
}

#[test]
fn alpaca_and_self_instruct_look_at_the_beginning() {
    let rows = [
        row("Take three words", "", "x"),
        row("Write a program that counts cells.", "", "x"),
        row("- list all the drugs", "", "x"),
        row("Ärzte sagen was genau", "", "x"),
        row("Estimate the MAP from this reading", "", "x"),
        row("Describe a diagram of blood flow", "", "x"),
        row("Give the list of drugs", "Drugs:", "x"),
        row("Say what it is again", "x ", "x"),
    ];
    let lines = |dialect| {
        let outcome = run(&rows, &[], dialect, &[]);
        outcome.rejected.iter().map(|row| row.line).collect::<Vec<_>>()
    };
    assert_eq!(lines(Dialect::Alpaca), [1, 2, 3, 4, 5, 6]);
    assert_eq!(lines(Dialect::SelfInstruct), [1, 2, 3, 4, 5, 7]);
    assert_eq!(lines(Dialect::Paper), [8]);
}

/// In Self-Instruct the instruction joins the pool before its output is looked at.
#[test]
fn self_instruct_compares_with_rows_that_lose_later() {
    let rows = [
        row("Name the drug in this note now.", "x", "x"),
        row("Name the drug in this note today.", "", "y"),
    ];
    let outcome = run(&rows, &[], Dialect::SelfInstruct, &[]);
    assert_eq!(dropped(&outcome), [(1, "output-repeats-input"), (2, "rouge-l")]);
    let outcome = run(&rows, &[], Dialect::Paper, &[]);
    assert_eq!(dropped(&outcome), [(1, "output-repeats-input")]);
}

proptest! {
    #[test]
    fn one_by_one_and_all_at_once_agree(
        texts in proptest::collection::vec(("([abc] ){0,9}", "[ab]{0,1}", "[ab ]{0,1}"), 0..40),
        dialect in prop::sample::select(vec![Dialect::Paper, Dialect::Alpaca, Dialect::SelfInstruct]),
    ) {
        let rows: Vec<Instruction> = texts.iter().map(|(i, n, o)| row(i, n, o)).collect();
        let seeds = [seed("s", "a b c a b c")];
        let config = CurateConfig { dialect, ..CurateConfig::default() };
        let outcome = curate(read(&rows), &seeds, &config).unwrap();
        let mut admission = Admission::new(&config, &seeds).unwrap();
        let mut rejected = outcome.rejected.iter();
        let mut kept = Vec::new();
        for row in &rows {
            match admission.judge(row) {
                Ok(()) => kept.push(row.clone()),
                Err(reject) => {
                    let other = rejected.next().unwrap();
                    prop_assert_eq!((&other.filter, &other.reason), (&reject.filter, &reject.reason));
                    prop_assert_eq!(&other.evidence, &reject.evidence);
                }
            }
        }
        prop_assert_eq!(kept, outcome.kept);
    }
}

#[test]
fn alpacare_cannot_judge_one_by_one() {
    let config = CurateConfig { dialect: Dialect::Alpacare, ..CurateConfig::default() };
    assert!(Admission::new(&config, &[]).is_err());
}

#[test]
fn the_join_hands_on_the_numbers_of_the_kept_instructions() {
    let rows = ["Explain fever in plain words.", "Explain fever in plain words!", "Name a drug."];
    let rows = rows.map(|text| row(text, "", "x"));
    let found = run(&rows, &[seed("s", "Write a note.")], Dialect::Paper, &["exact", "rouge-l"]);
    let numbered = found.instructions.unwrap();
    assert_eq!((found.kept.len(), numbered.len()), (2, 2));
    assert_eq!([0, 1].map(|at| numbered.tokens(at).len()), [5, 3]);
    // Another filter after it may have dropped rows, and another key is not the instruction.
    assert_eq!(run(&rows, &[], Dialect::Paper, &["exact"]).instructions, None);
    let config = CurateConfig { key: NoveltyKey::All, ..CurateConfig::default() };
    assert_eq!(curate(read(&rows), &[], &config).unwrap().instructions, None);
}
