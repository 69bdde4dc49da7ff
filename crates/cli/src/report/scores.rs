//! Scores in the order in which people read them: [`by_task`] gives each task its metrics, models and paired differences.
//!
//! The page and the terminal table both show this.

use bioinstruct_data::task::{Task, built_in_names};

use super::collect::RunFiles;
use super::metric::{self, Metric};
use super::records::{Comparison, Score};
use super::series::{Role, Series};

/// One task under one profile.
#[derive(Debug, Clone)]
pub(crate) struct TaskScores<'a> {
    /// Its name.
    pub task: String,
    /// For people.
    pub title: String,
    /// What to know before reading the numbers; empty for tasks that are not built in.
    pub description: String,
    /// The convention of prompting and scoring.
    pub profile: String,
    /// Solved examples in each prompt.
    pub shots: u64,
    /// Items; the most that one model answered.
    pub n: u64,
    /// The headline first.
    pub metrics: Vec<MetricScores<'a>>,
}

/// One metric of a task.
#[derive(Debug, Clone)]
pub(crate) struct MetricScores<'a> {
    /// Its name in files.
    pub name: String,
    /// How it is shown.
    pub metric: Metric,
    /// Position of the series, and its score.
    pub rows: Vec<(usize, &'a Score)>,
    /// The same over the items that no training row gives away, where these were told apart.
    pub clean: Vec<(usize, &'a Score)>,
    /// What can be had without reading the question: name and value.
    pub baselines: Vec<(String, f64)>,
    /// Paired differences, the tuned model against the base first.
    pub differences: Vec<Difference>,
}

/// A paired difference: that of `b` less that of `a`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    /// What is compared with.
    pub a: String,
    /// What is compared.
    pub b: String,
    /// Whether this is the tuned model against the base under the same template.
    pub main: bool,
    /// The mean.
    pub delta: f64,
    /// Its interval.
    pub ends: Option<(f64, f64)>,
    /// Of the paired test, not corrected for the number of comparisons.
    pub p: Option<f64>,
    /// Items that both answered.
    pub n: u64,
    /// Items on which `b` is better, and on which `a` is.
    pub better_worse: Option<(u64, u64)>,
    /// What it says.
    pub reading: Reading,
}

/// What a paired difference says, in plain words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The items drawn could have made it.
    WithinNoise,
    /// Higher than noise explains.
    Higher,
    /// Lower than noise explains.
    Lower,
    /// No interval, no test: nothing can be said.
    Unknown,
}

impl Reading {
    fn of(comparison: &Comparison, delta: f64) -> Self {
        let interval = comparison.ci_low.zip(comparison.ci_high);
        let judged = comparison.within_noise;
        match judged.or_else(|| interval.map(|(low, high)| low <= 0.0 && high >= 0.0)) {
            None => Self::Unknown,
            Some(true) => Self::WithinNoise,
            Some(false) if delta < 0.0 => Self::Lower,
            Some(false) => Self::Higher,
        }
    }

    /// For people.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::WithinNoise => "within noise",
            Self::Higher => "higher, beyond noise",
            Self::Lower => "lower, beyond noise",
            Self::Unknown => "not tested",
        }
    }
}

/// The scores of all runs, tasks in the order of the files.
pub(crate) fn by_task<'a>(runs: &'a [RunFiles], series: &[Series]) -> Vec<TaskScores<'a>> {
    let mut tasks: Vec<TaskScores<'a>> = Vec::new();
    for (run, files) in runs.iter().enumerate() {
        for score in files.scores.iter().flatten() {
            let Some(by) = series.iter().position(|series| series.is_of(run, score)) else {
                continue;
            };
            let task = task_of(&mut tasks, score, files);
            task.n = task.n.max(score.n);
            let metric = metric_of(&mut task.metrics, &score.metric);
            match &score.subset {
                None => metric.rows.push((by, score)),
                Some(_) => metric.clean.push((by, score)),
            }
        }
    }
    for task in &mut tasks {
        let place = (task.task.as_str(), task.profile.as_str(), task.shots);
        for metric in &mut task.metrics {
            settle(metric, runs, series, place);
        }
        task.metrics.sort_by_key(|metric| metric::rank(&metric.name));
    }
    tasks
}

fn task_of<'t, 'a>(
    tasks: &'t mut Vec<TaskScores<'a>>,
    score: &Score,
    files: &RunFiles,
) -> &'t mut TaskScores<'a> {
    let same = |task: &TaskScores<'_>| {
        task.task == score.task && task.profile == score.profile && task.shots == score.shots
    };
    let at = tasks.iter().position(same).unwrap_or_else(|| {
        let known = definition(&score.task);
        tasks.push(TaskScores {
            task: score.task.clone(),
            title: title(files, &score.task, known.as_ref()),
            description: known.map_or_else(String::new, |task| task.description),
            profile: score.profile.clone(),
            shots: score.shots,
            n: 0,
            metrics: Vec::new(),
        });
        tasks.len() - 1
    });
    &mut tasks[at]
}

fn metric_of<'t, 'a>(
    metrics: &'t mut Vec<MetricScores<'a>>,
    name: &str,
) -> &'t mut MetricScores<'a> {
    let at = metrics.iter().position(|metric| metric.name == name);
    let at = at.unwrap_or_else(|| {
        metrics.push(MetricScores {
            name: name.to_owned(),
            metric: Metric::of(name, 0.0),
            rows: Vec::new(),
            clean: Vec::new(),
            baselines: Vec::new(),
            differences: Vec::new(),
        });
        metrics.len() - 1
    });
    &mut metrics[at]
}

/// Puts rows in order and adds scale, baselines and differences.
fn settle(
    metric: &mut MetricScores<'_>,
    runs: &[RunFiles],
    series: &[Series],
    place: (&str, &str, u64),
) {
    metric.rows.sort_by_key(|row| row.0);
    metric.clean.sort_by_key(|row| row.0);
    let values = metric.rows.iter();
    let largest = values.filter_map(|row| row.1.value).fold(0.0, f64::max);
    metric.metric = Metric::of(&metric.name, largest);
    for (_, score) in &metric.rows {
        for baseline in baselines(score) {
            if !metric.baselines.contains(&baseline) {
                metric.baselines.push(baseline);
            }
        }
    }
    for (run, files) in runs.iter().enumerate() {
        for comparison in files.comparisons.iter().flatten() {
            let (task, profile, shots) = place;
            let here = comparison.task == task
                && comparison.metric == metric.name
                && (comparison.profile.is_empty()
                    || (comparison.profile == profile && comparison.shots == shots));
            if here {
                let difference = difference(comparison, run, series);
                metric.differences.extend(difference);
            }
        }
    }
    metric.differences.sort_by_key(|difference| !difference.main);
}

fn difference(comparison: &Comparison, run: usize, series: &[Series]) -> Option<Difference> {
    let delta = comparison.delta?;
    let find = |name: &str| {
        let called = |series: &&Series| series.run == run && series.is_called(name);
        series.iter().find(called)
    };
    let (a, b) = (find(&comparison.a), find(&comparison.b));
    let role = |series: Option<&Series>| series.map(|series| series.role);
    let label = |series: Option<&Series>, name: &str| {
        series.map_or(name, |series| &series.label).to_owned()
    };
    Some(Difference {
        a: label(a, &comparison.a),
        b: label(b, &comparison.b),
        main: role(a) == Some(Role::Base) && role(b) == Some(Role::Tuned),
        delta,
        ends: comparison.ci_low.zip(comparison.ci_high),
        p: comparison.p,
        n: comparison.n,
        better_worse: comparison.b_better.zip(comparison.a_better),
        reading: Reading::of(comparison, delta),
    })
}

/// What can be had without reading the question.
fn baselines(score: &Score) -> Vec<(String, f64)> {
    let majority = match score.majority_choice.as_str() {
        "" => "always the commonest answer".to_owned(),
        choice => format!("always {choice}"),
    };
    let chance = score.chance.map(|value| ("guessing at random".to_owned(), value));
    let majority = score.majority.map(|value| (majority, value));
    chance.into_iter().chain(majority).collect()
}

/// A built-in task's own title, or what the evaluation noted beside the predictions.
fn title(files: &RunFiles, task: &str, known: Option<&Task>) -> String {
    let noted = files
        .predictions
        .iter()
        .filter(|file| file.task == task)
        .find_map(|file| file.info.get("title")?.as_str());
    known.map(|task| task.title.as_str()).or(noted).unwrap_or(task).to_owned()
}

/// The definition of a built-in task.
pub(super) fn definition(name: &str) -> Option<Task> {
    let built_in = built_in_names().contains(&name);
    built_in.then(|| Task::load(name).ok()).flatten()
}

impl TaskScores<'_> {
    /// The metric that speaks for the task.
    pub(crate) fn headline(&self) -> Option<&MetricScores<'_>> {
        self.metrics.first()
    }
}

impl MetricScores<'_> {
    /// The tuned model against the base under the same template.
    pub(crate) fn main_difference(&self) -> Option<&Difference> {
        self.differences.iter().find(|difference| difference.main)
    }
}
