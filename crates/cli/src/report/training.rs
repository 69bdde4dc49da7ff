//! How tuning went: loss and learning rate over steps, tokens, speed and memory.

use serde::Serialize;
use serde_json::Value;

use super::collect::RunFiles;
use super::number;
use super::plot::Axis;
use super::plot::line::{Chart, Curve, thinned};
use super::records::StepRow;

/// Points of a curve before neighbours are averaged.
const MOST_POINTS: usize = 800;
/// Steps from which a moving mean is drawn over the single losses.
const SMOOTH_FROM: usize = 30;

/// The tuning of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct TrainingView {
    /// The run's label.
    pub run: String,
    /// Why there is nothing to show; empty otherwise.
    pub absent: String,
    /// Before the chart.
    pub sentence: String,
    /// Loss over steps.
    pub loss: String,
    /// Steps in each point of the moving mean; zero when there is none.
    pub smoothed_over: usize,
    /// Learning rate over steps.
    pub rate: String,
    /// Norm of the gradient over steps, before it is clipped.
    pub norm: String,
    /// Whether there are dev losses.
    pub has_dev: bool,
    /// Dev losses: step and value.
    pub dev: Vec<(u64, String)>,
    /// Name and value.
    pub facts: Vec<(String, String)>,
}

/// Reads `train/metrics.jsonl`, `train/timing.jsonl` and the manifest's summary.
pub(super) fn view(run: &RunFiles) -> TrainingView {
    let mut view = TrainingView { run: run.label.clone(), ..TrainingView::default() };
    let steps = run.steps.as_deref().unwrap_or_default();
    if steps.is_empty() {
        "This run did not tune a model.".clone_into(&mut view.absent);
        return view;
    }
    let train = points(steps, |row| row.loss);
    let dev = points(steps, |row| row.dev_loss);
    let last = steps.iter().map(|row| row.step).max().unwrap_or_default();
    let x = Axis::around([0.0, last as f64], 8);
    view.sentence = sentence(&train, &dev, last);
    view.has_dev = !dev.is_empty();
    view.dev = dev.iter().map(|(step, loss)| (*step as u64, number::fixed(*loss, 4))).collect();
    (view.loss, view.smoothed_over) = loss_chart(&train, &dev, &x, &view.sentence);
    view.rate = small_chart(&points(steps, |row| row.lr), "Learning rate by step", &x);
    let norm = points(steps, |row| row.grad_norm);
    view.norm = small_chart(&norm, "Gradient norm by step, before clipping", &x);
    view.facts = facts(run, steps);
    view
}

fn points(steps: &[StepRow], value: impl Fn(&StepRow) -> Option<f64>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> =
        steps.iter().filter_map(|row| Some((row.step as f64, value(row)?))).collect();
    points.sort_by(|left, right| left.0.total_cmp(&right.0));
    points
}

fn curve(class: &'static str, points: Vec<(f64, f64)>, marked: bool) -> Curve {
    Curve { class, points, marked }
}

/// A low chart of one curve; nothing where there are no points.
fn small_chart(points: &[(f64, f64)], title: &str, x: &Axis) -> String {
    if points.is_empty() {
        return String::new();
    }
    let chart = Chart {
        curves: &[curve("rate", thinned(points, MOST_POINTS), false)],
        title,
        x_label: "optimizer step",
        x_name: "step",
        height: 72,
        y_ticks: 2,
        x,
    };
    chart.draw()
}

fn loss_chart(train: &[(f64, f64)], dev: &[(f64, f64)], x: &Axis, title: &str) -> (String, usize) {
    let mut curves = Vec::new();
    let mut window = 0;
    if train.len() >= SMOOTH_FROM {
        window = (train.len() / 20).max(5);
        curves.push(curve("train faint", thinned(train, MOST_POINTS), false));
        let smooth = moving_mean(train, window);
        curves.push(curve("train", thinned(&smooth, MOST_POINTS), false));
    } else {
        curves.push(curve("train", train.to_vec(), false));
    }
    curves.push(curve("dev", dev.to_vec(), true));
    let chart = Chart {
        curves: &curves,
        title: &format!("Loss by step. {title}"),
        x_label: "optimizer step",
        x_name: "step",
        height: 240,
        y_ticks: 5,
        x,
    };
    (chart.draw(), window)
}

/// The mean of the points at and before each, fewer at the beginning.
fn moving_mean(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let mean = |end: usize| {
        let part = &points[(end + 1).saturating_sub(window)..=end];
        let sum: f64 = part.iter().map(|point| point.1).sum();
        (points[end].0, sum / part.len() as f64)
    };
    (0..points.len()).map(mean).collect()
}

fn sentence(train: &[(f64, f64)], dev: &[(f64, f64)], last: u64) -> String {
    let steps = format!("{} optimizer steps", number::count(last));
    if let [first, .., end] = dev {
        return format!(
            "{steps}; the loss on held-out rows went from {} at step {} to {} at step {}.",
            number::fixed(first.1, 3),
            first.0,
            number::fixed(end.1, 3),
            end.0
        );
    }
    match train {
        [first, .., end] => format!(
            "{steps}; the training loss went from {} to {}. There is no loss on held-out rows.",
            number::fixed(first.1, 3),
            number::fixed(end.1, 3)
        ),
        _ => format!("{steps}."),
    }
}

fn facts(run: &RunFiles, steps: &[StepRow]) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |label: &str, text: Option<String>| {
        facts.extend(text.map(|text| (label.to_owned(), text)));
    };
    let summary = run.manifests.get("train").map(|manifest| &manifest.summary);
    let number = |field: &str| summary.and_then(|summary| summary.get(field)?.as_f64());
    let sum = |value: fn(&StepRow) -> Option<f64>| -> Option<f64> {
        steps.iter().filter_map(value).reduce(|sum, value| sum + value)
    };
    let whole = |value: f64| number::count(value.max(0.0) as u64);
    let tokens = number("tokens").or_else(|| sum(|row| row.tokens));
    let learned = number("label_tokens").or_else(|| sum(|row| row.label_tokens));
    add("Tokens read", tokens.map(whole));
    add("Tokens learned", learned.map(whole));
    add("Trained parameters", number("trained_parameters").map(whole));
    let epochs = steps
        .iter()
        .filter_map(|row| row.epoch)
        .fold(None, |most: Option<f64>, epoch| Some(most.map_or(epoch, |most| most.max(epoch))));
    add("Passes over the data", epochs.map(|epochs| number::fixed(epochs, 2)));
    let timing = run.timing.as_deref().unwrap_or_default();
    let seconds = total(timing, &["seconds", "step_seconds"]);
    add("Time in steps", seconds.map(number::duration));
    let rate = tokens.zip(seconds).map(|(tokens, seconds)| tokens / seconds.max(1e-9));
    let rate = number("tokens_per_second").or(rate);
    add("Tokens per second", rate.map(whole));
    let measured = |field: &str| run.speed.as_ref().and_then(|speed| speed.get(field)?.as_f64());
    let peak = number("peak_rss_bytes")
        .or_else(|| measured("peak_rss_bytes"))
        .or_else(|| largest(timing, "peak_rss_bytes"));
    add("Peak memory", peak.map(number::bytes));
    let some = |field: &str| number(field).filter(|rows| *rows > 0.0).map(whole);
    add("Rows left out as too long", some("overlong_rows"));
    add("Rows with the end of their input cut", some("shortened_rows"));
    add("Rows left out for want of an answer", some("unlabelled_rows"));
    let card = run.adapter_card.as_ref();
    let restricted = card.and_then(|card| card.get("restricted")?.as_bool());
    add(
        "Tuned on restricted text",
        restricted
            .map(|restricted| if restricted { "yes: so is the adapter" } else { "no" }.to_owned()),
    );
    facts
}

fn total(rows: &[Value], fields: &[&str]) -> Option<f64> {
    let seconds = |row: &Value| fields.iter().find_map(|field| row.get(*field)?.as_f64());
    rows.iter().filter_map(seconds).reduce(|sum, value| sum + value)
}

fn largest(rows: &[Value], field: &str) -> Option<f64> {
    let values = rows.iter().filter_map(|row| row.get(field)?.as_f64());
    values.reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64, loss: Option<f64>, dev_loss: Option<f64>) -> StepRow {
        StepRow { step, loss, dev_loss, tokens: loss.map(|_| 100.0), ..StepRow::default() }
    }

    #[test]
    fn dev_losses_are_told_first() {
        let steps = vec![
            step(0, None, Some(3.0)),
            step(1, Some(2.9), None),
            step(2, Some(2.5), None),
            step(2, None, Some(2.6)),
        ];
        let run = RunFiles {
            steps: Some(steps),
            timing: Some(vec![serde_json::json!({"step": 1, "seconds": 2.0})]),
            ..RunFiles::default()
        };
        let view = view(&run);
        assert!(
            view.sentence.contains("from 3.000 at step 0 to 2.600 at step 2"),
            "{}",
            view.sentence
        );
        assert_eq!(view.dev.len(), 2);
        assert!(view.facts.contains(&("Tokens read".to_owned(), "200".to_owned())));
        assert!(view.facts.contains(&("Tokens per second".to_owned(), "100".to_owned())));
        assert!(view.rate.is_empty());
    }

    #[test]
    fn the_moving_mean_looks_back_only() {
        let points: Vec<(f64, f64)> = (0..4).map(|at| (f64::from(at), f64::from(at))).collect();
        assert_eq!(moving_mean(&points, 2), [(0.0, 0.0), (1.0, 0.5), (2.0, 1.5), (3.0, 2.5)]);
    }
}
