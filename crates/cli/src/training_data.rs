//! From row files to what the trainer draws: [`TrainingData`] reads and parts rows, [`Encoded`] is what a model makes of
//! them.

use std::path::{Path, PathBuf};

use bioinstruct_core::record::Instruction;
use bioinstruct_data::mixture::{Member, shares};
use bioinstruct_data::rows::read_rows;
use bioinstruct_data::split::{DevSize, split};
use bioinstruct_engine::train::config::TrainConfig;
use bioinstruct_engine::train::example::{Encoder, Examples};
use bioinstruct_engine::train::plan::Stratum;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::console::Console;
use crate::failure;

/// A row file as it is typed: `FILE` or `FILE:WEIGHT`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WeightedFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its part of the draws beside the other files' weights.
    pub(crate) weight: Option<f64>,
}

impl WeightedFile {
    /// A path that is there is taken as it is, whatever it holds.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let plain = Self { path: text.into(), weight: None };
        let Some((path, weight)) = text.rsplit_once(':').filter(|_| !plain.path.exists()) else {
            return Ok(plain);
        };
        let Ok(weight) = weight.parse::<f64>() else { return Ok(plain) };
        if !(weight.is_finite() && weight > 0.0) {
            return Err(format!("the weight {weight} is not positive"));
        }
        Ok(Self { path: path.into(), weight: Some(weight) })
    }

    /// A file without a weight.
    pub(crate) fn plain(path: PathBuf) -> Self {
        Self { path, weight: None }
    }
}

/// The rows of a run.
#[derive(Debug)]
pub(crate) struct TrainingData {
    /// To learn from.
    pub(crate) rows: Vec<Instruction>,
    /// To watch.
    pub(crate) dev: Vec<Instruction>,
    /// Which file each row to learn from stands in.
    files: Vec<usize>,
    /// Of each file; empty where there are none.
    weights: Vec<f64>,
}

impl TrainingData {
    /// Reads all files. Without a dev file, a seeded part of the rows is held out.
    pub(crate) fn read(
        data: &[WeightedFile],
        dev: Option<&Path>,
        config: &TrainConfig,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let weights = weights(data)?;
        let (mut rows, mut files) = (Vec::new(), Vec::new());
        for (number, file) in data.iter().enumerate() {
            rows.extend(some_rows(&file.path)?);
            files.resize(rows.len(), number);
        }
        if let Some(path) = dev {
            return Ok(Self { rows, dev: some_rows(path)?, files, weights });
        }
        let parted = split(&rows, DevSize::Fraction(config.dev_fraction), seed)?;
        let chosen = |indices: &[usize]| indices.iter().map(|index| rows[*index].clone()).collect();
        Ok(Self {
            dev: chosen(&parted.dev),
            files: parted.train.iter().map(|index| files[*index]).collect(),
            rows: chosen(&parted.train),
            weights,
        })
    }

    /// What decides the draws beside the rows themselves; null where each row is drawn once in an epoch.
    pub(crate) fn mixture(&self) -> Value {
        if self.weights.is_empty() {
            return Value::Null;
        }
        json!({"weights": self.weights, "files": self.files})
    }

    /// What the model will see.
    pub(crate) fn encode(
        &self,
        encoder: &Encoder<'_>,
        config: &TrainConfig,
        threads: usize,
    ) -> anyhow::Result<Encoded> {
        let learned = encoder.examples(&self.rows, threads)?;
        let watched = encoder.examples(&self.dev, threads)?;
        let strata = self.strata(&learned, config)?;
        Ok(Encoded { learned, watched, strata })
    }

    /// How often which example is drawn: rows that are left out have no part in it.
    fn strata(&self, learned: &Examples, config: &TrainConfig) -> anyhow::Result<Vec<Stratum>> {
        let member =
            |row: &usize| Member { file: self.files[*row], category: self.rows[*row].category };
        let members: Vec<Member> = learned.rows.iter().map(member).collect();
        let shares = shares(&members, &self.weights, &config.category_shares)?;
        Ok(shares
            .into_iter()
            .map(|share| Stratum { rows: share.rows, draws: share.draws })
            .collect())
    }
}

/// Either each file has a weight or none.
fn weights(data: &[WeightedFile]) -> anyhow::Result<Vec<f64>> {
    let weights: Vec<f64> = data.iter().filter_map(|file| file.weight).collect();
    if weights.is_empty() || weights.len() == data.len() {
        return Ok(weights);
    }
    let without = data.iter().find(|file| file.weight.is_none());
    let path = without.map_or_else(String::new, |file| file.path.display().to_string());
    Err(failure::usage(
        format!("{path} has no weight, and other files have one"),
        "give a weight to each file of `--data` or to none",
    ))
}

/// The rows of a file that must not be empty.
pub(crate) fn some_rows(path: &Path) -> anyhow::Result<Vec<Instruction>> {
    let rows = read_rows(path)?.complete()?;
    if rows.is_empty() {
        return Err(failure::data(
            format!("there is no row in {}", path.display()),
            "give rows with `instruction`, `input` and `output`, or chats: JSON, CSV or Parquet",
        ));
    }
    Ok(rows)
}

/// What became of the rows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RowCounts {
    /// Learned from, whole or shortened.
    rows: usize,
    /// Watched, whole or shortened.
    dev_rows: usize,
    /// Longer than the cutoff and left out.
    overlong_rows: usize,
    /// Learned from with the end of their input cut.
    shortened_rows: usize,
    /// Without an answer and left out.
    unlabelled_rows: usize,
    overlong_dev_rows: usize,
    shortened_dev_rows: usize,
    unlabelled_dev_rows: usize,
}

/// Rows as a model sees them.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// To learn from.
    pub(crate) learned: Examples,
    /// To watch.
    pub(crate) watched: Examples,
    /// How often which of the first are drawn.
    pub(crate) strata: Vec<Stratum>,
}

impl Encoded {
    /// Says which rows are not learned as they stand.
    pub(crate) fn say(&self, console: &Console) {
        let told = |found: &Examples| {
            let row = |(id, tokens): &(String, usize)| format!("{id} ({tokens} tokens)");
            [
                found.overlong.iter().map(row).collect::<Vec<_>>(),
                found.shortened.iter().map(row).collect(),
                found.unlabelled.clone(),
            ]
        };
        let whats = [
            "longer than the cutoff and left out",
            "longer than the cutoff and have the end of their input cut off",
            "without an answer and left out",
        ];
        for (what, rows) in
            whats.iter().zip(told(&self.learned).into_iter().zip(told(&self.watched)))
        {
            let rows = [rows.0, rows.1].concat();
            if rows.is_empty() {
                continue;
            }
            let some = rows.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            let more = if rows.len() > 5 { ", …" } else { "" };
            console.say(&format!("warning: {} rows are {what}: {some}{more}", rows.len()));
        }
    }

    /// The counts for the summary.
    pub(crate) fn counts(&self) -> RowCounts {
        let (learned, watched) = (&self.learned, &self.watched);
        RowCounts {
            rows: learned.examples.len(),
            dev_rows: watched.examples.len(),
            overlong_rows: learned.overlong.len(),
            shortened_rows: learned.shortened.len(),
            unlabelled_rows: learned.unlabelled.len(),
            overlong_dev_rows: watched.overlong.len(),
            shortened_dev_rows: watched.shortened.len(),
            unlabelled_dev_rows: watched.unlabelled.len(),
        }
    }

    /// The rows that are not learned as they stand: one line each.
    pub(crate) fn left_out(&self) -> Vec<Value> {
        let mut lines = Vec::new();
        for (side, found) in [("train", &self.learned), ("dev", &self.watched)] {
            let mut add = |id: &str, what: &str, tokens: Option<usize>| {
                lines.push(json!({"id": id, "rows": side, "decision": what, "tokens": tokens}));
            };
            found.overlong.iter().for_each(|(id, tokens)| add(id, "overlong", Some(*tokens)));
            found.shortened.iter().for_each(|(id, tokens)| add(id, "shortened", Some(*tokens)));
            found.unlabelled.iter().for_each(|id| add(id, "unlabelled", None));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_stands_behind_the_last_colon_of_a_path_that_is_not_there() {
        let parsed = |text: &str| WeightedFile::parse(text).map(|it| (it.path, it.weight));
        assert_eq!(parsed("a.jsonl:0.3"), Ok(("a.jsonl".into(), Some(0.3))));
        assert_eq!(parsed("a.jsonl"), Ok(("a.jsonl".into(), None)));
        assert_eq!(parsed("C:rows.jsonl"), Ok(("C:rows.jsonl".into(), None)));
        for bad in ["a.jsonl:0", "a.jsonl:-1", "a.jsonl:inf", "a.jsonl:nan"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        let there = std::env::temp_dir().join(format!("rows-{}:0.5", std::process::id()));
        fs_err::write(&there, "").unwrap();
        let text = there.display().to_string();
        assert_eq!(parsed(&text), Ok((there.clone(), None)));
        assert_eq!(parsed(&format!("{text}:2")), Ok((there.clone(), Some(2.0))));
        fs_err::remove_file(there).unwrap();
    }

    #[test]
    fn all_files_have_a_weight_or_none() {
        let file = |weight| WeightedFile { path: "a.jsonl".into(), weight };
        assert_eq!(weights(&[file(None), file(None)]).unwrap(), Vec::<f64>::new());
        assert_eq!(weights(&[file(Some(1.0)), file(Some(2.0))]).unwrap(), [1.0, 2.0]);
        assert!(weights(&[file(Some(1.0)), file(None)]).is_err());
    }
}
