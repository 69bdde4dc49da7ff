//! What a sentence encoder says of the rows: how many are alike in meaning, and the map of all of them.

use serde::Serialize;
use serde_json::Value;

use super::dataset::category_label;
use super::number;
use super::plot::scatter::{Point, SHAPES, scatter};

/// Kinds in the order of the shapes.
const KINDS: [&str; 5] = ["qa", "ie", "generation", "other", "unknown"];

/// The part of a dataset's section on meaning; empty when no encoder was asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct MeaningView {
    /// What was found, in words.
    pub sentence: String,
    /// How the map was made.
    pub note: String,
    /// Shape, kind and number of points.
    pub legend: Vec<(&'static str, &'static str, String)>,
    /// The drawing.
    pub map: String,
}

/// Reads the field `meaning` of `dataset/stats.json`.
pub(super) fn view(meaning: &Value) -> MeaningView {
    let whole = |field: &str| meaning[field].as_u64().unwrap_or_default();
    let points: Vec<Point> = meaning["map"].as_array().into_iter().flatten().map(point).collect();
    let legend = SHAPES
        .into_iter()
        .zip(KINDS)
        .enumerate()
        .filter_map(|(shape, (class, kind))| {
            let count = points.iter().filter(|point| point.shape == shape).count();
            (count > 0).then(|| (class, category_label(kind), number::count(count as u64)))
        })
        .collect();
    let encoder = meaning["encoder"].as_str().unwrap_or_default();
    MeaningView {
        sentence: format!(
            "Rows alike in meaning to an earlier one (cosine of at least {} by {encoder}): {}, of which {} differ from it in a \
             number or a negation. They are listed in alike.jsonl, and none was dropped for it.",
            meaning["threshold"].as_f64().map_or_else(String::new, |value| format!("{value:.2}")),
            number::count(whole("alike")),
            number::count(whole("alike_but_for_a_number_or_negation")),
        ),
        note: format!(
            "Each point is a row ({} shown), placed by the two principal components of the vectors of instruction and input; they hold \
             {} of the variance, so rows that lie together need not be alike.",
            number::count(points.len() as u64),
            number::percent(meaning["map_variance"].as_f64().unwrap_or_default(), 1.0),
        ),
        legend,
        map: scatter(&points, "Map of the rows by the meaning of their instructions"),
    }
}

fn point(value: &Value) -> Point {
    let kind = value["category"].as_str().unwrap_or("unknown");
    let shape = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1);
    let id = value["id"].as_str().unwrap_or_default();
    Point {
        x: value["x"].as_f64().unwrap_or_default(),
        y: value["y"].as_f64().unwrap_or_default(),
        shape,
        label: format!("{}: {id}", category_label(kind)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_map_is_drawn_with_a_legend_of_the_kinds_that_are_there() {
        let view = view(&json!({
            "encoder": "minilm", "threshold": 0.9, "alike": 1234, "alike_but_for_a_number_or_negation": 5,
            "map_variance": 0.125,
            "map": [
                {"id": "a", "x": 0.0, "y": 0.5, "category": "ie"},
                {"id": "b", "x": 1.0, "y": 0.0},
                {"id": "c", "x": 1.0, "y": 0.2, "category": "ie"},
            ],
        }));
        assert!(view.sentence.contains(": 1,234, of which 5 differ"), "{}", view.sentence);
        assert!(view.sentence.contains("at least 0.90 by minilm"), "{}", view.sentence);
        let legend: Vec<_> =
            view.legend.iter().map(|(class, _, count)| (*class, count.as_str())).collect();
        assert_eq!(legend, [("hollow", "2"), ("none", "1")]);
        assert_eq!(view.map.matches("mark hollow").count(), 2);
    }
}
