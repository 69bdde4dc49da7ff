//! From everything that was read to what is kept and what is not: [`curate`].

use std::time::Instant;

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_data::rows::{LocatedRow, Quarantined, ReadRows};
use serde::{Deserialize, Serialize};

use crate::filter::{self, Evidence, Objection};
use crate::findings::{Finding, inconsistent_duplicates};
use crate::{CurateConfig, CurateError};

/// A row that a filter dropped: a line of `rejected.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// The row, unchanged.
    #[serde(flatten)]
    pub row: Instruction,
    /// The file it comes from.
    pub file: String,
    /// Where it begins there.
    pub line: usize,
    /// The name of the filter.
    pub filter: String,
    /// In words.
    pub reason: String,
    /// The row that it resembles, for filters that compare rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What one filter did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelStep {
    /// Its name.
    pub filter: String,
    /// Rows that came to it.
    pub rows_in: usize,
    /// Rows that it dropped.
    pub rejected: usize,
    /// Wall time; in no published file but `timing.jsonl`.
    #[serde(skip)]
    pub seconds: f64,
}

/// Everything that was read, on one side or another.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Pieces of input: rows and what should have been rows.
    pub read: usize,
    /// Rows that passed every filter, unchanged and in their order.
    pub kept: Vec<Instruction>,
    /// Rows that did not, in their order.
    pub rejected: Vec<Rejected>,
    /// What is not a row.
    pub quarantined: Vec<Quarantined>,
    /// What a person should look at; no row is dropped for it.
    pub findings: Vec<Finding>,
    /// The filters in the order in which they were applied.
    pub funnel: Vec<FunnelStep>,
}

/// Applies the configured filters.
///
/// Each filter sees the rows that the ones before it let pass, in their order; what it remembers for comparison are the
/// rows that it let pass itself. Under every dialect but Self-Instruct's the filter that remembers comes last, or drops
/// only rows that the others would drop too, so this is the loop "keep a row when all filters agree, compare with kept
/// rows".
pub fn curate(
    read: ReadRows,
    seeds: &[SeedTask],
    config: &CurateConfig,
) -> Result<Outcome, CurateError> {
    let rules = config.rules()?;
    let total = read.rows.len() + read.quarantined.len();
    let mut verdicts: Vec<Option<(&'static str, Objection)>> = vec![None; read.rows.len()];
    let mut alive: Vec<usize> = (0..read.rows.len()).collect();
    let mut funnel = Vec::new();
    for (name, mut filter) in filter::build_all(&rules, seeds)? {
        let started = Instant::now();
        let candidates: Vec<&Instruction> = alive.iter().map(|&at| &read.rows[at].row).collect();
        let objections = filter.admit_all(&candidates);
        let seconds = started.elapsed().as_secs_f64();
        let rows_in = alive.len();
        for (&at, objection) in alive.iter().zip(objections) {
            verdicts[at] = objection.map(|objection| (name, objection));
        }
        alive.retain(|&at| verdicts[at].is_none());
        funnel.push(FunnelStep {
            filter: name.to_owned(),
            rows_in,
            rejected: rows_in - alive.len(),
            seconds,
        });
    }
    let mut outcome = Outcome {
        read: total,
        kept: Vec::with_capacity(alive.len()),
        rejected: Vec::new(),
        quarantined: read.quarantined,
        findings: inconsistent_duplicates(&read.rows),
        funnel,
    };
    for (located, verdict) in read.rows.into_iter().zip(verdicts) {
        match verdict {
            None => outcome.kept.push(located.row),
            Some((name, objection)) => outcome.rejected.push(rejected(located, name, objection)),
        }
    }
    let found = outcome.kept.len() + outcome.rejected.len() + outcome.quarantined.len();
    assert_eq!(outcome.read, found, "a row was lost between filters");
    Ok(outcome)
}

fn rejected(located: LocatedRow, filter: &str, objection: Objection) -> Rejected {
    Rejected {
        row: located.row,
        file: located.file,
        line: located.line,
        filter: filter.to_owned(),
        reason: objection.reason,
        evidence: objection.evidence,
    }
}
