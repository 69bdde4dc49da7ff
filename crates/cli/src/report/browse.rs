//! The data behind the page's browsers: [`data`] gives single predictions, dataset rows and rejects as one JSON text.
//!
//! What must not be shown never enters the page: of credentialed tasks only ids and scores, of restricted rows only ids
//! and provenance.

use bioinstruct_core::record::Instruction;
use serde::Serialize;
use serde_json::Value;

use super::collect::RunFiles;
use super::predictions;
use super::rows;
use super::series::Series;

/// Rows of a dataset file, and of a file of rejects, that the page holds.
const MOST_ROWS: usize = 500;

/// Everything that the browsers show.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Data {
    /// One group for each run, task, profile and number of shots.
    pub predictions: Vec<Value>,
    /// Rows of train and dev.
    pub rows: Vec<Value>,
    /// Rejected rows of both stages, and what could not be read.
    pub rejects: Vec<Value>,
    /// Which lists were cut, in words.
    #[serde(skip)]
    pub cuts: Vec<String>,
}

/// Collects the data of all runs.
pub(super) fn data(runs: &[RunFiles], series: &[Series]) -> Data {
    let mut data = Data::default();
    for (position, run) in runs.iter().enumerate() {
        for group in predictions::groups(run, position, series, runs.len() > 1) {
            data.predictions.push(group.json);
            data.cuts.extend(group.cut);
        }
        let shown = if runs.len() > 1 { run.label.as_str() } else { "" };
        // Drafts do not say what examples they were shown: where any row is restricted, none of their text is shown.
        let hidden = [&run.instructions, &run.train, &run.dev]
            .into_iter()
            .flatten()
            .flatten()
            .any(|row| row.provenance.restricted);
        data.add_rows(run.train.as_deref(), "train", shown);
        data.add_rows(run.dev.as_deref(), "dev", shown);
        data.add_rejects(run.generate_rejected.as_deref(), "generation", shown, hidden);
        data.add_rejects(run.dataset_rejected.as_deref(), "curation", shown, false);
        data.add_rejects(run.quarantined.as_deref(), "quarantine", shown, false);
    }
    data
}

/// JSON that may stand in a script element: no character ends it or begins a comment.
pub(super) fn embeddable(data: &Data) -> anyhow::Result<String> {
    Ok(serde_json::to_string(data)?
        .replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029"))
}

impl Data {
    fn add_rows(&mut self, rows: Option<&[Instruction]>, split: &str, run: &str) {
        let given = rows.unwrap_or_default();
        self.rows
            .extend(given.iter().take(MOST_ROWS).map(|row| rows::dataset_row(row, split, run)));
        self.note_cut(&format!("{split} rows"), given.len());
    }

    fn add_rejects(&mut self, rows: Option<&[Value]>, stage: &str, run: &str, hidden: bool) {
        let given = rows.unwrap_or_default();
        self.rejects
            .extend(given.iter().take(MOST_ROWS).map(|row| rows::reject(row, stage, run, hidden)));
        self.note_cut(&format!("rejects of {stage}"), given.len());
    }

    fn note_cut(&mut self, what: &str, count: usize) {
        if count > MOST_ROWS {
            self.cuts.push(format!("{what}: the first {MOST_ROWS} of {count}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_in_the_data_can_end_the_script() {
        let data =
            Data { rows: vec![json!("</script><!-- <script> & \u{2028}")], ..Data::default() };
        let text = embeddable(&data).unwrap();
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["rows"][0], "</script><!-- <script> & \u{2028}");
    }
}
