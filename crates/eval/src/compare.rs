//! Differences between candidates on the same items: [`Comparison`]. The items are paired, so the tests are too.

use std::collections::BTreeMap;

use bioinstruct_data::task::{Metric, Profile};
use serde::{Deserialize, Serialize};

use crate::EvaluationError;
use crate::files::PredictionFile;
use crate::score::stream;
use crate::significance::{bootstrap_mean, mcnemar, mean, sign_flip};

/// Significance level of [`Comparison::within_noise`].
const ALPHA: f64 = 0.05;

/// How a p-value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// Exact `McNemar`, for accuracy.
    McnemarExact,
    /// Two-sided paired permutation of signs, for other metrics.
    SignFlip,
}

/// The second candidate against the first, on the items that both answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The task.
    pub task: String,
    /// The profile.
    pub profile: Profile,
    /// Number of solved examples.
    pub shots: usize,
    /// The metric.
    pub metric: String,
    /// The candidate compared with: of a base and an adapter the base, otherwise the first by id.
    pub a: String,
    /// The candidate that is compared.
    pub b: String,
    /// Mean of b − a over items.
    pub delta: f64,
    /// Lower end of the 95 % paired bootstrap interval.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Two-sided, not corrected for the number of comparisons.
    pub p: f64,
    /// How `p` was found.
    pub test: Test,
    /// Paired items.
    pub n: usize,
    /// Items on which a is better.
    pub a_better: usize,
    /// Items on which b is better.
    pub b_better: usize,
    /// Whether chance alone may explain the difference: p is not below 0.05, or the interval holds zero.
    pub within_noise: bool,
}

/// Every pair of candidates on every task, profile and number of examples that both have.
pub(crate) fn compare(files: &[PredictionFile]) -> Result<Vec<Comparison>, EvaluationError> {
    let mut runs: BTreeMap<(String, Profile, usize), Vec<&PredictionFile>> = BTreeMap::new();
    for file in files {
        let info = &file.info;
        let run = (info.task.clone(), info.profile, info.shots.len());
        runs.entry(run).or_default().push(file);
    }
    let mut comparisons = Vec::new();
    for mut run in runs.into_values() {
        run.sort_by_key(|file| (file.info.adapter.is_some(), file.info.candidate.clone()));
        for (position, a) in run.iter().enumerate() {
            for b in &run[position + 1..] {
                for &metric in &a.info.metrics {
                    comparisons.extend(pair(a, b, metric)?);
                }
            }
        }
    }
    Ok(comparisons)
}

/// None when no item was answered by both.
fn pair(
    a: &PredictionFile,
    b: &PredictionFile,
    metric: Metric,
) -> Result<Option<Comparison>, EvaluationError> {
    let differences = differences(a, b, metric.name())?;
    if differences.is_empty() {
        return Ok(None);
    }
    let info = &a.info;
    let interval =
        bootstrap_mean(&differences, info.resamples, stream(info, "bootstrap", metric.name()));
    let a_better = differences.iter().filter(|value| **value < 0.0).count();
    let b_better = differences.iter().filter(|value| **value > 0.0).count();
    let (p, test) = if metric == Metric::Accuracy {
        (mcnemar(a_better, b_better), Test::McnemarExact)
    } else {
        let signs = stream(info, "sign-flip", metric.name());
        (sign_flip(&differences, info.resamples, signs), Test::SignFlip)
    };
    Ok(Some(Comparison {
        task: info.task.clone(),
        profile: info.profile,
        shots: info.shots.len(),
        metric: metric.name().to_owned(),
        a: info.candidate.clone(),
        b: b.info.candidate.clone(),
        delta: mean(&differences),
        ci_low: interval.low,
        ci_high: interval.high,
        p,
        test,
        n: differences.len(),
        a_better,
        b_better,
        within_noise: p >= ALPHA || (interval.low <= 0.0 && interval.high >= 0.0),
    }))
}

/// b − a for every item of both, in a's order.
fn differences(
    a: &PredictionFile,
    b: &PredictionFile,
    metric: &str,
) -> Result<Vec<f64>, EvaluationError> {
    let others: BTreeMap<&str, _> =
        b.predictions.iter().map(|prediction| (prediction.id.as_str(), prediction)).collect();
    let mut differences = Vec::new();
    for first in &a.predictions {
        let Some(second) = others.get(first.id.as_str()) else {
            continue;
        };
        if first.target != second.target {
            return Err(EvaluationError::Mismatch {
                first: a.path.clone(),
                second: b.path.clone(),
                item: first.id.clone(),
            });
        }
        if let (Some(first), Some(second)) = (first.value(metric), second.value(metric)) {
            differences.push(second - first);
        }
    }
    Ok(differences)
}
