//! All that a run knows of one row: [`History`], behind `curate --explain ID`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use bioinstruct_core::record::{Instruction, SeedTask};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decontaminate::against::Found;
use crate::findings::Finding;
use crate::pipeline::Rejected;
use crate::statistics::Statistics;
use crate::{CurateError, Evidence};

/// Where a kept row stands in the files that were read: a line of `origins.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The row's id.
    pub id: String,
    /// The file, as it was given.
    pub file: Arc<str>,
    /// Where the row begins there.
    pub line: usize,
}

/// What one filter said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// The filter.
    pub filter: String,
    /// `passed`, `dropped`, or `not asked` because an earlier one had dropped the row.
    pub verdict: String,
    /// Why it dropped the row.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The row that this one lost against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// One occurrence of a row: rows with equal texts have one id, and each its own fate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fate {
    /// `train`, `dev` or `rejected`.
    pub place: String,
    /// The row.
    pub row: Instruction,
    /// The file that it was read from and the line, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The filters in the order in which they were applied.
    pub opinions: Vec<Opinion>,
    /// The row that it lost against, or a seed in the form of a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_against: Option<Instruction>,
}

/// Everything with one id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The id.
    pub id: String,
    /// In the order of train, dev and rejected.
    pub fates: Vec<Fate>,
    /// Findings that name it.
    pub findings: Vec<Finding<'static>>,
    /// What it shares with test items.
    pub contamination: Vec<Found>,
    /// Its lines in `generate/`, by file: what was decided while a model was still writing.
    pub generated: BTreeMap<String, Vec<Value>>,
}

impl History {
    /// Collects what the files of a run say of the row; `seeds` are those that rows were compared with.
    ///
    /// # Errors
    /// When the dataset is not finished, a file cannot be read, or no row has this id.
    pub fn of(run: &Path, id: &str, seeds: &[SeedTask]) -> Result<Self, CurateError> {
        let dataset = run.join(crate::stage::DIRECTORY);
        let statistics = fs_err::read_to_string(dataset.join("stats.json"))
            .map_err(|_| CurateError::NoDataset { run: run.to_owned() })?;
        let statistics: Statistics = serde_json::from_str(&statistics).map_err(|error| {
            CurateError::Damaged { path: dataset.join("stats.json"), reason: error.to_string() }
        })?;
        let filters: Vec<&str> =
            statistics.funnel.iter().map(|step| step.filter.as_str()).collect();
        let mut history = Self { id: id.to_owned(), ..Self::default() };
        let mut origins = lines_with::<Origin>(&dataset.join("origins.jsonl"), id)?
            .into_iter()
            .filter(|origin| origin.id == id);
        for place in ["train", "dev"] {
            for row in lines_with::<Instruction>(&dataset.join(format!("{place}.jsonl")), id)? {
                if row.id == id {
                    let opinions = filters.iter().map(|filter| passed(filter)).collect();
                    let origin = origins.next();
                    let place = place.to_owned();
                    history.fates.push(Fate { place, row, origin, opinions, lost_against: None });
                }
            }
        }
        for rejected in lines_with::<Rejected>(&dataset.join("rejected.jsonl"), id)? {
            if rejected.row.id == id {
                history.fates.push(dropped(rejected, &filters, &dataset, seeds)?);
            }
        }
        let names_it = |finding: &Finding| finding.rows.iter().any(|row| row.id == id);
        history.findings = lines_with(&dataset.join("findings.jsonl"), id)?;
        history.findings.retain(names_it);
        history.contamination = lines_with(&dataset.join("contamination.jsonl"), id)?;
        history.contamination.retain(|found| match found {
            Found::Text(hit) => hit.row == id,
            Found::Hashes(hit) => hit.row == id,
        });
        for file in ["instructions.jsonl", "rejected.jsonl"] {
            let lines = lines_with::<Value>(&run.join("generate").join(file), id)?;
            if !lines.is_empty() {
                history.generated.insert(format!("generate/{file}"), lines);
            }
        }
        if history.fates.is_empty() && history.generated.is_empty() {
            return Err(CurateError::NoSuchRow { id: id.to_owned(), run: run.to_owned() });
        }
        Ok(history)
    }
}

fn passed(filter: &str) -> Opinion {
    let verdict = "passed".to_owned();
    Opinion { filter: filter.to_owned(), verdict, reason: String::new(), evidence: None }
}

fn dropped(
    rejected: Rejected,
    filters: &[&str],
    dataset: &Path,
    seeds: &[SeedTask],
) -> Result<Fate, CurateError> {
    let place = filters.iter().position(|filter| *filter == rejected.filter);
    let opinions = filters.iter().enumerate().map(|(at, filter)| match place {
        Some(dropper) if at == dropper => Opinion {
            filter: (*filter).to_owned(),
            verdict: "dropped".to_owned(),
            reason: rejected.reason.clone(),
            evidence: rejected.evidence.clone(),
        },
        Some(dropper) if at > dropper => {
            Opinion { verdict: "not asked".to_owned(), ..passed(filter) }
        }
        _ => passed(filter),
    });
    let lost_against = match &rejected.evidence {
        Some(evidence) => winner(&evidence.nearest, dataset, seeds)?,
        None => None,
    };
    let (id, file, line) = (rejected.row.id.clone(), Arc::clone(&rejected.file), rejected.line);
    Ok(Fate {
        place: "rejected".to_owned(),
        opinions: opinions.collect(),
        row: rejected.row,
        origin: Some(Origin { id, file, line }),
        lost_against,
    })
}

/// The row of this id in the dataset, or the seed of this name.
fn winner(
    id: &str,
    dataset: &Path,
    seeds: &[SeedTask],
) -> Result<Option<Instruction>, CurateError> {
    if let Some(seed) = seeds.iter().find(|seed| seed.id == id) {
        return Ok(Some(seed.into()));
    }
    for file in ["train.jsonl", "dev.jsonl", "rejected.jsonl"] {
        let rows: Vec<Value> = lines_with(&dataset.join(file), id)?;
        let row = rows.into_iter().find(|row| row["id"] == id);
        if let Some(row) = row.and_then(|row| serde_json::from_value(row).ok()) {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// The rows of the lines that hold `text` somewhere; a file that is not there has none. Lines without it are not parsed.
fn lines_with<T: DeserializeOwned>(path: &Path, text: &str) -> Result<Vec<T>, CurateError> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let reader =
        BufReader::with_capacity(1 << 16, fs_err::File::open(path).map_err(CurateError::read)?);
    let mut rows = Vec::new();
    for (position, line) in reader.lines().enumerate() {
        let line = line.map_err(CurateError::read)?;
        if line.contains(text) {
            rows.push(serde_json::from_str(&line).map_err(|error| CurateError::Damaged {
                path: path.to_owned(),
                reason: format!("line {}: {error}", position + 1),
            })?);
        }
    }
    Ok(rows)
}
