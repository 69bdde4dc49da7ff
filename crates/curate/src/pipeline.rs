//! From everything that was read to what is kept and what is not: [`curate`].

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_data::rows::{LocatedRow, Quarantined, ReadRows};
use bioinstruct_text::numbered::NumberedTexts;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::config::Rules;
use crate::decontaminate::against::{
    Against, Comparison, Contaminated, ContaminationReport, Found,
};
use crate::filter::{self, Evidence, Objection};
use crate::findings::{Finding, FindingRow, Together, inconsistent_duplicates};
use crate::history::Origin;
use crate::{CurateConfig, CurateError};

/// A row that a filter dropped: a line of `rejected.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// The row, unchanged.
    #[serde(flatten)]
    pub row: Instruction,
    /// The file it comes from.
    pub file: Arc<str>,
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
    /// Where each kept row stands in the files.
    pub origins: Vec<Origin>,
    /// Rows that did not, in their order.
    pub rejected: Vec<Rejected>,
    /// What is not a row.
    pub quarantined: Vec<Quarantined>,
    /// Where each row is now, in the order in which they were read.
    pub places: Vec<Place>,
    /// What a person should look at, each with its texts from [`Outcome::finding`]; no row is dropped for it.
    pub findings: Vec<Together>,
    /// The filters in the order in which they were applied.
    pub funnel: Vec<FunnelStep>,
    /// What rows share with the items of tasks, when they were compared with any.
    pub contamination: Option<Contamination>,
    /// The tokens of the kept rows' instructions, when the last filter has compared them.
    pub instructions: Option<NumberedTexts>,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is this one of the kept rows.
    Kept(usize),
    /// It is this one of the rejected rows.
    Rejected(usize),
}

impl Outcome {
    /// A finding with the texts of its rows.
    pub fn finding(&self, together: &Together) -> Finding<'_> {
        let (question, _, _) = self.located(together.question);
        let row = |&read: &usize| {
            let (row, file, line) = self.located(read);
            FindingRow {
                id: Cow::Borrowed(&row.id),
                file: Cow::Borrowed(file),
                line,
                output: Cow::Borrowed(&row.output),
            }
        };
        Finding {
            kind: together.kind,
            instruction: Cow::Borrowed(&question.instruction),
            rows: together.rows.iter().map(row).collect(),
        }
    }

    /// The row that was read as this one, and where it stands in the files.
    fn located(&self, read: usize) -> (&Instruction, &str, usize) {
        match self.places[read] {
            Place::Kept(at) => (&self.kept[at], &self.origins[at].file, self.origins[at].line),
            Place::Rejected(at) => {
                let rejected = &self.rejected[at];
                (&rejected.row, &rejected.file, rejected.line)
            }
        }
    }
}

/// What was found of tasks' items in the rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contamination {
    /// In numbers and ids.
    pub report: ContaminationReport,
    /// All pairs of a row and an item, by row in their order.
    pub found: Vec<Found>,
}

/// The step of the funnel in which rows are compared with the items of tasks.
pub const CONTAMINATED: &str = "contaminated";

/// [`curate_against`] nothing: no row is compared with test items.
pub fn curate(
    read: ReadRows,
    seeds: &[SeedTask],
    config: &CurateConfig,
) -> Result<Outcome, CurateError> {
    curate_against(read, seeds, config, &Against::default())
}

/// Applies the configured filters, and drops or reports rows that hold items of `against`.
///
/// Each filter sees the rows that the ones before it let pass, in their order; what it remembers for comparison are the
/// rows that it let pass itself. Under every dialect but Self-Instruct's the filter that remembers comes last, or drops
/// only rows that the others would drop too, so this is the loop "keep a row when all filters agree, compare with kept
/// rows". Test items are looked for before novelty is judged, so that a contaminated row never keeps a clean one away.
pub fn curate_against(
    read: ReadRows,
    seeds: &[SeedTask],
    config: &CurateConfig,
    against: &Against,
) -> Result<Outcome, CurateError> {
    // Findings are about all rows that were read, whatever becomes of them.
    let (sieved, findings) = rayon::join(
        || sieve(&read.rows, seeds, config, against),
        || inconsistent_duplicates(&read.rows),
    );
    let (Sieve { verdicts, alive, funnel, instructions, .. }, compared) = sieved?;
    let contamination = compared.map(|(places, comparison)| {
        let stayed = |row: usize| verdicts[places[row]].is_none();
        let report = comparison.report(config.contaminated, stayed);
        Contamination { report, found: comparison.found.into_iter().flatten().collect() }
    });
    let mut outcome = Outcome {
        read: read.rows.len() + read.quarantined.len(),
        kept: Vec::with_capacity(alive.len()),
        origins: Vec::with_capacity(alive.len()),
        rejected: Vec::with_capacity(read.rows.len() - alive.len()),
        places: Vec::with_capacity(read.rows.len()),
        findings,
        quarantined: read.quarantined,
        funnel,
        contamination,
        instructions,
    };
    for (located, verdict) in read.rows.into_iter().zip(verdicts) {
        match verdict {
            None => {
                let LocatedRow { row, file, line } = located;
                outcome.places.push(Place::Kept(outcome.kept.len()));
                outcome.origins.push(Origin { id: row.id.clone(), file, line });
                outcome.kept.push(row);
            }
            Some((name, objection)) => {
                outcome.places.push(Place::Rejected(outcome.rejected.len()));
                outcome.rejected.push(rejected(located, name, objection));
            }
        }
    }
    let found = outcome.kept.len() + outcome.rejected.len() + outcome.quarantined.len();
    assert_eq!(outcome.read, found, "a row was lost between filters");
    Ok(outcome)
}

/// The compared rows' places among all, and what they were found to hold.
type Compared = (Vec<usize>, Comparison);

/// Lets all filters judge, each what the ones before it let pass.
fn sieve<'a>(
    rows: &'a [LocatedRow],
    seeds: &[SeedTask],
    config: &CurateConfig,
    against: &Against,
) -> Result<(Sieve<'a>, Option<Compared>), CurateError> {
    let rules = config.rules()?;
    let mut sieve = Sieve::new(rows);
    let mut compared = None;
    let is_due = |name: &str| !against.is_empty() && name == "rouge-l";
    for (name, mut filter) in filter::build_all(&rules, seeds)? {
        if is_due(name) {
            compared = Some(sieve.compare(against, config.contaminated)?);
        }
        sieve.step(name, |rows| match filter::entry(name) {
            Some(entry) if !entry.remembers() => one_by_one(entry, &rules, seeds, rows),
            _ => filter.admit_all(rows),
        });
        sieve.instructions = filter.into_instructions();
    }
    if compared.is_none() && !against.is_empty() {
        compared = Some(sieve.compare(against, config.contaminated)?);
    }
    Ok((sieve, compared))
}

/// The verdicts of a filter that remembers nothing, on all threads of the current rayon pool.
fn one_by_one(
    entry: &filter::Entry,
    rules: &Rules,
    seeds: &[SeedTask],
    rows: &[&Instruction],
) -> Vec<Option<Objection>> {
    let build = || (entry.build)(rules, seeds).expect("it was built with these rules before");
    let chunks = rows.par_chunks(256).map_init(build, |filter, chunk| filter.admit_all(chunk));
    chunks.collect::<Vec<_>>().into_iter().flatten().collect()
}

/// The rows on their way through the filters.
struct Sieve<'a> {
    rows: &'a [LocatedRow],
    verdicts: Vec<Option<(&'static str, Objection)>>,
    alive: Vec<usize>,
    funnel: Vec<FunnelStep>,
    /// The tokens of the instructions that the last filter let pass, when it has them.
    instructions: Option<NumberedTexts>,
}

impl<'a> Sieve<'a> {
    fn new(rows: &'a [LocatedRow]) -> Self {
        let verdicts = vec![None; rows.len()];
        let alive = (0..rows.len()).collect();
        Self { rows, verdicts, alive, funnel: Vec::new(), instructions: None }
    }

    /// Lets one rule judge the rows that are left.
    fn step(
        &mut self,
        name: &'static str,
        judge: impl FnOnce(&[&'a Instruction]) -> Vec<Option<Objection>>,
    ) {
        let started = Instant::now();
        let candidates: Vec<&Instruction> =
            self.alive.iter().map(|&at| &self.rows[at].row).collect();
        let objections = judge(&candidates);
        let rows_in = self.alive.len();
        for (&at, objection) in self.alive.iter().zip(objections) {
            self.verdicts[at] = objection.map(|objection| (name, objection));
        }
        self.alive.retain(|&at| self.verdicts[at].is_none());
        self.funnel.push(FunnelStep {
            filter: name.to_owned(),
            rows_in,
            rejected: rows_in - self.alive.len(),
            seconds: started.elapsed().as_secs_f64(),
        });
    }

    /// Looks for test items; also gives the places of the compared rows among all.
    fn compare(
        &mut self,
        against: &Against,
        action: Contaminated,
    ) -> Result<Compared, CurateError> {
        let places = self.alive.clone();
        let mut compared = None;
        self.step(CONTAMINATED, |rows| {
            let comparison = against.compare(rows);
            let objections = match (&comparison, action) {
                (Ok(comparison), Contaminated::Drop) => (0..rows.len())
                    .map(|row| comparison.contaminated(row).map(contaminated))
                    .collect(),
                _ => vec![None; rows.len()],
            };
            compared = Some(comparison);
            objections
        });
        let comparison = compared.expect("the rows were judged")?;
        Ok((places, comparison))
    }
}

fn contaminated(found: &Found) -> Objection {
    let (task, item) = found.item();
    let similarity = match found {
        Found::Text(hit) => hit.rouge_l,
        Found::Hashes(_) => None,
    };
    let evidence = Evidence { nearest: format!("{task}:{item}"), similarity };
    Objection { reason: found.reason(), evidence: Some(evidence) }
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
