//! The clean subset: items that no row of a dataset gives away, by the report that `curate --against` left.

use std::path::Path;

use bioinstruct_core::run_directory::Stage;
use bioinstruct_curate::decontaminate::against::ContaminationReport;
use bioinstruct_eval::{SUSPECTS, Scores, Suspects, TaskInput};

use crate::console::Console;
use crate::failure;

/// Puts the ids to leave out beside the predictions, from which the scores are made. An empty path does nothing.
pub(super) fn publish(
    stage: &Stage,
    report: &str,
    tasks: &[TaskInput],
    console: &Console,
) -> anyhow::Result<()> {
    if report.is_empty() {
        return Ok(());
    }
    let text = fs_err::read_to_string(Path::new(report))?;
    let read: ContaminationReport = serde_json::from_str(&text).map_err(|error| {
        failure::data(
            format!("{report}: {error}"),
            "`curate --against TASK` writes `dataset/contamination.json`",
        )
    })?;
    for input in tasks.iter().filter(|input| !read.tasks.contains_key(&input.task.name)) {
        console.say(&format!(
            "warning: {report} says nothing of {}: it has no clean subset",
            input.task.name
        ));
    }
    let suspects: Suspects =
        read.tasks.into_iter().map(|(task, found)| (task, found.remaining)).collect();
    stage.publish_json(SUSPECTS, &suspects)?;
    Ok(())
}

/// A line for each score of a clean subset.
pub(super) fn say(scores: &Scores, console: &Console) {
    for row in scores.rows.iter().filter(|row| row.subset.is_some()) {
        console.say(&format!(
            "clean subset of {}: {} {:.4} [{:.4}, {:.4}] for {} on {} items",
            row.task, row.metric, row.value, row.ci_low, row.ci_high, row.candidate, row.n
        ));
    }
}
