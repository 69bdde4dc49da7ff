//! The head of the page: what the run is, and what came of it in a few plain sentences.

use std::collections::BTreeSet;

use serde::Serialize;

use super::collect::{RunFiles, STAGES};
use super::number;
use super::plot::interval::labels;
use super::score_view::{self, DifferenceLine};
use super::scores::{Difference, MetricScores, Reading, TaskScores};
use super::series::{Role, Series};

/// One run directory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RunLine {
    /// Short.
    pub label: String,
    /// As it was given.
    pub path: String,
    /// Finished stages.
    pub stages: String,
    /// Of the stages.
    pub seeds: String,
    /// Which kernels computed.
    pub kernels: String,
    /// Of the program.
    pub versions: String,
}

/// The head of the page.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Overview {
    /// One per run.
    pub runs: Vec<RunLine>,
    /// The models that were scored or that wrote rows.
    pub models: Vec<String>,
    /// What happened, a sentence each.
    pub story: Vec<String>,
    /// Whether tuned differs from base beyond noise.
    pub verdict: String,
    /// The headline difference of each task.
    pub differences: Vec<DifferenceLine>,
    /// Tick labels under them.
    pub ticks: String,
}

/// Reads the head from what was collected.
pub(super) fn view(runs: &[RunFiles], series: &[Series], tasks: &[TaskScores<'_>]) -> Overview {
    let mut overview = Overview {
        runs: runs.iter().map(run_line).collect(),
        models: models(runs, series),
        ..Overview::default()
    };
    for run in runs {
        let prefix = if runs.len() > 1 { format!("{}: ", run.label) } else { String::new() };
        let sentences = [generated(run), tuned(run)];
        let sentences = sentences.into_iter().flatten();
        overview.story.extend(sentences.map(|sentence| format!("{prefix}{sentence}")));
    }
    let main = main_differences(tasks);
    overview.verdict = verdict(&main, series, tasks);
    let axis = score_view::difference_axis(
        main.iter().map(|(_, metric, difference)| (*difference, &metric.metric)),
    );
    overview.differences = main
        .iter()
        .map(|(task, metric, difference)| {
            let of = format!("{}: {}", task.title, metric.metric.label);
            score_view::line(difference, &metric.metric, &axis, of)
        })
        .collect();
    overview.ticks = labels(&axis, true);
    overview
}

fn run_line(run: &RunFiles) -> RunLine {
    let manifests = || STAGES.iter().filter_map(|(stage, _)| run.manifests.get(*stage));
    let finished = STAGES.iter().filter(|(stage, _)| run.manifests.contains_key(*stage));
    let finished: Vec<String> = finished.map(|(_, name)| name.to_lowercase()).collect();
    let listed = |values: BTreeSet<String>| values.into_iter().collect::<Vec<_>>().join(", ");
    RunLine {
        label: run.label.clone(),
        path: run.path.clone(),
        stages: if finished.is_empty() {
            "no stage is finished".to_owned()
        } else {
            finished.join(", ")
        },
        seeds: listed(manifests().map(|manifest| manifest.seed.to_string()).collect()),
        kernels: listed(
            manifests()
                .filter(|manifest| !manifest.kernels.is_empty())
                .map(|manifest| manifest.kernels.clone())
                .collect(),
        ),
        versions: listed(manifests().map(|manifest| manifest.version.clone()).collect()),
    }
}

fn models(runs: &[RunFiles], series: &[Series]) -> Vec<String> {
    let scored = series.iter().map(|series| series.model.clone());
    let written = runs.iter().flat_map(|run| run.instructions.iter().flatten());
    let written = written.map(|row| row.provenance.model.clone());
    let names: BTreeSet<String> = scored.chain(written).filter(|name| !name.is_empty()).collect();
    names.into_iter().collect()
}

fn generated(run: &RunFiles) -> Option<String> {
    let rows = run.instructions.as_ref()?;
    let rejects = run.generate_rejected.as_ref().map_or(0, Vec::len);
    let writers: BTreeSet<&str> = rows
        .iter()
        .map(|row| row.provenance.model.as_str())
        .filter(|model| !model.is_empty())
        .collect();
    let writer = match writers.len() {
        0 => "A model".to_owned(),
        _ => writers.into_iter().collect::<Vec<_>>().join(", "),
    };
    Some(format!(
        "{writer} wrote {} instructions that passed the filters; {} drafts did not.",
        number::count(rows.len() as u64),
        number::count(rejects as u64)
    ))
}

fn tuned(run: &RunFiles) -> Option<String> {
    let steps = run.steps.as_ref().filter(|steps| !steps.is_empty())?;
    let last = steps.iter().map(|row| row.step).max().unwrap_or_default();
    let dev: Vec<f64> = steps.iter().filter_map(|row| row.dev_loss).collect();
    let fell = match dev.as_slice() {
        [first, .., end] => format!(
            "; the loss on held-out rows went from {} to {}",
            number::fixed(*first, 3),
            number::fixed(*end, 3)
        ),
        _ => String::new(),
    };
    Some(format!("A LoRA adapter was tuned for {} steps{fell}.", number::count(last)))
}

/// A difference with the task and metric that it belongs to.
pub(super) type MainDifference<'t> = (&'t TaskScores<'t>, &'t MetricScores<'t>, &'t Difference);

/// Tuned against base in the headline metric of each task.
pub(super) fn main_differences<'t>(tasks: &'t [TaskScores<'t>]) -> Vec<MainDifference<'t>> {
    let of = |task: &'t TaskScores<'t>| {
        let metric = task.headline()?;
        let found = metric.differences.iter().filter(|difference| difference.main);
        Some(found.map(move |difference| (task, metric, difference)))
    };
    tasks.iter().filter_map(of).flatten().collect()
}

/// The one thing that everybody wants to know, said no more strongly than the numbers allow.
pub(super) fn verdict(
    main: &[MainDifference<'_>],
    series: &[Series],
    tasks: &[TaskScores<'_>],
) -> String {
    let has = |role: Role| series.iter().any(|series| series.role == role);
    if tasks.is_empty() {
        return "Nothing was evaluated, so nothing is known about what tuning changed.".to_owned();
    }
    if !has(Role::Tuned) {
        return "Only the base model was scored; there is no tuned model to compare it with."
            .to_owned();
    }
    if main.is_empty() {
        return "Base and tuned were scored but not compared item by item, so this report does not say whether they differ."
            .to_owned();
    }
    let on = |wanted: Reading| {
        let found = main.iter().filter(|found| found.2.reading == wanted);
        let names: Vec<String> = found.map(|found| name_among(found, main)).collect();
        match names.len() {
            0 => None,
            some if main.len() > MOST_NAMED => {
                Some(format!("in {some} of {} comparisons", main.len()))
            }
            _ => Some(format!("on {}", listed(&names))),
        }
    };
    let mut sentences = Vec::new();
    for (reading, direction) in [(Reading::Higher, "higher"), (Reading::Lower, "lower")] {
        sentences.extend(on(reading).map(|place| {
            format!("The tuned model scores {direction} than the base, beyond noise, {place}.")
        }));
    }
    if let Some(place) = on(Reading::WithinNoise) {
        sentences.push(if sentences.is_empty() {
            format!("The tuned model does not differ from the base by more than noise {place}.")
        } else {
            format!("The difference is within noise {place}.")
        });
        sentences.push(
            "Within noise does not mean equal: with so few items, a true difference smaller than the intervals cannot be \
             seen."
                .to_owned(),
        );
    }
    if let Some(place) = on(Reading::Unknown) {
        sentences.push(format!("The difference was not tested {place}."));
    }
    sentences.join(" ")
}

/// Comparisons up to which the verdict names each.
const MOST_NAMED: usize = 4;

/// The task, with the model where several are compared on it.
fn name_among(found: &MainDifference<'_>, all: &[MainDifference<'_>]) -> String {
    let title = &found.0.title;
    let peers = all.iter().filter(|other| other.0.title == *title).count();
    if peers > 1 { format!("{title} ({})", found.2.b) } else { title.clone() }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
