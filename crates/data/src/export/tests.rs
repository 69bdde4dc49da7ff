//! Tests of the whole module: invented tasks beside small files, the built-in mixture, and the owners' files where they are at
//! hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bioinstruct_core::diagnose::Diagnose;

use super::*;
use crate::task::tests::owners_file;
use crate::task::{ItemSources, TaskError};

const TASK: &str = r#"
name = "toy"
title = "Toy"
description = "d"
kind = "generation"
metrics = ["rouge1"]
licence = "CC0-1.0"
source = "us"
credentialed = true
max_tokens = 8
match_field = "note"
[data]
format = "csv"
file = "test.csv"
folder = "toy"
held_out = ["dev.csv"]
[data.fields]
note = "note"
kind = "kind"
[answer]
field = "answer"
form = "text"
[shots]
file = "train.csv"
[profiles.default]
instruction = "Do."
input = "{{ note }}"
[[export]]
name = "short"
category = "ie"
instructions = ["One {{ kind }}", "Two", "Three", "Four"]
input = "{{ note }}"
nothing = "none"
nothing_share = 0.25
max_output_words = 3
[[export]]
name = "kind"
category = "other"
instructions = ["Which kind?"]
input = "{{ note }}"
output = "{{ kind }}"
only = { kind = ["a"] }
"#;

/// 20 training rows with an answer and 20 without, one with a long answer, one twice, and three that hold test items.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs_err::write(folder.path().join(name), text).unwrap();
    write("toy.toml", TASK);
    write("test.csv", "note,kind,answer\nIt stands in the test file and has many words,a,x\n");
    write("dev.csv", "note,kind,answer\nShort dev,b,x\n");
    let mut train = "note,kind,answer\n".to_owned();
    for number in 0..20 {
        train += &format!("Note number {number},{},answer {number}\n", ["a", "b"][number % 2]);
        train += &format!("Empty number {number},b,\n");
    }
    train += "Long,a,one two three four\nNote number 3,b,answer 3\nshort  DEV,a,y\n";
    train += "\"Before. It stands in the test file and has many words after that\",a,z\n";
    train += "\"Before. it stands in THE test file and has many words after that\",a,z\n";
    write("train.csv", &train);
    folder
}

fn source(folder: &Path) -> ExportSource {
    let task = Task::load(&folder.join("toy.toml").to_string_lossy()).unwrap();
    let split = task.training(folder).unwrap();
    ExportSource { task, split }
}

fn mixture(text: &str) -> Result<Mixture, ExportError> {
    Mixture::parse(text, Path::new("m.toml"))
}

fn options(count: Option<usize>, seed: u64) -> ExportOptions {
    ExportOptions { count, max_words: None, seed }
}

#[test]
fn every_item_is_a_row_or_counted() {
    let folder = folder();
    let sources = [source(folder.path())];
    let exported = export(&sources, None, &options(None, 1)).unwrap();
    let [kind, short] = &exported.parts[..] else { panic!("{:?}", exported.parts) };
    assert_eq!((kind.rows, kind.left_out["is not of the kind asked for"]), (11, 31));
    assert_eq!(kind.left_out["holds a test item"], 3);
    // Of the rows 20 have an answer; those without may be a quarter, as far as the order allows.
    let nothing = short.left_out["would be one too many that says there is nothing"];
    assert_eq!(short.rows, 20 + 20 - nothing);
    assert!((14..=19).contains(&nothing), "{nothing}");
    assert_eq!(short.left_out["answer is longer than the task's limit"], 1);
    assert_eq!(short.left_out["stands in the data twice"], 1);
    assert_eq!(short.left_out["holds a test item"], 3);
    for part in &exported.parts {
        assert_eq!(part.rows + part.left_out.values().sum::<usize>(), part.items, "{part:?}");
    }
    assert_eq!(exported.rows.len(), kind.rows + short.rows);
    let none = exported.rows.iter().filter(|row| row.output == "none").count();
    assert!(none * 4 <= short.rows, "{none} of {}", short.rows);
    for row in &exported.rows {
        assert!(!row.input.contains("test file") && !row.input.contains("DEV"), "{row:?}");
        assert!(row.provenance.restricted && row.provenance.licence == "CC0-1.0");
        assert!(row.provenance.source.starts_with("toy/"), "{row:?}");
    }
}

#[test]
fn the_seed_decides_items_wordings_and_order() {
    let folder = folder();
    let sources = [source(folder.path())];
    let rows = |seed| export(&sources, None, &options(Some(12), seed)).unwrap().rows;
    assert_eq!(rows(3), rows(3));
    assert_ne!(rows(3), rows(4));
    assert_eq!(rows(3).len(), 12);
    let wordings: BTreeSet<String> = export(&sources, None, &options(None, 3))
        .unwrap()
        .rows
        .into_iter()
        .map(|row| row.instruction)
        .collect();
    let all = ["One a", "One b", "Two", "Three", "Four", "Which kind?"].map(str::to_owned);
    assert_eq!(wordings, BTreeSet::from(all));
    let short = ExportOptions { max_words: Some(6), ..options(None, 3) };
    let parts = export(&sources, None, &short).unwrap().parts;
    assert_eq!(parts[0].left_out.get("is longer than `--max-words`"), None);
    assert!(parts[1].left_out["is longer than `--max-words`"] > 0, "{parts:?}");
}

#[test]
fn a_mixture_keeps_its_shares_or_says_how_many_rows_there_are() {
    let folder = folder();
    let sources = [source(folder.path())];
    let text = "name = \"m\"\ndescription = \"d\"\n[shares]\nie = 3\nother = 1\n\
                [[part]]\ntask = \"toy\"\nexport = \"short\"\n[[part]]\ntask = \"toy\"\nexport = \"kind\"\n";
    let whole = mixture(text).unwrap();
    let exported = export(&sources, Some(&whole), &options(Some(20), 1)).unwrap();
    let rows: Vec<usize> = exported.parts.iter().map(|part| part.rows).collect();
    assert_eq!(rows, [5, 15]);
    let other = mixture(&text.replace("ie = 3\nother = 1", "ie = 1\nother = 3")).unwrap();
    let error = export(&sources, Some(&other), &options(Some(20), 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "of category `other`, 15 rows are wanted, and the training splits give 11"
    );
    assert!(error.hint().unwrap().contains("at most 14"), "{:?}", error.hint());
    let error = export(&sources, Some(&whole), &options(None, 1)).unwrap_err();
    assert_eq!(error.hint().unwrap(), "give `--count N`");
    let error = export(&sources, None, &options(Some(900), 1)).unwrap_err();
    assert!(error.to_string().starts_with("900 rows are wanted"), "{error}");

    let complaint =
        |from: &str, to: &str| mixture(&text.replace(from, to)).unwrap_err().to_string();
    assert!(complaint("ie = 3", "ie = 0").contains("`shares`"));
    assert!(complaint("\"kind\"", "\"short\"").contains("twice"));
    assert!(complaint("\"kind\"\n", "\"kind\"\nweight = -1\n").contains("`weight`"));
    assert!(complaint("ie = 3", "quiz = 3").contains("quiz"));
}

#[test]
fn a_mixture_names_what_its_tasks_have() {
    for name in mixture_names() {
        let mixture = Mixture::load(name).unwrap();
        assert_eq!(mixture.name, name);
        let tasks: Vec<String> =
            mixture.tasks().unwrap().into_iter().map(|task| task.name).collect();
        assert!(tasks.contains(&"medquad".to_owned()), "{tasks:?}");
    }
    let paper = Mixture::load("paper").unwrap();
    for category in Category::ALL {
        let share = paper.shares[&category];
        assert!((share - category.paper_share()).abs() < 1e-12, "{}", category.name());
    }
    let wrong = mixture(
        "name = \"m\"\ndescription = \"d\"\n[shares]\nqa = 1\n[[part]]\ntask = \"pubmedqa\"\nexport = \"poem\"\n",
    );
    let error = wrong.unwrap().tasks().unwrap_err().to_string();
    assert!(error.contains("`pubmedqa` has no export `poem`; it has decision"), "{error}");
    let unknown = Mixture::load("papper").unwrap_err();
    assert_eq!(
        unknown.hint().unwrap(),
        "built in are paper; one of your own is the path of a TOML file"
    );
}

#[test]
fn nothing_is_exported_without_the_test_items() {
    let folder = folder();
    let task = Task::load(&folder.path().join("toy.toml").to_string_lossy()).unwrap();
    fs_err::remove_file(folder.path().join("dev.csv")).unwrap();
    let error = task.training(folder.path()).unwrap_err();
    assert!(matches!(&error, TaskError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("dev.csv"), "{error}");
    let error = Task::load("demo_qa").unwrap().training(folder.path()).unwrap_err();
    assert!(matches!(error, TaskError::NotExported { .. }), "{error}");
    let error = Task::load("medquad").unwrap().items(&ItemSources::default()).unwrap_err();
    assert!(error.hint().unwrap().contains("tasks export medquad"), "{error}");
}

/// The owners' data, or none with a printed reason.
fn paper_sources() -> Option<(Mixture, Vec<ExportSource>)> {
    let root = owners_file("medquad/medquad_answered.jsonl.gz")?.parent()?.parent()?.to_owned();
    let mixture = Mixture::load("paper").unwrap();
    let source = |task: Task| {
        let split = task.training(&root).unwrap();
        ExportSource { task, split }
    };
    let sources = mixture.tasks().unwrap().into_iter().map(source).collect();
    Some((mixture, sources))
}

#[test]
fn the_stand_in_mixture_has_the_papers_shares_and_no_test_item() {
    let Some((mixture, sources)) = paper_sources() else { return };
    let items: BTreeMap<&str, usize> = sources
        .iter()
        .map(|source| (source.task.name.as_str(), source.split.items.len()))
        .collect();
    let expected = [
        ("aci_bench", 67),
        ("bc5cdr", 4560),
        ("conv2note", 1201),
        ("medquad", 16_407),
        ("ncbi_disease", 5424),
        ("pubmedqa", 500),
    ];
    assert_eq!(items, BTreeMap::from(expected));

    let exported = export(&sources, Some(&mixture), &options(Some(4000), 42)).unwrap();
    let of = |category| exported.rows.iter().filter(|row| row.category == Some(category)).count();
    assert_eq!(Category::ALL.map(of), [911, 1351, 1339, 399]);
    let ids: BTreeSet<&str> = exported.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), 4000);
    for row in &exported.rows {
        assert!(["CC-BY-4.0", "MIT"].contains(&row.provenance.licence.as_str()), "{row:?}");
        assert!(!row.instruction.is_empty() && !row.output.is_empty(), "{}", row.provenance.source);
    }
    // Two dialogues of the validation set, one of test set 1 and one of test set 2 (twice) also stand in training.
    let left_out = |task: &str, export: &str| {
        let part = exported
            .parts
            .iter()
            .find(|part| (part.task.as_str(), part.export.as_str()) == (task, export));
        part.unwrap().left_out.get("holds a test item").copied()
    };
    assert_eq!(left_out("conv2note", "note"), Some(5));
    let inputs: Vec<&str> = exported.rows.iter().map(|row| row.input.as_str()).collect();
    let tests: Vec<&str> = sources
        .iter()
        .flat_map(|source| source.split.held_out.iter().map(String::as_str))
        .collect();
    assert!(tests.len() > 10_000);
    // Questions of MedQuAD have few words and may hold a short sentence by chance.
    let long = tests.into_iter().filter(|text| text.split_whitespace().count() >= 8);
    let texts: BTreeSet<String> = inputs.iter().map(|text| words_of(text)).collect();
    for test in long.map(words_of) {
        assert!(!texts.contains(&test), "{test}");
    }
}

fn words_of(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}
