//! What the dataset looks like: categories beside the paper's, and how long the texts are.

use bioinstruct_core::record::Category;
use serde::Serialize;
use serde_json::Value;

use super::collect::RunFiles;
use super::diversity::{self, DiversityView};
use super::meaning::{self, MeaningView};
use super::number;
use super::plot::bar::bar;
use super::plot::histogram::{Column, histogram};
use super::review::{self, ReviewView};

/// One category.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct CategoryLine {
    /// For people.
    pub label: String,
    /// Rows.
    pub count: String,
    /// Of all rows.
    pub share: String,
    /// What the paper reports; empty for rows without a category.
    pub paper: String,
    /// The drawing, with the paper's share as a mark.
    pub bar: String,
}

/// The lengths of one of the three texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct LengthView {
    /// Which text.
    pub label: String,
    /// Median and so on.
    pub caption: String,
    /// The drawing.
    pub drawing: String,
}

/// The dataset of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct DatasetView {
    /// The run's label.
    pub run: String,
    /// Why there is nothing to show; empty otherwise.
    pub absent: String,
    /// The paper's four kinds, and rows without one.
    pub categories: Vec<CategoryLine>,
    /// Where the kinds come from; empty when nobody says.
    pub labelling: String,
    /// How different the rows are.
    pub diversity: DiversityView,
    /// What a sentence encoder says of them.
    pub meaning: MeaningView,
    /// What raters said of a sample of them.
    pub review: ReviewView,
    /// Instruction, input, output.
    pub lengths: Vec<LengthView>,
    /// Where the rows come from: name and counts.
    pub facts: Vec<(String, String)>,
}

/// For people.
pub(super) fn category_label(name: &str) -> &str {
    match name {
        "qa" => "Question answering",
        "ie" => "Information extraction",
        "generation" => "Text generation",
        "other" => "Other",
        "unknown" => "Not labelled",
        name => name,
    }
}

/// Reads `dataset/stats.json`.
pub(super) fn view(run: &RunFiles) -> DatasetView {
    let mut view = DatasetView { run: run.label.clone(), ..DatasetView::default() };
    let Some(statistics) = &run.statistics else {
        "This run has no dataset statistics.".clone_into(&mut view.absent);
        return view;
    };
    view.categories = categories(statistics);
    view.labelling = statistics.get("labelling").map(labelling).unwrap_or_default();
    view.diversity = statistics.get("diversity").map(diversity::view).unwrap_or_default();
    view.review = run.review.as_ref().map(review::view).unwrap_or_default();
    view.meaning = statistics.get("meaning").map(meaning::view).unwrap_or_default();
    for (field, label) in [
        ("instruction_words", "Instructions"),
        ("input_words", "Inputs"),
        ("output_words", "Outputs"),
    ] {
        view.lengths.extend(lengths(statistics.get(field), label));
    }
    for (field, label) in
        [("sources", "Sources"), ("models", "Written by"), ("licences", "Licences")]
    {
        view.facts.extend(tally(statistics.get(field), label));
    }
    let restricted = statistics.get("restricted").and_then(Value::as_u64);
    view.facts.extend(restricted.map(|rows| {
        let text = match rows {
            0 => "none".to_owned(),
            rows => format!("{} rows; their text is not shown here", number::count(rows)),
        };
        ("Under a data-use agreement".to_owned(), text)
    }));
    view
}

fn categories(statistics: &Value) -> Vec<CategoryLine> {
    let rows_of = |name: &str| {
        let category = statistics.get("categories").and_then(|all| all.get(name));
        category.and_then(|category| category.get("rows")?.as_u64())
    };
    let known = Category::ALL.map(|category| (category.name(), Some(category.paper_share())));
    let names = known.into_iter().chain([("unknown", None)]);
    let counted: Vec<(&str, Option<f64>, u64)> = names
        .filter_map(|(name, paper)| Some((name, paper, rows_of(name)?)))
        .filter(|(_, paper, rows)| paper.is_some() || *rows > 0)
        .collect();
    let total: u64 = counted.iter().map(|(_, _, rows)| rows).sum();
    // The largest share on either side nearly fills the cell.
    let widest = 1.05
        * counted.iter().fold(0.0, |widest: f64, (_, paper, rows)| {
            widest.max(*rows as f64 / total.max(1) as f64).max(paper.unwrap_or(0.0))
        });
    counted
        .into_iter()
        .map(|(name, paper, rows)| CategoryLine {
            label: category_label(name).to_owned(),
            count: number::count(rows),
            share: number::percent(rows as f64, total as f64),
            paper: paper.map_or_else(String::new, |share| number::percent(share, 1.0)),
            bar: bar(
                rows as f64 / total.max(1) as f64 / widest,
                Some(paper.unwrap_or(0.0) / widest),
                "base",
            ),
        })
        .collect()
}

/// In a sentence: kinds that somebody gave are not to be taken for kinds that somebody only guessed.
fn labelling(value: &Value) -> String {
    let rows = |field: &str| value.get(field).and_then(Value::as_u64).unwrap_or_default();
    let method = value.get("method").and_then(Value::as_str).unwrap_or_default();
    let mut parts = Vec::new();
    if rows("given") > 0 {
        parts.push(format!("{} rows brought their kind", number::count(rows("given"))));
    }
    if rows("labelled") > 0 {
        parts.push(format!(
            "{} rows were given their kind by {method}",
            number::count(rows("labelled"))
        ));
    }
    if rows("unlabelled") > 0 {
        parts.push(format!("{} have none", number::count(rows("unlabelled"))));
    }
    if parts.is_empty() { String::new() } else { format!("{}.", parts.join("; ")) }
}

fn lengths(value: Option<&Value>, label: &str) -> Option<LengthView> {
    let value = value?;
    let number = |field: &str| value.get(field).and_then(Value::as_u64).unwrap_or_default();
    let bins = value.get("histogram")?.as_array()?;
    let columns: Vec<Column> = bins.iter().filter_map(column).collect();
    let columns = trimmed(columns);
    let caption = format!(
        "{} texts; median {}, 95\u{a0}% up to {}, longest {} words",
        number::count(number("count")),
        number::count(number("median")),
        number::count(number("p95")),
        number::count(number("max"))
    );
    Some(LengthView {
        label: label.to_owned(),
        drawing: histogram(&columns, &format!("{label} by length in words: {caption}")),
        caption,
    })
}

fn column(bin: &Value) -> Option<Column> {
    let from = bin.get("from")?.as_u64()?;
    let rows = bin.get("rows")?.as_u64()?;
    let to = bin.get("to").and_then(Value::as_u64);
    let (label, range) = match to {
        Some(to) if to == from => (from.to_string(), format!("{from} words")),
        // Columns are not equally wide ranges: each says where it ends.
        Some(to) => (format!("{from}–{to}"), format!("{from} to {to} words")),
        None => (format!("{from}+"), format!("{from} words or more")),
    };
    Some(Column { label, range, rows })
}

/// Without the empty columns at either end.
fn trimmed(mut columns: Vec<Column>) -> Vec<Column> {
    while columns.len() > 1 && columns.last().is_some_and(|column| column.rows == 0) {
        columns.pop();
    }
    let empty = columns.iter().take_while(|column| column.rows == 0).count();
    columns.split_off(empty.min(columns.len().saturating_sub(1)))
}

fn tally(value: Option<&Value>, label: &str) -> Option<(String, String)> {
    let counts = value?.as_object()?;
    let mut named: Vec<(&str, u64)> =
        counts.iter().filter_map(|(name, count)| Some((name.as_str(), count.as_u64()?))).collect();
    named.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    let words = |name| {
        if name == "unknown" { "not stated" } else { name }
    };
    let parts: Vec<String> = named
        .iter()
        .map(|(name, count)| format!("{} ({})", words(*name), number::count(*count)))
        .collect();
    (!parts.is_empty()).then(|| (label.to_owned(), parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn categories_stand_beside_the_papers() {
        let run = RunFiles {
            statistics: Some(json!({"categories": {
                "qa": {"rows": 3}, "ie": {"rows": 1}, "generation": {"rows": 0}, "other": {"rows": 0}, "unknown": {"rows": 0}
            }})),
            ..RunFiles::default()
        };
        let view = view(&run);
        assert_eq!(view.categories.len(), 4);
        assert_eq!(view.categories[0].share, "75.0\u{a0}%");
        assert_eq!(view.categories[0].paper, "22.8\u{a0}%");
        assert!(view.lengths.is_empty());
    }

    #[test]
    fn empty_ends_of_a_histogram_are_cut() {
        let column = |rows| Column { label: String::new(), range: String::new(), rows };
        let counts = |columns: Vec<Column>| -> Vec<u64> {
            trimmed(columns).into_iter().map(|column| column.rows).collect()
        };
        assert_eq!(counts([0, 0, 2, 0, 1, 0].map(column).to_vec()), [2, 0, 1]);
        assert_eq!(counts([0, 0].map(column).to_vec()), [0]);
        assert_eq!(counts(Vec::new()), [0; 0]);
    }
}
