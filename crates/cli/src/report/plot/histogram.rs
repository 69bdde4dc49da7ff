//! Columns side by side: how long the texts are.

use std::fmt::Write;

use super::super::number;
use super::{coordinate, escape};

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Column {
    /// Under the column.
    pub label: String,
    /// In words, for the tooltip.
    pub range: String,
    /// Its height.
    pub rows: u64,
}

const HEIGHT: f64 = 96.0;

/// The columns with their labels, every second or third one where there are many; `title` is read out in place of the drawing.
pub(in super::super) fn histogram(columns: &[Column], title: &str) -> String {
    let highest = columns.iter().map(|column| column.rows).max().unwrap_or(0).max(1) as f64;
    let width = 100.0 / columns.len().max(1) as f64;
    let mut drawing = format!(
        "<svg class=\"histogram\" width=\"100%\" height=\"118\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    );
    // Columns without a label of their own leave their neighbours room.
    let every = match columns.iter().filter(|column| !column.label.is_empty()).count() {
        0..=7 => 1,
        8..=11 => 2,
        _ => 3,
    };
    for (position, column) in columns.iter().enumerate() {
        let height = HEIGHT * column.rows as f64 / highest;
        let left = width * position as f64;
        // Writing to a string cannot fail.
        let _ = write!(
            drawing,
            "<rect class=\"column\" x=\"{}%\" y=\"{}\" width=\"{}%\" height=\"{}\"><title>{}: {}</title></rect>",
            coordinate(left + width * 0.06),
            coordinate(HEIGHT - height),
            coordinate(width * 0.88),
            coordinate(height),
            escape(&column.range),
            number::count(column.rows)
        );
        if position % every == 0 && !column.label.is_empty() {
            let _ = write!(
                drawing,
                "<text x=\"{}%\" y=\"112\" text-anchor=\"middle\">{}</text>",
                coordinate(left + width / 2.0),
                escape(&column.label)
            );
        }
    }
    let _ = write!(
        drawing,
        "<line class=\"axis\" x1=\"0\" x2=\"100%\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\"/></svg>"
    );
    drawing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_column_fills_the_height_and_nothing_divides_by_zero() {
        let column = |label: &str, rows| Column {
            label: label.to_owned(),
            range: format!("{label} words"),
            rows,
        };
        let drawing = histogram(&[column("1", 5), column("<6", 10)], "lengths");
        assert!(drawing.contains("height=\"96\"") && drawing.contains("height=\"48\""));
        assert!(drawing.contains("&lt;6"));
        let empty = histogram(&[column("1", 0)], "none");
        assert!(empty.contains("height=\"0\"") && !empty.contains("NaN"));
        assert!(!histogram(&[], "none").contains("inf"));
    }
}
