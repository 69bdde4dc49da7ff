//! The scores of a run as plain text: [`score_table`], for the end of `eval` and `quickstart`.
//!
//! Columns where the terminal is wide enough, a block for each metric where it is not. No colour: whatever the text says,
//! it says in words.

use std::path::Path;

use super::collect::RunFiles;
use super::overview::{main_differences, verdict};
use super::scores::{Difference, MetricScores, TaskScores, by_task};
use super::series::{self, Series};
use super::{number, score_view};

/// Space between columns.
const GAP: usize = 2;
/// The narrowest width that text is wrapped to.
const NARROWEST: usize = 40;

/// Scores with intervals and paired differences of the run's `eval` directory, for a terminal of `width` characters. Lines
/// end in a line feed.
///
/// # Errors
/// When the run directory cannot be opened.
pub(crate) fn score_table(run: &Path, width: usize) -> anyhow::Result<String> {
    let files = [RunFiles::read_scores(run, String::new())?];
    let series = series::all(&files);
    let tasks = by_task(&files, &series);
    Ok(text(&tasks, &series, width.max(NARROWEST)))
}

fn text(tasks: &[TaskScores<'_>], series: &[Series], width: usize) -> String {
    if tasks.is_empty() {
        return "There are no scores yet.\n".to_owned();
    }
    let mut out = wide(tasks, series)
        .filter(|lines| lines.iter().all(|line| line.chars().count() <= width))
        .unwrap_or_else(|| stacked(tasks, series, width));
    out.push(String::new());
    let scale = "In brackets 95 % intervals over the items; a difference is paired, item by item.";
    out.extend(wrapped(scale, width, 0));
    out.extend(wrapped(&verdict(&main_differences(tasks), series, tasks), width, 0));
    let mut text = out.join("\n");
    text.push('\n');
    text
}

/// Metrics that speak for themselves: the headline, and those that were compared.
fn spoken<'t, 'a>(task: &'t TaskScores<'a>) -> impl Iterator<Item = &'t MetricScores<'a>> {
    let metrics = task.metrics.iter().enumerate();
    metrics
        .filter(|(position, metric)| *position == 0 || !metric.differences.is_empty())
        .map(|(_, metric)| metric)
}

/// One line per metric, one column per model and one for the main difference; none when a task has several of those.
fn wide(tasks: &[TaskScores<'_>], series: &[Series]) -> Option<Vec<String>> {
    let with_difference =
        tasks.iter().flat_map(spoken).any(|metric| metric.main_difference().is_some());
    let mut header = vec![String::new()];
    header.extend(series.iter().map(|series| series.label.clone()));
    header.extend(with_difference.then(|| "Tuned minus base".to_owned()));
    let mut rows = vec![header];
    for task in tasks {
        rows.push(vec![heading(task)]);
        for metric in spoken(task) {
            if metric.differences.iter().filter(|difference| difference.main).count() > 1 {
                return None;
            }
            let mut row = vec![format!("  {}", metric.metric.label)];
            row.extend((0..series.len()).map(|by| value(metric, by).unwrap_or_default()));
            row.extend(metric.main_difference().map(|difference| said(difference, metric)));
            rows.push(row);
        }
        rows.extend(baselines(task).map(|line| vec![line]));
    }
    Some(aligned(&rows))
}

/// Rows of one cell are headings and do not widen the first column.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width_of).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let line: String = cells.map(|(cell, &width)| padded(cell, width + GAP)).collect();
            line.trim_end().to_owned()
        })
        .collect()
}

fn padded(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

fn stacked(tasks: &[TaskScores<'_>], series: &[Series], width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for task in tasks {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(wrapped(&heading(task), width, 0));
        for metric in spoken(task) {
            lines.push(format!("  {}", metric.metric.label));
            let mut block: Vec<(String, String)> = metric
                .rows
                .iter()
                .filter_map(|(by, _)| Some((series[*by].label.clone(), value(metric, *by)?)))
                .collect();
            block.extend(
                metric.differences.iter().filter(|difference| difference.main).map(|difference| {
                    (score_view::pair_label(difference), said(difference, metric))
                }),
            );
            let widest = block.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
            for (label, text) in block {
                let line = format!("    {}{text}", padded(&label, widest + GAP));
                if line.chars().count() <= width {
                    lines.push(line);
                } else {
                    lines.push(format!("    {label}"));
                    lines.extend(wrapped(&text, width, 6));
                }
            }
        }
        lines.extend(baselines(task).iter().flat_map(|line| wrapped(line.trim(), width, 2)));
    }
    lines
}

fn heading(task: &TaskScores<'_>) -> String {
    format!("{} ({})", task.title, score_view::terms(task))
}

fn baselines(task: &TaskScores<'_>) -> Option<String> {
    let metric = task.headline()?;
    let words = score_view::baseline_words(metric);
    (!words.is_empty()).then(|| format!("  for comparison: {words}"))
}

fn value(metric: &MetricScores<'_>, by: usize) -> Option<String> {
    let (_, score) = metric.rows.iter().find(|row| row.0 == by)?;
    let shown = &metric.metric;
    let value = shown.text(score.value?);
    Some(match score.ci_low.zip(score.ci_high) {
        Some((low, high)) => format!("{value} [{}, {}]", shown.text(low), shown.text(high)),
        None => value,
    })
}

fn said(difference: &Difference, metric: &MetricScores<'_>) -> String {
    let shown = &metric.metric;
    let mut parts = vec![shown.signed(difference.delta)];
    if let Some((low, high)) = difference.ends {
        parts.push(format!("[{}, {}]", shown.signed(low), shown.signed(high)));
    }
    parts.push(difference.reading.words().to_owned());
    if let Some(p) = difference.p {
        parts.push(format!("({})", number::probability(p)));
    }
    parts.join(" ")
}

/// Broken at spaces; every line is indented, and a single word may be longer than the width.
fn wrapped(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let needed = indent + line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && needed > width {
            lines.push(format!("{}{line}", " ".repeat(indent)));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(format!("{}{line}", " ".repeat(indent)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::tests::{RunFixture, full_run};
    use super::*;

    #[test]
    fn a_wide_terminal_gets_columns() {
        let run = full_run("terminal-wide");
        let text = score_table(run.path(), 160).unwrap();
        let line = text.lines().find(|line| line.contains("Accuracy")).unwrap();
        assert!(line.contains("32.5 [17.5, 47.5]"), "{text}");
        assert!(line.contains("+2.5 [−7.5, +12.5] within noise (p = 1.00)"), "{text}");
        assert!(text.lines().next().unwrap().contains("Base, own chat template"));
        assert!(text.contains("guessing at random 25.0"));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_narrow_terminal_gets_blocks_and_no_line_is_too_long() {
        let run = full_run("terminal-narrow");
        for width in [60, 80, 100] {
            let text = score_table(run.path(), width).unwrap();
            assert!(text.contains("Tuned minus base"));
            let long = text.lines().find(|line| line.chars().count() > width);
            assert_eq!(long, None, "{text}");
        }
    }

    #[test]
    fn a_run_without_scores_says_so() {
        let run = RunFixture::new("terminal-empty");
        assert_eq!(score_table(run.path(), 80).unwrap(), "There are no scores yet.\n");
    }
}
