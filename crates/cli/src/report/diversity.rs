//! How different the rows are: what the instructions ask for, how near the nearest row is, how many words there are.

use serde::Serialize;
use serde_json::Value;

use super::number;
use super::plot::Axis;
use super::plot::histogram::{Column, histogram};
use super::plot::line::{Chart, Curve};
use super::plot::sunburst::{Sector, sunburst};

/// A histogram with what it shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Distribution {
    /// What is compared.
    pub label: String,
    /// Mean and so on.
    pub caption: String,
    /// The drawing.
    pub drawing: String,
}

/// A verb, its rows and its nouns, in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct VerbLine {
    /// In its base form.
    pub verb: String,
    /// Rows.
    pub count: String,
    /// Of all rows.
    pub share: String,
    /// The most common objects with their counts.
    pub nouns: String,
}

/// The words of one kind of text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct WordLine {
    /// Which text.
    pub label: String,
    /// Words.
    pub tokens: String,
    /// Different words.
    pub types: String,
    /// Class of its curve.
    pub class: &'static str,
}

/// The part of a dataset's section on how different its rows are.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct DiversityView {
    /// The sunburst; empty when no verb was found.
    pub sunburst: String,
    /// How it was made, and how much it shows.
    pub sunburst_note: String,
    /// The same as numbers.
    pub verbs: Vec<VerbLine>,
    /// Nearest other row; pairs of instructions; pairs of outputs.
    pub distributions: Vec<Distribution>,
    /// Types by tokens; empty when there are no words.
    pub growth: String,
    /// Its curves as numbers.
    pub words: Vec<WordLine>,
}

/// Reads the field `diversity` of `dataset/stats.json`.
pub(super) fn view(diversity: &Value) -> DiversityView {
    let mut view = DiversityView::default();
    if let Some(found) = diversity.get("verb_nouns") {
        verbs(found, &mut view);
    }
    let comparisons = [
        ("nearest", "Nearest other instruction"),
        ("instruction_pairs", "Two instructions"),
        ("output_pairs", "Two outputs"),
    ];
    view.distributions = comparisons
        .into_iter()
        .filter_map(|(field, label)| distribution(diversity.get(field)?, field, label))
        .collect();
    if let Some(texts) = diversity.get("vocabulary").and_then(Value::as_array) {
        vocabulary(texts, &mut view);
    }
    view
}

fn whole(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn verbs(found: &Value, view: &mut DiversityView) {
    let rows = whole(found, "rows");
    let sectors: Vec<Sector> = list(found, "top")
        .iter()
        .map(|verb| Sector {
            label: text(verb, "verb").to_owned(),
            rows: whole(verb, "rows"),
            parts: list(verb, "nouns")
                .iter()
                .map(|noun| (text(noun, "noun").to_owned(), whole(noun, "rows")))
                .collect(),
        })
        .collect();
    if sectors.is_empty() {
        return;
    }
    let shown: u64 = sectors.iter().map(|sector| sector.rows).sum();
    let paired: u64 = sectors.iter().flat_map(|sector| &sector.parts).map(|(_, rows)| rows).sum();
    let share = |part: u64| number::percent(part as f64, rows as f64);
    view.sunburst_note = format!(
        "Inner ring: the {} most common verbs, {} of {} rows; outer ring: up to four of their objects each, {} of the rows. A verb \
         was found in {} of the rows and an object in {}: {} different verbs, {} different pairs. Method: {}.",
        sectors.len(),
        share(shown),
        number::count(rows),
        share(paired),
        share(whole(found, "with_verb")),
        share(whole(found, "with_noun")),
        number::count(whole(found, "verbs")),
        number::count(whole(found, "pairs")),
        text(found, "method")
    );
    view.verbs = sectors
        .iter()
        .map(|sector| {
            let nouns: Vec<String> = sector
                .parts
                .iter()
                .map(|(noun, rows)| format!("{noun} ({})", number::count(*rows)))
                .collect();
            VerbLine {
                verb: sector.label.clone(),
                count: number::count(sector.rows),
                share: share(sector.rows),
                nouns: nouns.join(", "),
            }
        })
        .collect();
    let title = format!(
        "The most common verbs of the instructions and their objects. {}",
        view.sunburst_note
    );
    view.sunburst = sunburst(&sectors, rows, &title);
}

fn distribution(value: &Value, field: &str, label: &str) -> Option<Distribution> {
    let bars = list(value, "histogram");
    if bars.is_empty() || whole(value, "values") == 0 {
        return None;
    }
    let step = 1.0 / bars.len() as f64;
    let columns: Vec<Column> = bars
        .iter()
        .enumerate()
        .map(|(at, rows)| {
            let (low, high) = (at as f64 * step, (at + 1) as f64 * step);
            // Every fourth bar carries the value at which it begins.
            let label = if at % 4 == 0 { number::fixed(low, 1) } else { String::new() };
            let range = format!("{} to {}", number::fixed(low, 2), number::fixed(high, 2));
            Column { label, range, rows: rows.as_u64().unwrap_or_default() }
        })
        .collect();
    let number = |field: &str| {
        number::fixed(value.get(field).and_then(Value::as_f64).unwrap_or_default(), 2)
    };
    let (rows, of) = (whole(value, "rows"), whole(value, "of_rows"));
    let looked_at = match (rows == of, field) {
        (true, "nearest") => format!("each of {} rows", number::count(rows)),
        (true, _) => format!("all pairs of {} rows", number::count(rows)),
        (false, "nearest") => {
            format!(
                "a sample of {} rows, each against all {}",
                number::count(rows),
                number::count(of)
            )
        }
        (false, _) => {
            format!(
                "all pairs of a sample of {} of {} rows",
                number::count(rows),
                number::count(of)
            )
        }
    };
    let caption = format!(
        "{looked_at}; mean {}, median {}, highest {}",
        number("mean"),
        number("median"),
        number("max")
    );
    Some(Distribution {
        label: label.to_owned(),
        drawing: histogram(&columns, &format!("{label}, ROUGE-L: {caption}")),
        caption,
    })
}

fn vocabulary(texts: &[Value], view: &mut DiversityView) {
    let mut curves = Vec::new();
    for (value, class) in texts.iter().zip(["words-first", "words-second", "words-third"]) {
        if whole(value, "tokens") == 0 {
            continue;
        }
        let point = |point: &Value| {
            let values = point.as_array()?;
            Some((values.first()?.as_f64()?, values.get(1)?.as_f64()?))
        };
        let mut points = vec![(0.0, 0.0)];
        points.extend(list(value, "growth").iter().filter_map(point));
        curves.push(Curve { class, points, marked: true });
        let label = match text(value, "text") {
            "instruction" => "Instructions",
            "input" => "Inputs",
            "output" => "Outputs",
            name => name,
        };
        view.words.push(WordLine {
            label: label.to_owned(),
            tokens: number::count(whole(value, "tokens")),
            types: number::count(whole(value, "types")),
            class,
        });
    }
    if curves.is_empty() {
        return;
    }
    let x = Axis::around(curves.iter().flat_map(|curve| &curve.points).map(|point| point.0), 5);
    let chart = Chart {
        curves: &curves,
        title: "Different words by words read, for instructions, inputs and outputs",
        x_label: "words read",
        x_name: "words",
        height: 200,
        y_ticks: 4,
        x: &x,
    };
    view.growth = chart.draw();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example() -> Value {
        let mut bars = vec![0; 20];
        bars[13] = 2;
        json!({
            "verb_nouns": {"method": "by rule", "rows": 4, "with_verb": 4, "with_noun": 3, "verbs": 2, "pairs": 2, "top": [
                {"verb": "list", "rows": 3, "nouns": [{"noun": "drug", "rows": 2}]},
                {"verb": "explain", "rows": 1, "nouns": []}
            ]},
            "nearest": {"rows": 2, "of_rows": 9000, "values": 2, "mean": 0.66, "median": 0.66, "max": 0.67, "histogram": bars},
            "vocabulary": [
                {"text": "instruction", "tokens": 12, "types": 7, "growth": [[6, 5], [12, 7]]},
                {"text": "input", "tokens": 0, "types": 0, "growth": []}
            ]
        })
    }

    #[test]
    fn the_pictures_stand_with_their_numbers() {
        let view = view(&example());
        assert!(
            view.sunburst_note.contains("the 2 most common verbs, 100.0\u{a0}% of 4 rows"),
            "{}",
            view.sunburst_note
        );
        assert!(view.sunburst_note.contains("50.0\u{a0}% of the rows. A verb"));
        assert_eq!((view.verbs[0].nouns.as_str(), view.verbs.len()), ("drug (2)", 2));
        assert_eq!(view.distributions.len(), 1);
        assert!(
            view.distributions[0]
                .caption
                .starts_with("a sample of 2 rows, each against all 9,000; mean 0.66")
        );
        assert!(view.distributions[0].drawing.contains("0.65 to 0.70: 2"));
        assert_eq!((view.words.len(), view.words[0].types.as_str()), (1, "7"));
        assert!(view.growth.contains("words-first"));
    }

    #[test]
    fn what_is_absent_is_not_drawn() {
        assert_eq!(view(&json!({})), DiversityView::default());
        assert_eq!(
            view(&json!({"verb_nouns": {"rows": 0, "top": []}, "nearest": {"histogram": []}})),
            DiversityView::default()
        );
    }
}
