//! The dataset card, `README.md` of a dataset: [`dataset_card`].

use std::collections::BTreeMap;

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_core::record::Category;
use bioinstruct_core::template::{self, TemplateError};
use bioinstruct_text::novelty::NoveltyRule;
use serde_json::{Value, json};

use crate::config::{Keep, Rules};
use crate::filter;
use crate::statistics::{Lengths, Statistics};

const TEMPLATE: &str = include_str!("../templates/dataset_card.md.jinja");

/// The card in Markdown.
pub fn dataset_card(
    statistics: &Statistics,
    rules: &Rules,
    seed: u64,
) -> Result<String, TemplateError> {
    let licences = &statistics.licences;
    let context = json!({
        "warning": NOT_FOR_PATIENT_CARE,
        "rows": statistics.rows,
        "dialect": rules.dialect.name(),
        "seed": seed,
        "novelty": novelty_sentence(rules),
        "funnel": funnel(statistics),
        "origins": origins(statistics),
        "restricted": statistics.restricted,
        "categories": categories(statistics),
        "with_input": percent(statistics.share_with_input),
        "lengths": [
            lengths("instruction", &statistics.instruction_words),
            lengths("input, where there is one", &statistics.input_words),
            lengths("output", &statistics.output_words),
        ],
        "unknown_licence": licences.get("unknown").copied().unwrap_or_default(),
    });
    template::render("dataset_card.md.jinja", TEMPLATE, context, false)
}

fn novelty_sentence(rules: &Rules) -> String {
    if !rules.filters.contains(&"rouge-l") {
        return "Rows were not compared for likeness.".to_owned();
    }
    match rules.novelty {
        NoveltyRule::Below(threshold) if rules.keep == Keep::First => format!(
            "A row is new when its ROUGE-L F1 with every seed and every row kept before it is below {threshold}."
        ),
        NoveltyRule::Below(threshold) => format!(
            "The ROUGE-L F1 of a kept row with every seed and every other kept row is below {threshold}."
        ),
        NoveltyRule::AtMost(threshold) => {
            format!("A row is new when no ROUGE-L F1 with another one is above {threshold}.")
        }
    }
}

fn funnel(statistics: &Statistics) -> Vec<Value> {
    let about = |name: &str| {
        let entry = filter::ALL.iter().find(|entry| entry.name == name);
        entry.map_or("", |entry| entry.about)
    };
    let steps = statistics.funnel.iter();
    steps
        .map(|step| {
            json!({
                "filter": step.filter,
                "about": about(&step.filter),
                "rows_in": step.rows_in,
                "rejected": step.rejected,
            })
        })
        .collect()
}

fn origins(statistics: &Statistics) -> Vec<Value> {
    let of = |kind: &'static str, counts: &BTreeMap<String, usize>| -> Vec<Value> {
        let row = |(name, rows): (&String, &usize)| json!({"kind": kind, "name": cell(name), "rows": rows});
        counts.iter().map(row).collect()
    };
    let mut rows = of("source", &statistics.sources);
    rows.extend(of("written by", &statistics.models));
    rows.extend(of("licence", &statistics.licences));
    rows
}

fn categories(statistics: &Statistics) -> Vec<Value> {
    let names = Category::ALL.map(Category::name).into_iter().chain(["unknown"]);
    names
        .filter_map(|name| Some((name, statistics.categories.get(name)?)))
        .map(|(name, found)| {
            json!({
                "name": name,
                "rows": found.rows,
                "share": percent(found.share),
                "paper": found.paper_share.map_or_else(|| "–".to_owned(), percent),
            })
        })
        .collect()
}

fn lengths(name: &str, lengths: &Lengths) -> Value {
    json!({
        "name": name,
        "mean": format!("{:.1}", lengths.mean),
        "median": lengths.median,
        "p95": lengths.p95,
        "max": lengths.max,
    })
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Text from rows as a cell of a table: nothing in it can end the cell or begin a tag.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' => {
                safe.push('\\');
                safe.push(character);
            }
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            other if other.is_control() => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_a_cell() {
        assert_eq!(cell("a|b\n<script>_x_"), "a\\|b &lt;script>\\_x\\_");
    }
}
