//! What a dataset looks like in numbers: [`Statistics`], the content of `stats.json`.

use std::collections::BTreeMap;

use bioinstruct_core::record::{Category, Instruction};
use bioinstruct_data::rows::says_no_input;
use bioinstruct_text::normalize::word_count;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::category::Labelling;
use crate::decontaminate::against::ContaminationReport;
use crate::diversity::Diversity;
use crate::licence::Licensing;
use crate::meaning::Meaning;
use crate::pipeline::{FunnelStep, Outcome};

/// Lower bounds of the histograms' bins, in words; the last bin has no end.
const BINS: [usize; 14] = [0, 1, 6, 11, 16, 21, 31, 41, 61, 81, 121, 161, 241, 321];

/// How many rows are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Pieces of input: the sum of the next three.
    pub read: usize,
    /// In train or dev.
    pub kept: usize,
    /// Dropped by a filter.
    pub rejected: usize,
    /// Not a row.
    pub quarantined: usize,
    /// Kept, to learn from.
    pub train: usize,
    /// Kept, to measure with.
    pub dev: usize,
}

/// One kind of instruction among the kept rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CategoryShare {
    /// Rows.
    pub rows: usize,
    /// Of all kept rows.
    pub share: f64,
    /// What the paper reports for its 25,005 rows; absent for `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paper_share: Option<f64>,
}

/// One bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// Fewest words.
    pub from: usize,
    /// Most words; absent for the last bin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<usize>,
    /// Rows.
    pub rows: usize,
}

/// Lengths in words, words being what white space separates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// Texts counted.
    pub count: usize,
    /// Average.
    pub mean: f64,
    /// Half of the texts are at most this long.
    pub median: usize,
    /// 95 % of the texts are at most this long.
    pub p95: usize,
    /// The longest.
    pub max: usize,
    /// All bins, empty ones too.
    pub histogram: Vec<Bin>,
}

/// The kept rows in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// How many rows are where.
    pub rows: RowCounts,
    /// The filters in their order.
    pub funnel: Vec<FunnelStep>,
    /// The paper's four kinds, and `unknown`.
    pub categories: BTreeMap<String, CategoryShare>,
    /// Where the kinds come from.
    #[serde(default)]
    pub labelling: Labelling,
    /// Instructions.
    pub instruction_words: Lengths,
    /// Inputs of the rows that have one.
    pub input_words: Lengths,
    /// Outputs.
    pub output_words: Lengths,
    /// Share of the rows whose input is neither empty nor a way of saying that there is none.
    pub share_with_input: f64,
    /// Rows by where they come from.
    pub sources: BTreeMap<String, usize>,
    /// Rows by the model that wrote them.
    pub models: BTreeMap<String, usize>,
    /// Rows by licence; `unknown` where none is given.
    pub licences: BTreeMap<String, usize>,
    /// Rows whose text, or whose exemplars' text, is under a data-use agreement.
    pub restricted: usize,
    /// Under which terms the rows come.
    #[serde(default)]
    pub licensing: Licensing,
    /// What rows share with the items of tasks; absent when they were compared with none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contamination: Option<ContaminationReport>,
    /// How different the rows are from one another.
    #[serde(default)]
    pub diversity: Diversity,
    /// What a sentence encoder says of them, when one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Meaning>,
}

impl Statistics {
    /// Counts the kept rows of `outcome`.
    pub fn of(outcome: &Outcome, labelling: Labelling, train: usize, dev: usize) -> Self {
        let kept = &outcome.kept;
        let words = |text: fn(&Instruction) -> &str| {
            Lengths::of(kept.par_iter().map(|row| word_count(text(row))).collect())
        };
        let with_input = kept.par_iter().filter(|row| !says_no_input(&row.input));
        let input_words = Lengths::of(with_input.map(|row| word_count(&row.input)).collect());
        Self {
            rows: RowCounts {
                read: outcome.read,
                kept: kept.len(),
                rejected: outcome.rejected.len(),
                quarantined: outcome.quarantined.len(),
                train,
                dev,
            },
            funnel: outcome.funnel.clone(),
            categories: categories(kept),
            labelling,
            instruction_words: words(|row| &row.instruction),
            output_words: words(|row| &row.output),
            share_with_input: share(input_words.count, kept.len()),
            input_words,
            sources: tally(kept, |row| source_family(&row.provenance.source)),
            models: tally(kept, |row| &row.provenance.model),
            licences: tally(kept, |row| &row.provenance.licence),
            restricted: kept.iter().filter(|row| row.provenance.restricted).count(),
            licensing: Licensing::of(kept, |row| source_family(&row.provenance.source)),
            contamination: outcome.contamination.as_ref().map(|found| found.report.clone()),
            diversity: Diversity::of(kept, outcome.instructions.as_ref()),
            meaning: None,
        }
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn categories(rows: &[Instruction]) -> BTreeMap<String, CategoryShare> {
    let of = |category: Option<Category>| {
        let count = rows.iter().filter(|row| row.category == category).count();
        CategoryShare {
            rows: count,
            share: share(count, rows.len()),
            paper_share: category.map(Category::paper_share),
        }
    };
    let known = Category::ALL.map(|category| (category.name().to_owned(), of(Some(category))));
    known.into_iter().chain([("unknown".to_owned(), of(None))]).collect()
}

/// Rows per value, the empty one as `unknown`.
fn tally(rows: &[Instruction], value: fn(&Instruction) -> &str) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        let name = match value(row) {
            "" => "unknown",
            name => name,
        };
        *counts.entry(name).or_default() += 1;
    }
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// `seeds.jsonl:seed-017` comes from `seeds.jsonl`.
pub(crate) fn source_family(source: &str) -> &str {
    source.split_once(':').map_or(source, |(family, _)| family)
}

impl Lengths {
    fn of(mut words: Vec<usize>) -> Self {
        words.sort_unstable();
        // The nearest rank: the smallest length that at least this many hundredths of the texts do not exceed.
        let percentile = |hundredths: usize| {
            let rank = (hundredths * words.len()).div_ceil(100).max(1);
            words.get(rank - 1).copied().unwrap_or_default()
        };
        Self {
            count: words.len(),
            mean: share(words.iter().sum(), words.len()),
            median: percentile(50),
            p95: percentile(95),
            max: words.last().copied().unwrap_or_default(),
            histogram: histogram(&words),
        }
    }
}

/// `words` ascending.
fn histogram(words: &[usize]) -> Vec<Bin> {
    let below = |bound: usize| words.partition_point(|&length| length < bound);
    let ends = BINS[1..].iter().map(|&next| Some(next - 1)).chain([None]);
    BINS.iter()
        .zip(ends)
        .map(|(&from, to)| Bin {
            from,
            to,
            rows: to.map_or(words.len(), |last| below(last + 1)) - below(from),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_known_texts() {
        let lengths = Lengths::of(vec![5, 0, 400, 6, 1]);
        assert_eq!((lengths.count, lengths.mean), (5, 82.4));
        assert_eq!((lengths.median, lengths.p95, lengths.max), (5, 400, 400));
        let full: Vec<(usize, Option<usize>, usize)> = lengths
            .histogram
            .iter()
            .filter(|bin| bin.rows > 0)
            .map(|bin| (bin.from, bin.to, bin.rows))
            .collect();
        assert_eq!(full, [(0, Some(0), 1), (1, Some(5), 2), (6, Some(10), 1), (321, None, 1)]);
        let none = Lengths::of(Vec::new());
        assert_eq!((none.mean, none.median, none.max), (0.0, 0, 0));
    }
}
