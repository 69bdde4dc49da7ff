//! The stage `review` of a run: [`audit`] writes a sheet of rows of its dataset, [`take`] adds up what comes back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::jsonl;
use bioinstruct_core::record::Instruction;
use bioinstruct_core::run_directory::{Manifest, RunDirectory};
use serde_json::json;

use super::{Review, answers, sheet};
use crate::CurateError;

/// The directory of the stage in a run.
pub const DIRECTORY: &str = "review";

/// The sheet.
pub const SHEET: &str = "audit.csv";

/// What came back.
pub const REVIEW: &str = "review.json";

/// Draws `count` rows of the run's dataset and writes the sheet; gives its path and the number of rows.
pub fn audit(run: &RunDirectory, count: usize, seed: u64) -> Result<(PathBuf, usize), CurateError> {
    let rows = dataset(run.root())?;
    let drawn: Vec<&Instruction> =
        sheet::draw(&rows, count, seed).into_iter().map(|at| &rows[at]).collect();
    let stage = run.stage(DIRECTORY)?;
    let path = stage.publish(SHEET, |out| sheet::write(out, &drawn))?;
    let inputs = BTreeMap::from([("dataset".to_owned(), dataset_hash(run.root())?)]);
    stage.finish(Manifest::new("review", seed, json!({"audit": count}), inputs), &[SHEET])?;
    Ok((path, drawn.len()))
}

/// Adds up filled-in sheets of the run's dataset and publishes what they say.
///
/// # Errors
/// When a sheet cannot be read, names a row that is not in the dataset, or holds no answer at all.
pub fn take(run: &RunDirectory, sheets: &[PathBuf], seed: u64) -> Result<Review, CurateError> {
    let rows = dataset(run.root())?;
    let mut inputs = BTreeMap::from([("dataset".to_owned(), dataset_hash(run.root())?)]);
    let mut ratings = Vec::new();
    for (position, path) in sheets.iter().enumerate() {
        let damaged = |reason: String| CurateError::Damaged { path: path.clone(), reason };
        let found = answers::read(path)?;
        let unknown = |rating: &&answers::Rating| rows.iter().all(|row| row.id != rating.id);
        if let Some(rating) = found.iter().find(unknown) {
            return Err(damaged(format!("row `{}` is not in this dataset", rating.id)));
        }
        if found.is_empty() {
            return Err(damaged("there is no answer in it".to_owned()));
        }
        let hash = ContentHash::of_file(path).map_err(CurateError::read)?;
        inputs.insert(format!("sheet {}", position + 1), hash.to_string());
        ratings.extend(found);
    }
    let review = Review::of(&rows, &ratings);
    let stage = run.stage(DIRECTORY)?;
    stage.publish_json(REVIEW, &review)?;
    stage.finish(Manifest::new("review", seed, json!({}), inputs), &[REVIEW])?;
    Ok(review)
}

fn dataset(run: &Path) -> Result<Vec<Instruction>, CurateError> {
    let directory = run.join(crate::stage::DIRECTORY);
    if !directory.join("manifest.json").is_file() {
        return Err(CurateError::NoDataset { run: run.to_owned() });
    }
    let mut rows: Vec<Instruction> = jsonl::read(&directory.join("train.jsonl"))?;
    rows.extend(jsonl::read::<Instruction>(&directory.join("dev.jsonl"))?);
    Ok(rows)
}

fn dataset_hash(run: &Path) -> Result<String, CurateError> {
    let path = run.join(crate::stage::DIRECTORY).join("manifest.json");
    Ok(ContentHash::of_file(&path).map_err(CurateError::read)?.to_string())
}
