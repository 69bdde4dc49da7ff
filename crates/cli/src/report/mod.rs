//! The report: run directories in, one HTML file out. The main functions are [`build`] and [`write()`].
//!
//! [`collect`] reads the files ([`records`] are their rows), one module per section turns them into what the template shows ([`overview`], [`funnel`],
//! [`dataset`] with [`diversity`], [`meaning`] and [`review`], [`training`], [`scores`] with [`score_view`], [`browse`], [`methods`]), [`plot`] draws. The page holds its
//! style, script, drawings and data; it asks nothing of any network, and its own policy forbids it to. Equal files give
//! equal bytes: no clock, no hash order. [`terminal`] prints the scores alone.

mod browse;
mod collect;
mod dataset;
mod diversity;
mod funnel;
mod meaning;
mod methods;
mod metric;
mod number;
mod overview;
mod plot;
mod predictions;
mod records;
mod review;
mod rows;
mod score_view;
mod scores;
mod series;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;
mod training;

use std::path::{Path, PathBuf};

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::run_directory::publish;
use bioinstruct_core::{NOT_FOR_PATIENT_CARE, template};
use serde::Serialize;

use self::collect::RunFiles;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Everything that the template is given.
#[derive(Debug, Serialize)]
struct Page<'a> {
    title: &'a str,
    care: &'static str,
    version: &'static str,
    style: &'static str,
    script: &'static str,
    /// Lets this page's own script and style run, and no other.
    nonce: String,
    several_runs: bool,
    overview: overview::Overview,
    generation: Vec<funnel::Funnel>,
    curation: Vec<funnel::Funnel>,
    datasets: Vec<dataset::DatasetView>,
    training: Vec<training::TrainingView>,
    tasks: Vec<score_view::TaskView>,
    has_predictions: bool,
    row_count: String,
    reject_count: String,
    cuts: Vec<String>,
    warnings: Vec<String>,
    notices: Vec<String>,
    stages: Vec<methods::StageView>,
    signatures: Vec<String>,
    resamples: Vec<u64>,
    data: String,
}

/// The page of these run directories.
///
/// A stage that did not run, or did not end, gets a plain sentence in its place; what cannot be read is listed at the end.
///
/// # Errors
/// When a run directory, or a folder in it, cannot be opened, and when there is none.
pub(crate) fn build(runs: &[PathBuf], title: Option<&str>) -> anyhow::Result<String> {
    anyhow::ensure!(!runs.is_empty(), "no run directory is given");
    let labels = collect::labels(runs);
    let runs: Vec<RunFiles> = runs
        .iter()
        .zip(labels)
        .map(|(path, label)| RunFiles::read(path, label))
        .collect::<anyhow::Result<_>>()?;
    let heading = default_title(&runs);
    render(&runs, title.unwrap_or(&heading))
}

/// Writes the page of these run directories to `out`, whole or not at all.
///
/// # Errors
/// As [`build`], and when `out` cannot be written.
pub(crate) fn write(runs: &[PathBuf], out: &Path) -> anyhow::Result<()> {
    let page = build(runs, None)?;
    publish(out, |file| file.write_all(page.as_bytes()))?;
    Ok(())
}

fn default_title(runs: &[RunFiles]) -> String {
    let labels: Vec<&str> = runs.iter().map(|run| run.label.as_str()).collect();
    match labels.as_slice() {
        [one] => format!("Run {one}"),
        several => format!("Runs {}", several.join(", ")),
    }
}

fn render(runs: &[RunFiles], title: &str) -> anyhow::Result<String> {
    let series = series::all(runs);
    let tasks = scores::by_task(runs, &series);
    let browsed = browse::data(runs, &series);
    let data = browse::embeddable(&browsed)?;
    let page = Page {
        title,
        care: NOT_FOR_PATIENT_CARE,
        version: env!("CARGO_PKG_VERSION"),
        style: STYLE,
        script: SCRIPT,
        nonce: nonce(&data),
        several_runs: runs.len() > 1,
        overview: overview::view(runs, &series, &tasks),
        generation: runs.iter().map(funnel::generation).collect(),
        curation: runs.iter().map(funnel::curation).collect(),
        datasets: runs.iter().map(dataset::view).collect(),
        training: runs.iter().map(training::view).collect(),
        tasks: score_view::tasks(&tasks, &series),
        has_predictions: !browsed.predictions.is_empty(),
        row_count: number::count(browsed.rows.len() as u64),
        reject_count: number::count(browsed.rejects.len() as u64),
        cuts: browsed.cuts,
        warnings: methods::warnings(runs),
        notices: notices(runs),
        stages: methods::stages(runs),
        signatures: methods::signatures(runs),
        resamples: methods::resamples(runs),
        data,
    };
    Ok(template::render("report", PAGE, &page, true)?)
}

/// Nobody who writes text into a run can foresee it: it depends on all of that text.
fn nonce(data: &str) -> String {
    let parts = [data.as_bytes(), SCRIPT.as_bytes(), STYLE.as_bytes()];
    ContentHash::of_parts(parts).short().to_owned()
}

fn notices(runs: &[RunFiles]) -> Vec<String> {
    let of = |run: &RunFiles| -> Vec<String> {
        let prefix = if runs.len() > 1 { format!("{}: ", run.label) } else { String::new() };
        let notices = run.notices.iter();
        notices.map(|notice| format!("{prefix}{notice}")).collect()
    };
    runs.iter().flat_map(of).collect()
}
