//! What raters' answers say together: [`Review`], the content of `review.json`.

use std::collections::{BTreeMap, BTreeSet};

use bioinstruct_core::record::{Category, Instruction};
use serde::{Deserialize, Serialize};

use super::answers::Rating;
use super::sheet::stratum;
use super::{QUESTIONS, Question};
use crate::agreement::{accuracy, cohen_kappa, krippendorff_alpha};

/// Of how many rows something holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Rows of which it holds.
    pub count: usize,
    /// Rows with a decided answer.
    pub of: usize,
    /// Their ratio.
    pub share: f64,
    /// Lower end of Wilson's 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The ratio in the whole dataset, each stratum weighing what it weighs there; strata without a decided answer are left out.
    pub weighted: f64,
}

/// How far two raters, or raters and dataset, agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairAgreement {
    /// Who; `dataset` is the category in the file.
    pub raters: [String; 2],
    /// Rows that both answered.
    pub rows: usize,
    /// Share of equal answers.
    pub accuracy: f64,
    /// Cohen's κ; absent where chance alone would give full agreement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kappa: Option<f64>,
}

/// One question.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QuestionReport {
    /// What was asked.
    pub about: String,
    /// Rows with at least one answer.
    pub rows: usize,
    /// Rows on which no answer has most votes; they count in no share.
    pub undecided: usize,
    /// Rows by the answer with most votes.
    pub answers: BTreeMap<String, usize>,
    /// Rows with the answer that one would wish for, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<Share>,
    /// Each pair of raters with rows in common.
    pub pairs: Vec<PairAgreement>,
    /// Krippendorff's α over all raters (nominal); absent with one rater, or where everybody gave one answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// Rows of the dataset.
    pub dataset_rows: usize,
    /// Rows that at least one rater judged.
    pub rows: usize,
    /// Whoever filled in sheets, by the names they gave. Nothing is known of what qualifies them.
    pub raters: Vec<String>,
    /// By the sheet's column.
    pub questions: BTreeMap<String, QuestionReport>,
    /// Rows whose task is valid, whose input fits and whose output is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_right: Option<Share>,
    /// The raters' categories (by most votes) against the dataset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<PairAgreement>,
}

/// The votes on one question, by row.
type Votes<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'static str>>;

impl Review {
    /// Adds up the ratings of rows of the dataset; of two answers of one rater to one question the later counts.
    pub fn of(rows: &[Instruction], ratings: &[Rating]) -> Self {
        let by_id: BTreeMap<&str, &Instruction> =
            rows.iter().map(|row| (row.id.as_str(), row)).collect();
        let mut strata: BTreeMap<String, usize> = BTreeMap::new();
        for row in rows {
            *strata.entry(stratum(row)).or_default() += 1;
        }
        let weigh = |holds: &[(&str, bool)]| share(holds, &by_id, &strata);
        let judged: BTreeSet<&str> = ratings.iter().map(|rating| rating.id.as_str()).collect();
        let raters: BTreeSet<&str> = ratings.iter().map(|rating| rating.rater.as_str()).collect();
        let mut decided: BTreeMap<&str, BTreeMap<&str, &'static str>> = BTreeMap::new();
        let mut questions = BTreeMap::new();
        for question in &QUESTIONS {
            let votes = votes(ratings, question);
            let of_rows: BTreeMap<&str, &'static str> = votes
                .iter()
                .filter_map(|(&id, votes)| Some((id, most(votes.values().copied())?)))
                .collect();
            let mut report = question_report(question, &votes, &of_rows);
            report.good = question.good.and_then(|good| {
                let holds: Vec<_> = of_rows.iter().map(|(&id, &said)| (id, said == good)).collect();
                weigh(&holds)
            });
            questions.insert(question.column.to_owned(), report);
            for (id, answer) in of_rows {
                decided.entry(id).or_default().insert(question.column, answer);
            }
        }
        let all_right: Vec<(&str, bool)> = decided
            .iter()
            .filter_map(|(&id, said)| {
                let three =
                    ["valid_task", "input_fits", "output_correct"].map(|name| said.get(name));
                let [Some(valid), Some(fits), Some(right)] = three else { return None };
                Some((id, [valid, fits, right].iter().all(|said| **said == "yes")))
            })
            .collect();
        let categories: Vec<(&str, &str)> = decided
            .iter()
            .filter_map(|(id, said)| {
                let of_dataset = by_id.get(id)?.category.map(Category::name)?;
                Some((*said.get("category")?, of_dataset))
            })
            .collect();
        Self {
            dataset_rows: rows.len(),
            rows: judged.len(),
            raters: raters.into_iter().map(str::to_owned).collect(),
            questions,
            all_right: weigh(&all_right),
            category: pair("raters", "dataset", &categories),
        }
    }
}

fn votes<'a>(ratings: &'a [Rating], question: &Question) -> Votes<'a> {
    let mut votes = Votes::new();
    for rating in ratings {
        if let Some(answer) = rating.answers.get(question.column) {
            votes.entry(&rating.id).or_default().insert(&rating.rater, answer);
        }
    }
    votes
}

/// The answer with most votes; none when two have equally many.
fn most(votes: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for vote in votes {
        *counts.entry(vote).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    let mut first = counts.into_iter().filter(|(_, count)| *count == most);
    let (answer, _) = first.next()?;
    first.next().is_none().then_some(answer)
}

fn question_report(
    question: &Question,
    votes: &Votes<'_>,
    decided: &BTreeMap<&str, &'static str>,
) -> QuestionReport {
    let mut report = QuestionReport {
        about: question.about.to_owned(),
        rows: votes.len(),
        undecided: votes.len() - decided.len(),
        ..QuestionReport::default()
    };
    for answer in decided.values() {
        *report.answers.entry((*answer).to_owned()).or_default() += 1;
    }
    let raters: BTreeSet<&str> = votes.values().flat_map(|votes| votes.keys().copied()).collect();
    let raters: Vec<&str> = raters.into_iter().collect();
    for (at, first) in raters.iter().enumerate() {
        for second in &raters[at + 1..] {
            let both: Vec<(&str, &str)> = votes
                .values()
                .filter_map(|votes| Some((*votes.get(first)?, *votes.get(second)?)))
                .collect();
            report.pairs.extend(pair(first, second, &both));
        }
    }
    let labels: Vec<Vec<&str>> =
        votes.values().map(|votes| votes.values().copied().collect()).collect();
    report.alpha = krippendorff_alpha(&labels);
    report
}

fn pair(first: &str, second: &str, labels: &[(&str, &str)]) -> Option<PairAgreement> {
    Some(PairAgreement {
        raters: [first.to_owned(), second.to_owned()],
        rows: labels.len(),
        accuracy: accuracy(labels)?,
        kappa: cohen_kappa(labels),
    })
}

fn share(
    holds: &[(&str, bool)],
    rows: &BTreeMap<&str, &Instruction>,
    strata: &BTreeMap<String, usize>,
) -> Option<Share> {
    if holds.is_empty() {
        return None;
    }
    let count = holds.iter().filter(|(_, holds)| *holds).count();
    let mut found: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for (id, holds) in holds {
        let of =
            found.entry(rows.get(id).map_or_else(String::new, |row| stratum(row))).or_default();
        of[0] += usize::from(*holds);
        of[1] += 1;
    }
    let (mut sum, mut weights) = (0.0, 0.0);
    for (name, [held, of]) in found {
        let weight = strata.get(&name).copied().unwrap_or_default() as f64;
        sum += weight * held as f64 / of as f64;
        weights += weight;
    }
    let (low, high) = wilson(count, holds.len());
    let share = count as f64 / holds.len() as f64;
    let weighted = if weights > 0.0 { sum / weights } else { share };
    Some(Share { count, of: holds.len(), share, low, high, weighted })
}

/// Wilson's 95 % interval of a share (Wilson 1927), without correction for continuity.
fn wilson(count: usize, of: usize) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    let (n, p) = (of as f64, count as f64 / of as f64);
    let scale = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Newcombe 1998, table I, method 3: 81 of 263 and 15 of 148.
    #[test]
    fn intervals_are_those_of_the_literature() {
        let (low, high) = wilson(81, 263);
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5, "{low} {high}");
        let (low, high) = wilson(15, 148);
        assert!((low - 0.0624).abs() < 5e-5 && (high - 0.1605).abs() < 5e-5, "{low} {high}");
        assert_eq!(wilson(0, 20).0, 0.0);
        assert_eq!(wilson(20, 20).1, 1.0);
    }

    #[test]
    fn most_votes_decide_and_ties_do_not() {
        assert_eq!(most(["yes", "no", "yes"].into_iter()), Some("yes"));
        assert_eq!(most(["yes", "no"].into_iter()), None);
        assert_eq!(most([].into_iter()), None);
    }
}
