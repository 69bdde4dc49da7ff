//! The scores as the page shows them: a forest plot per metric that is also a table, and the paired differences.

use serde::Serialize;

use super::metric::Metric;
use super::number;
use super::plot::Axis;
use super::plot::interval::{self, Mark, key, labels};
use super::scores::{Difference, MetricScores, Reading, TaskScores};
use super::series::Series;

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct TaskView {
    /// Its name in files.
    pub task: String,
    /// For people.
    pub title: String,
    /// What to know before reading.
    pub description: String,
    /// Profile, shots, items.
    pub terms: String,
    /// The headline first.
    pub metrics: Vec<MetricView>,
    /// What happened to prompts and answers, a sentence for each model that it happened to.
    pub notes: Vec<String>,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct MetricView {
    /// For people.
    pub label: String,
    /// What it means.
    pub explanation: String,
    /// One per model.
    pub rows: Vec<ValueLine>,
    /// Tick labels under the rows.
    pub ticks: String,
    /// Chance and majority, in words.
    pub baselines: String,
    /// Values over the items that no training row gives away, in words; empty where these were not told apart.
    pub clean: String,
    /// Paired differences.
    pub differences: Vec<DifferenceLine>,
    /// Tick labels under the differences.
    pub difference_ticks: String,
}

/// One model's value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ValueLine {
    /// The model.
    pub label: String,
    /// A sample of its mark.
    pub key: String,
    /// The mean.
    pub value: String,
    /// Its interval; empty when there is none.
    pub interval: String,
    /// The drawing.
    pub drawing: String,
}

/// One paired difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DifferenceLine {
    /// Task and metric, for tables over several tasks.
    pub of: String,
    /// What is compared.
    pub label: String,
    /// With its sign.
    pub delta: String,
    /// Its interval.
    pub interval: String,
    /// Of the test.
    pub p: String,
    /// Items, and on how many either side is better.
    pub items: String,
    /// In plain words.
    pub reading: &'static str,
    /// Class in the style sheet: `noise`, `beyond` or `untested`.
    pub class: &'static str,
    /// The drawing.
    pub drawing: String,
}

/// All tasks.
pub(super) fn tasks(tasks: &[TaskScores<'_>], series: &[Series]) -> Vec<TaskView> {
    tasks
        .iter()
        .map(|task| TaskView {
            task: task.task.clone(),
            title: task.title.clone(),
            description: task.description.clone(),
            terms: terms(task),
            metrics: task.metrics.iter().map(|metric| metric_view(metric, series)).collect(),
            notes: notes(task, series),
        })
        .collect()
}

/// Profile, shots and items in words.
pub(super) fn terms(task: &TaskScores<'_>) -> String {
    let mut parts = Vec::new();
    if !task.profile.is_empty() {
        parts.push(format!("profile {}", task.profile));
    }
    parts.push(match task.shots {
        0 => "no solved examples shown".to_owned(),
        1 => "1 solved example shown".to_owned(),
        shots => format!("{shots} solved examples shown"),
    });
    parts.push(format!("{} items", number::count(task.n)));
    parts.join(", ")
}

fn notes(task: &TaskScores<'_>, series: &[Series]) -> Vec<String> {
    let rows = task.headline().map_or(&[][..], |metric| metric.rows.as_slice());
    let mut notes = Vec::new();
    for (by, score) in rows {
        let mut parts = Vec::new();
        let mut add = |count: u64, one: &str, many: &str| match count {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            count => parts.push(format!("{} {many}", number::count(count))),
        };
        add(
            score.unparsed,
            "answer could not be read and counts as empty",
            "answers could not be read and count as empty",
        );
        add(
            score.cut_off,
            "answer was cut off at the longest length",
            "answers were cut off at the longest length",
        );
        add(
            score.truncated,
            "prompt was too long and lost its beginning",
            "prompts were too long and lost their beginning",
        );
        add(
            score.excluded,
            "item is left out because it also stands in training data",
            "items are left out because they also stand in training data",
        );
        if !score.choice_shares.is_empty() {
            let shares = score.choice_shares.iter();
            let shares: Vec<String> = shares
                .map(|(choice, share)| format!("{choice} {}", number::percent(*share, 1.0)))
                .collect();
            parts.push(format!("chose {}", shares.join(", ")));
        }
        if !parts.is_empty() {
            notes.push(format!("{}: {}.", series[*by].label, parts.join("; ")));
        }
    }
    notes
}

fn metric_view(metric: &MetricScores<'_>, series: &[Series]) -> MetricView {
    let shown = &metric.metric;
    let values = metric.rows.iter().flat_map(|(_, score)| {
        [score.value, score.ci_low, score.ci_high]
            .into_iter()
            .flatten()
            .map(|value| shown.shown(value))
    });
    let baselines: Vec<f64> =
        metric.baselines.iter().map(|(_, value)| shown.shown(*value)).collect();
    let ends: Vec<f64> = values.chain(baselines.iter().copied()).chain([0.0]).collect();
    let axis = Axis::around(ends, 4);
    let rows = metric.rows.iter().filter_map(|(by, score)| {
        let value = score.value?;
        let series = &series[*by];
        let mark = series.role.mark();
        let given = score.ci_low.zip(score.ci_high);
        let drawn = given.map(|(low, high)| (shown.shown(low), shown.shown(high)));
        Some(ValueLine {
            label: series.label.clone(),
            key: key(mark),
            value: shown.text(value),
            interval: given.map_or_else(String::new, |(low, high)| {
                format!("{} to {}", shown.text(low), shown.text(high))
            }),
            drawing: interval::value(&axis, shown.shown(value), drawn, mark, &baselines),
        })
    });
    let scale = difference_axis(metric.differences.iter().map(|difference| (difference, shown)));
    MetricView {
        label: shown.label.clone(),
        explanation: Metric::explanation(&metric.name).unwrap_or_default().to_owned(),
        rows: rows.collect(),
        ticks: labels(&axis, false),
        baselines: baseline_words(metric),
        clean: clean_words(metric, series),
        differences: metric
            .differences
            .iter()
            .map(|difference| line(difference, shown, &scale, String::new()))
            .collect(),
        difference_ticks: labels(&scale, true),
    }
}

/// Chance and majority in words; empty where there is neither.
pub(super) fn baseline_words(metric: &MetricScores<'_>) -> String {
    let words = metric
        .baselines
        .iter()
        .map(|(name, value)| format!("{name} {}", metric.metric.text(*value)));
    words.collect::<Vec<_>>().join(", ")
}

/// The values without items that training rows give away, in words.
fn clean_words(metric: &MetricScores<'_>, series: &[Series]) -> String {
    let words = metric.clean.iter().filter_map(|(by, score)| {
        let (shown, value) = (&metric.metric, score.value?);
        let interval = score.ci_low.zip(score.ci_high).map_or_else(String::new, |(low, high)| {
            format!(" ({} to {})", shown.text(low), shown.text(high))
        });
        let items = number::count(score.n);
        Some(format!("{} {}{interval} on {items} items", series[*by].label, shown.text(value)))
    });
    words.collect::<Vec<_>>().join("; ")
}

/// A common axis for differences of several metrics, zero in the middle.
pub(super) fn difference_axis<'a>(
    differences: impl Iterator<Item = (&'a Difference, &'a Metric)>,
) -> Axis {
    let values = differences.flat_map(|(difference, metric)| {
        let (low, high) = difference.ends.unwrap_or((difference.delta, difference.delta));
        [difference.delta, low, high].map(|value| metric.shown(value))
    });
    Axis::symmetric(values, 6)
}

/// One difference on its axis.
pub(super) fn line(
    difference: &Difference,
    metric: &Metric,
    axis: &Axis,
    of: String,
) -> DifferenceLine {
    let ends = difference.ends.map(|(low, high)| (metric.shown(low), metric.shown(high)));
    let (mark, class) = match difference.reading {
        Reading::WithinNoise => (Mark::Noise, "noise"),
        Reading::Unknown => (Mark::Noise, "untested"),
        Reading::Higher | Reading::Lower => (Mark::Beyond, "beyond"),
    };
    DifferenceLine {
        of,
        label: pair_label(difference),
        delta: metric.signed(difference.delta),
        interval: difference.ends.map_or_else(String::new, |(low, high)| {
            format!("{} to {}", metric.signed(low), metric.signed(high))
        }),
        p: difference.p.map_or_else(String::new, number::probability),
        items: match difference.better_worse {
            Some((better, worse)) => format!(
                "{} items: {better} better, {worse} worse, {} equal",
                difference.n,
                difference.n.saturating_sub(better + worse)
            ),
            None => format!("{} items", difference.n),
        },
        reading: difference.reading.words(),
        class,
        drawing: interval::difference(axis, metric.shown(difference.delta), ends, mark),
    }
}

/// What is compared with what.
pub(super) fn pair_label(difference: &Difference) -> String {
    format!("{} minus {}", difference.b, lower_first(&difference.a))
}

/// `Base` inside a sentence.
fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_within_noise_is_called_so() {
        let difference = Difference {
            a: "Base".to_owned(),
            b: "Tuned".to_owned(),
            main: true,
            delta: 0.025,
            ends: Some((-0.075, 0.125)),
            p: Some(0.75),
            n: 40,
            better_worse: Some((4, 3)),
            reading: Reading::WithinNoise,
        };
        let metric = Metric::of("accuracy", 0.5);
        let axis = difference_axis([(&difference, &metric)].into_iter());
        let line = line(&difference, &metric, &axis, String::new());
        assert_eq!((line.delta.as_str(), line.interval.as_str()), ("+2.5", "−7.5 to +12.5"));
        assert_eq!((line.reading, line.class), ("within noise", "noise"));
        assert_eq!(line.label, "Tuned minus base");
    }
}
