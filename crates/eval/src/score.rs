//! The numbers that are reported: [`rebuild`] makes [`Scores`] from the prediction files that are present.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bioinstruct_core::jsonl::JsonlError;
use bioinstruct_core::model::Finish;
use bioinstruct_core::random::Stream;
use bioinstruct_data::task::{Metric, Profile};
use bioinstruct_text::spans::{Counts, SpanScore};
use serde::{Deserialize, Serialize};

use crate::EvaluationError;
use crate::compare::{Comparison, compare};
use crate::files::{EvaluationInfo, PredictionFile, read_predictions};
use crate::metrics::{SPAN_METRICS, SpanCounts, TOKEN_METRICS};
use crate::prediction::{Answered, Chosen, Outcome, Written};
use crate::significance::{Interval, bootstrap, bootstrap_mean, mean, standard_error};

/// All that an `eval` directory says.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// One row per candidate, task, profile and metric: `scores.json`.
    pub rows: Vec<Score>,
    /// Paired differences between candidates: `comparisons.json`.
    pub comparisons: Vec<Comparison>,
    /// The published files, relative to the directory, for the manifest.
    pub outputs: Vec<String>,
    /// Sentences about files that could not be used and checks that could not be made.
    pub warnings: Vec<String>,
}

/// One number. Values, bounds and shares are fractions from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The model without its adapter.
    pub model: String,
    /// The adapter; null is the base.
    pub adapter: Option<String>,
    /// The candidate's id, which names the folder of the predictions.
    pub candidate: String,
    /// The template; null where the prompt is raw text.
    pub template: Option<String>,
    /// The task.
    pub task: String,
    /// The profile.
    pub profile: Profile,
    /// Number of solved examples.
    pub shots: usize,
    /// `accuracy`, `span_f1`, `span_f1_micro`, `rouge1`, …
    pub metric: String,
    /// `clean` when the items that training rows give away are left out; absent for all items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// The mean over items; of `…_micro` metrics the score of all items' counts together.
    pub value: f64,
    /// Scored items; of `label_accuracy` those in which a span was found.
    pub n: usize,
    /// Lower end of the 95 % bootstrap interval over items.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Standard error of the mean; null for micro scores and single items.
    pub stderr: Option<f64>,
    /// Prompts that lost tokens because they are too long for the model.
    pub truncated: usize,
    /// Answers that were cut off at the task's most tokens.
    pub cut_off: usize,
    /// Answers that could not be read, scored as empty.
    pub unparsed: usize,
    /// Items left out because they stand in training data.
    pub excluded: usize,
    /// Whether the data come under a use agreement.
    pub credentialed: bool,
    /// How the metric is computed.
    pub signature: String,
    /// Only for multiple choice.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub choices: Option<ChoiceStatistics>,
}

/// What an accuracy must be seen against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceStatistics {
    /// Expected accuracy of a uniform guess.
    pub chance: f64,
    /// Accuracy of always giving the commonest target.
    pub majority: f64,
    /// That target; of equally common ones the first by name.
    pub majority_choice: String,
    /// Items where two choices were exactly as likely and their order decided.
    pub ties: usize,
    /// How often each label was chosen: a model that always says A shows here.
    pub choice_shares: BTreeMap<String, f64>,
    /// How often each label is right.
    pub target_shares: BTreeMap<String, f64>,
}

/// In an `eval` directory, the ids of the items that training rows give away, by task.
pub const SUSPECTS: &str = "contamination.json";

/// Value of [`Score::subset`] for the items that no training row gives away.
pub const CLEAN: &str = "clean";

/// Ids of items by task.
pub type Suspects = BTreeMap<String, BTreeSet<String>>;

/// Scores and comparisons of every prediction file in an `eval` directory; the files alone decide the result.
pub fn rebuild(directory: &Path) -> Result<Scores, EvaluationError> {
    let (files, mut warnings) = read_predictions(directory)?;
    let mut outputs = vec!["scores.json".to_owned(), "comparisons.json".to_owned()];
    let suspects = read_suspects(directory)?;
    outputs.extend(suspects.is_some().then(|| SUSPECTS.to_owned()));
    let suspects = suspects.unwrap_or_default();
    for file in &files {
        let name = format!("{}/{}", file.info.candidate, file.info.run_name());
        outputs.push(format!("{name}.jsonl"));
        outputs.push(format!("{name}.info.json"));
        for warning in &file.info.warnings {
            let warning = format!("{}: {warning}", file.info.task);
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    Ok(Scores {
        rows: files.iter().flat_map(|file| score_with_subset(file, &suspects)).collect(),
        comparisons: compare(&files)?,
        outputs,
        warnings,
    })
}

fn read_suspects(directory: &Path) -> Result<Option<Suspects>, EvaluationError> {
    let path = directory.join(SUSPECTS);
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs_err::read_to_string(&path)?;
    serde_json::from_str(&text).map(Some).map_err(|error| {
        let (line, reason) = (error.line(), error.to_string());
        EvaluationError::Predictions(JsonlError::Line { path, line, reason })
    })
}

/// Every metric of one file, and again without the suspects where the task was compared with training rows.
fn score_with_subset(file: &PredictionFile, suspects: &Suspects) -> Vec<Score> {
    let mut rows = score(file);
    if let Some(ids) = suspects.get(&file.info.task) {
        let mut clean = file.clone();
        clean.predictions.retain(|prediction| !ids.contains(&prediction.id));
        if !clean.predictions.is_empty() {
            let named = |row| Score { subset: Some(CLEAN.to_owned()), ..row };
            rows.extend(score(&clean).into_iter().map(named));
        }
    }
    rows
}

/// The stream of one metric's resamples: candidates that answered the same items are resampled alike.
pub(crate) fn stream(info: &EvaluationInfo, purpose: &str, metric: &str) -> Stream {
    Stream::new(info.seed, &format!("eval/{purpose}/{}/{metric}", info.run_name()))
}

/// Every metric of one file.
fn score(file: &PredictionFile) -> Vec<Score> {
    let mut rows = Vec::new();
    for &metric in &file.info.metrics {
        let names: Vec<&str> = match metric {
            Metric::SpanF1 => SPAN_METRICS.to_vec(),
            Metric::TokenF1 => TOKEN_METRICS.to_vec(),
            Metric::MicroF1 => Vec::new(),
            _ => vec![metric.name()],
        };
        for name in names {
            let values: Vec<f64> =
                file.predictions.iter().filter_map(|prediction| prediction.value(name)).collect();
            let stream = stream(&file.info, "bootstrap", name);
            let interval = bootstrap_mean(&values, file.info.resamples, stream);
            let stderr = standard_error(&values);
            let n = values.len();
            rows.push(Score { n, ..row(file, metric, name, mean(&values), interval, stderr) });
        }
        rows.extend(micro_rows(file, metric));
    }
    rows
}

/// Scores of all items' counts together, for the metrics that have one.
fn micro_rows(file: &PredictionFile, metric: Metric) -> Vec<Score> {
    let parts: [fn(SpanScore) -> f64; 3] =
        [|score| score.precision, |score| score.recall, |score| score.f1];
    let [precision, _, f1] = parts;
    match metric {
        Metric::SpanF1 => {
            let counts = counts(file, Into::into);
            let named = SPAN_METRICS.into_iter().zip(parts);
            named
                .map(|(name, part)| micro_row(file, metric, format!("{name}_micro"), &counts, part))
                .collect()
        }
        Metric::LabelAccuracy => {
            // Right labels over spans found.
            let counts = counts(file, |counts| Counts {
                hits: counts.labelled,
                predicted: counts.hits,
                gold: counts.hits,
            });
            let name = format!("{}_micro", metric.name());
            vec![micro_row(file, metric, name, &counts, precision)]
        }
        Metric::MicroF1 => {
            let counts = choice_counts(file);
            vec![micro_row(file, metric, metric.name().to_owned(), &counts, f1)]
        }
        _ => Vec::new(),
    }
}

fn counts(file: &PredictionFile, of: fn(SpanCounts) -> Counts) -> Vec<Counts> {
    let written = file.predictions.iter().filter_map(|prediction| match &prediction.outcome {
        Outcome::Written(written) => written.counts,
        Outcome::Chosen(_) => None,
    });
    written.map(of).collect()
}

/// A choice counts as a span that is predicted, and the target as one that is to be found, unless it is the negative one.
fn choice_counts(file: &PredictionFile) -> Vec<Counts> {
    let negative = file.info.negative.as_deref();
    chosen(file)
        .map(|(target, chosen)| {
            let target = match target {
                Some(Answered::One(target)) => Some(target.as_str()),
                _ => None,
            };
            let predicted = Some(chosen.choice.as_str()) != negative;
            Counts {
                hits: usize::from(predicted && chosen.correct),
                predicted: usize::from(predicted),
                gold: usize::from(target != negative),
            }
        })
        .collect()
}

fn micro_row(
    file: &PredictionFile,
    metric: Metric,
    name: String,
    counts: &[Counts],
    part: fn(SpanScore) -> f64,
) -> Score {
    let all = part(counts.iter().copied().sum::<Counts>().into());
    let stream = stream(&file.info, "bootstrap", &name);
    let interval = bootstrap(counts.len(), file.info.resamples, stream, |drawn| {
        part(drawn.iter().map(|&at| counts[at]).sum::<Counts>().into())
    });
    row(file, metric, &name, all, interval, None)
}

fn row(
    file: &PredictionFile,
    metric: Metric,
    name: &str,
    value: f64,
    interval: Interval,
    stderr: Option<f64>,
) -> Score {
    let info = &file.info;
    let choices: Vec<&Chosen> = chosen(file).map(|(_, chosen)| chosen).collect();
    let texts: Vec<&Written> = file
        .predictions
        .iter()
        .filter_map(|prediction| match &prediction.outcome {
            Outcome::Written(written) => Some(written),
            Outcome::Chosen(_) => None,
        })
        .collect();
    Score {
        model: info.model.clone(),
        adapter: info.adapter.clone(),
        candidate: info.candidate.clone(),
        template: info.template.clone(),
        task: info.task.clone(),
        profile: info.profile,
        shots: info.shots.len(),
        metric: name.to_owned(),
        subset: None,
        value,
        n: file.predictions.len(),
        ci_low: interval.low,
        ci_high: interval.high,
        stderr,
        truncated: choices.iter().filter(|choice| choice.truncated_tokens > 0).count(),
        cut_off: texts.iter().filter(|text| text.finish == Finish::Length).count(),
        unparsed: texts.iter().filter(|text| text.unparsed).count(),
        excluded: info.excluded.len(),
        credentialed: info.credentialed,
        signature: info.signatures.get(metric.name()).cloned().unwrap_or_default(),
        choices: choice_statistics(file),
    }
}

fn chosen(file: &PredictionFile) -> impl Iterator<Item = (Option<&Answered>, &Chosen)> {
    file.predictions.iter().filter_map(|prediction| match &prediction.outcome {
        Outcome::Chosen(chosen) => Some((prediction.target.as_ref(), chosen)),
        Outcome::Written(_) => None,
    })
}

fn choice_statistics(file: &PredictionFile) -> Option<ChoiceStatistics> {
    let chance = file.info.chance?;
    let share = 1.0 / file.predictions.len().max(1) as f64;
    let mut picked: BTreeMap<String, usize> = BTreeMap::new();
    let mut right: BTreeMap<String, usize> = BTreeMap::new();
    let mut ties = 0;
    for (target, chosen) in chosen(file) {
        *picked.entry(chosen.choice.clone()).or_default() += 1;
        if let Some(Answered::One(target)) = target {
            *right.entry(target.clone()).or_default() += 1;
        }
        ties += usize::from(chosen.tie);
    }
    // Of equal counts the first by name: `max_by_key` would take the last.
    let commonest = right.iter().rev().max_by_key(|(_, count)| **count)?;
    let (majority_choice, majority) = (commonest.0.clone(), *commonest.1 as f64 * share);
    let shares = |counts: BTreeMap<String, usize>| {
        counts.into_iter().map(|(label, count)| (label, count as f64 * share)).collect()
    };
    Some(ChoiceStatistics {
        chance,
        majority,
        majority_choice,
        ties,
        choice_shares: shares(picked),
        target_shares: shares(right),
    })
}
