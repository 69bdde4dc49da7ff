//! How often the extraction of verb and noun is right, on instructions labelled by hand before it was written.
//!
//! One developer, not an expert, labelled all 256, and wrote the rules. The seeds and the public rows were labelled before there were
//! rules; the rules were mended by the seeds' mistakes, by the others' never. Nobody who had not read the instructions wrote the
//! rules, so expect less on instructions of another make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bioinstruct_core::jsonl;
use bioinstruct_core::record::SeedTask;
use bioinstruct_curate::verb_noun::extract;
use bioinstruct_data::rows::read_rows;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// By name: verb and noun, `-` for none.
fn labels(file: &str) -> BTreeMap<String, [String; 2]> {
    let text = fs_err::read_to_string(here("tests/labels").join(file)).expect("labels");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            (fields[0].to_owned(), [fields[1], fields[2]].map(str::to_owned))
        })
        .collect()
}

/// How many instructions have the right verb, the right noun, both.
#[expect(clippy::print_stdout, reason = "what is wrong is worth reading")]
fn right<'a>(
    instructions: impl Iterator<Item = (&'a str, &'a str)>,
    labels: &BTreeMap<String, [String; 2]>,
) -> [usize; 3] {
    let mut counts = [0; 3];
    for (name, instruction) in instructions {
        let [verb, noun] = &labels[name];
        let found = extract(instruction);
        let found_verb = found.as_ref().map_or("-", |found| found.verb.as_str());
        let found_noun = found.as_ref().and_then(|found| found.noun.as_deref()).unwrap_or("-");
        let (verb_right, noun_right) = (found_verb == verb, found_noun == noun);
        if !(verb_right && noun_right) {
            println!("{name}: {verb} {noun}, found {found_verb} {found_noun}");
        }
        counts[0] += usize::from(verb_right);
        counts[1] += usize::from(noun_right);
        counts[2] += usize::from(verb_right && noun_right);
    }
    counts
}

#[test]
fn on_the_seeds() {
    let seeds: Vec<SeedTask> = jsonl::read(&here("../../seeds/seed_tasks.jsonl")).unwrap();
    let labels = labels("verb_noun_seeds.tsv");
    assert_eq!((seeds.len(), labels.len()), (80, 80));
    let rows = seeds.iter().map(|seed| (seed.id.as_str(), seed.instruction.as_str()));
    assert_eq!(right(rows, &labels), [80, 77, 77], "verb, noun and both of 80");
}

#[test]
fn on_rows_written_for_the_classifier() {
    let labels = labels("verb_noun_category_rows.tsv");
    assert_eq!(labels.len(), 64);
    let rows = labels.keys().map(|text| (text.as_str(), text.as_str()));
    assert_eq!(right(rows, &labels), [62, 62, 60], "verb, noun and both of 64");
}

#[test]
fn on_public_rows() {
    let folder = std::env::var_os("BIOINSTRUCT_TEST_DATA")
        .map_or_else(|| here("../../../shared/data"), PathBuf::from);
    let path = folder.join("bioinstruct-sample/bioinstruct_112.json");
    if !path.is_file() {
        println!("skipped: there is no {}", path.display());
        return;
    }
    let rows = read_rows(&path).unwrap().complete().unwrap();
    let labels = labels("verb_noun_bioinstruct_sample.tsv");
    let rows = rows.iter().map(|row| (row.id.as_str(), row.instruction.as_str()));
    assert_eq!(right(rows, &labels), [112, 110, 110], "verb, noun and both of 112");
}
