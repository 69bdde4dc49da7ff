//! Makes the weights of the local classifier from the seeds and `crates/curate/data/category_rows.tsv`:
//!
//! `cargo run -p bioinstruct-curate --example train_categories`
//!
//! It prints the accuracy of a five-fold cross-validation on those rows for several schedules, and writes the weights of the
//! chosen one. Nothing but the two files goes in.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::Path;

use bioinstruct_core::jsonl;
use bioinstruct_core::record::SeedTask;
use bioinstruct_curate::category::train::{Example, Schedule, examples, train};

const FOLDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seeds: Vec<SeedTask> = jsonl::read(&here.join("../../seeds/seed_tasks.jsonl"))?;
    let rows = fs_err::read_to_string(here.join("data/category_rows.tsv"))?;
    let examples = examples(&seeds, &rows)?;
    println!("{} rows", examples.len());
    for epochs in [20, 60, 120] {
        for decay in [0.005, 0.02, 0.08] {
            let schedule = Schedule { epochs, decay, ..Schedule::CHOSEN };
            println!("{schedule:?}: {:.3}", cross_validated(&examples, schedule));
        }
    }
    let weights = train(&examples, Schedule::CHOSEN);
    println!("chosen: {:.3}", cross_validated(&examples, Schedule::CHOSEN));
    fs_err::write(here.join("data/category_weights.bin"), weights.to_bytes())?;
    Ok(())
}

/// Share of rows whose kind is found by weights that were trained without their fold.
fn cross_validated(examples: &[Example], schedule: Schedule) -> f64 {
    let mut right = 0;
    for fold in 0..FOLDS {
        let part = |inside: bool| -> Vec<Example> {
            let rows = examples.iter().enumerate();
            rows.filter(|(at, _)| (at % FOLDS == fold) == inside)
                .map(|(_, example)| example.clone())
                .collect()
        };
        let weights = train(&part(false), schedule);
        let tested = part(true);
        right += tested.iter().filter(|row| weights.classify(row) == row.category()).count();
    }
    right as f64 / examples.len() as f64
}
