//! The local classifier: made again to the byte, and measured on rows that our templates did not make.
//!
//! `tests/labels/bioinstruct_sample_categories.tsv` was labelled by one developer (not an expert) before anything was trained. The
//! training rows were written afterwards by the same developer, who had seen those 112 rows; none of them is among them. Public rows
//! were picked by keyword by whoever published them, so these figures are those of that sample.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bioinstruct_core::jsonl;
use bioinstruct_core::record::{Category, Instruction, SeedTask};
use bioinstruct_curate::agreement::{accuracy, cohen_kappa, krippendorff_alpha};
use bioinstruct_curate::category::LocalClassifier;
use bioinstruct_curate::category::train::{Schedule, examples, train};
use bioinstruct_data::rows::{ReadRows, read_rows};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_weights_are_made_again_to_the_byte() {
    let seeds: Vec<SeedTask> = jsonl::read(&here("../../seeds/seed_tasks.jsonl")).unwrap();
    let rows = fs_err::read_to_string(here("data/category_rows.tsv")).unwrap();
    let examples = examples(&seeds, &rows).unwrap();
    let weights = train(&examples, Schedule::CHOSEN);
    let committed = fs_err::read(here("data/category_weights.bin")).unwrap();
    assert!(weights.to_bytes() == committed, "run the example `train_categories`");
    let right = examples.iter().filter(|row| weights.classify(row) == row.category()).count();
    assert!(right * 100 > examples.len() * 95, "{right} of {} learned", examples.len());
}

#[test]
fn agreement_with_the_labelled_public_rows() {
    let Some(rows) = public_rows() else { return };
    let labels = labels();
    assert_eq!(labels.len(), 112);
    let classifier = LocalClassifier::new();
    let pairs: Vec<(Category, Category)> =
        rows.iter().map(|row| (labels[&row.id], classifier.classify(row))).collect();
    let items: Vec<Vec<Category>> = pairs.iter().map(|&(left, right)| vec![left, right]).collect();
    let (share, kappa, alpha) = (
        accuracy(&pairs).unwrap(),
        cohen_kappa(&pairs).unwrap(),
        krippendorff_alpha(&items).unwrap(),
    );
    eprintln!("accuracy {share:.3}, Cohen's kappa {kappa:.3}, Krippendorff's alpha {alpha:.3}");
    for label in Category::ALL {
        let row =
            Category::ALL.map(|found| pairs.iter().filter(|&&pair| pair == (label, found)).count());
        eprintln!("{:>10}: {row:?}", label.name());
    }
    let found = [share, kappa, alpha].map(|value| (1000.0 * value).round() as i64);
    assert_eq!(found, [875, 795, 796], "the figures in the documents");
}

fn labels() -> BTreeMap<String, Category> {
    let text = fs_err::read_to_string(here("tests/labels/bioinstruct_sample_categories.tsv"))
        .expect("labels");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (id, name) = line.split_once('\t').expect("id and kind");
            let category = Category::ALL.into_iter().find(|category| category.name() == name);
            (id.to_owned(), category.expect("one of the four"))
        })
        .collect()
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn public_rows() -> Option<Vec<Instruction>> {
    let folder = std::env::var_os("BIOINSTRUCT_TEST_DATA")
        .map_or_else(|| here("../../../shared/data"), PathBuf::from);
    let path = folder.join("bioinstruct-sample/bioinstruct_112.json");
    if !path.is_file() {
        println!("skipped: there is no {}", path.display());
        return None;
    }
    Some(read_rows(&path).and_then(ReadRows::complete).expect("rows"))
}
