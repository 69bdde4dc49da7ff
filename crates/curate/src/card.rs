//! The dataset card, `README.md` of a dataset: [`dataset_card`].

use std::collections::BTreeMap;

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_core::record::Category;
use bioinstruct_core::template::{self, TemplateError};
use bioinstruct_text::novelty::NoveltyRule;
use serde_json::{Value, json};

use crate::config::{Keep, Rules};
use crate::decontaminate::against::{Contaminated, ContaminationReport, TaskContamination};
use crate::filter;
use crate::licence::{Licensing, SourceTerms};
use crate::pipeline::CONTAMINATED;
use crate::statistics::{Lengths, Statistics};

const TEMPLATE: &str = include_str!("../templates/dataset_card.md.jinja");

/// The card in Markdown.
pub fn dataset_card(
    statistics: &Statistics,
    rules: &Rules,
    seed: u64,
) -> Result<String, TemplateError> {
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
        "labelling": labelling(statistics),
        "with_input": percent(statistics.share_with_input),
        "lengths": [
            lengths("instruction", &statistics.instruction_words),
            lengths("input, where there is one", &statistics.input_words),
            lengths("output", &statistics.output_words),
        ],
        "header": header(statistics, rules),
        "licensing": licensing(&statistics.licensing),
        "contamination": statistics.contamination.as_ref().map(contamination),
        "unknown_licence": statistics.licensing.unknown,
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
        let other = if name == CONTAMINATED { "the row gives a test item away" } else { "" };
        entry.map_or(other, |entry| entry.about)
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

/// The lines of the YAML header that hang on what is in the dataset, as the Hugging Face hub reads them.
fn header(statistics: &Statistics, rules: &Rules) -> Vec<String> {
    let licensing = &statistics.licensing;
    let mut lines = vec![format!("license: {}", licensing.header)];
    if licensing.header == "other" {
        let restricted = statistics.restricted > 0;
        lines.push(format!(
            "license_name: {}",
            if restricted { "data-use-agreement" } else { "mixed" }
        ));
        lines.push("license_link: README.md".to_owned());
    }
    // Nothing else looks at the language.
    if rules.filters.contains(&"language") {
        lines.extend(["language:".to_owned(), "- en".to_owned()]);
    }
    let size = match statistics.rows.kept {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        _ => "10M<n<100M",
    };
    lines.extend(["size_categories:".to_owned(), format!("- {size}")]);
    let by_model: usize = statistics
        .models
        .iter()
        .filter(|(model, _)| *model != "unknown")
        .map(|(_, rows)| rows)
        .sum();
    lines.extend(["tags:".to_owned(), "- instruction-tuning".to_owned()]);
    if by_model > 0 {
        lines.push("- synthetic".to_owned());
    }
    lines
}

fn licensing(licensing: &Licensing) -> Value {
    let source = |terms: &SourceTerms| {
        let licence = if terms.licence.is_empty() { "unknown" } else { &terms.licence };
        json!({
            "source": cell(&terms.source),
            "licence": cell(licence),
            "rows": terms.rows,
            "restricted": terms.restricted,
        })
    };
    json!({
        "header": licensing.header,
        "reason": licensing.reason,
        "obligations": licensing.in_words().join("; "),
        "sources": licensing.sources.iter().map(source).collect::<Vec<_>>(),
    })
}

/// What was compared and found, task by task.
fn contamination(report: &ContaminationReport) -> Value {
    let task = |(name, found): (&String, &TaskContamination)| {
        json!({
            "name": cell(name),
            "items": found.items,
            "how": if found.hashed { "hashes of 8 words" } else { "texts" },
            "contaminated_rows": found.contaminated_rows,
            "contaminated": found.contaminated.len(),
            "suspected_rows": found.suspected_rows,
            "remaining": found.remaining.len(),
        })
    };
    json!({
        "rows": report.rows,
        "dropped": report.action == Contaminated::Drop,
        "tasks": report.tasks.iter().map(task).collect::<Vec<_>>(),
    })
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

/// Where the kinds come from, in a sentence.
fn labelling(statistics: &Statistics) -> String {
    let labels = &statistics.labelling;
    let mut parts = Vec::new();
    if labels.given > 0 {
        parts.push(format!("{} rows brought their category", labels.given));
    }
    if labels.labelled > 0 {
        parts.push(format!(
            "{} rows were given their category by {}",
            labels.labelled,
            cell(&labels.method)
        ));
    }
    if labels.unlabelled > 0 {
        parts.push(format!("{} have none", labels.unlabelled));
    }
    parts.join("; ")
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
