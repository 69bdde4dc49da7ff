//! Dataset rows and rejects for the page's browsers: [`dataset_row`] and [`reject`].
//!
//! Of rows under a data-use agreement only ids and provenance get into the page.

use bioinstruct_core::record::{Category, Instruction};
use serde_json::{Value, json};

use super::funnel::reason_name;

/// A row of train or dev with its provenance.
pub(super) fn dataset_row(row: &Instruction, split: &str, run: &str) -> Value {
    let provenance = &row.provenance;
    let mut shown = json!({
        "id": row.id,
        "split": split,
        "run": run,
        "category": row.category.map(Category::name),
        "source": provenance.source,
        "family": provenance.source.split(':').next(),
        "model": provenance.model,
        "request": provenance.request_id,
        "exemplars": provenance.exemplar_ids,
        "licence": provenance.licence,
        "restricted": provenance.restricted,
    });
    if !provenance.restricted {
        shown["instruction"] = json!(row.instruction);
        shown["input"] = json!(row.input);
        shown["output"] = json!(row.output);
    }
    shown
}

/// A rejected row, or what could not be read as one; `hidden` leaves out its text.
pub(super) fn reject(row: &Value, stage: &str, run: &str, hidden: bool) -> Value {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
    let provenance = |name: &str| {
        let inner = row.get("provenance").and_then(|provenance| provenance.get(name));
        inner.or_else(|| row.get(name))
    };
    let restricted = provenance("restricted").and_then(Value::as_bool).unwrap_or(hidden);
    let place = match (text("file"), row.get("line").and_then(Value::as_u64)) {
        ("", _) => String::new(),
        (file, Some(line)) => format!("{file}:{line}"),
        (file, None) => file.to_owned(),
    };
    let name = if stage == "quarantine" { "not readable".to_owned() } else { reason_name(row) };
    let mut shown = json!({
        "id": text("id"),
        "stage": stage,
        "run": run,
        "filter": name,
        "reason": reason_text(row),
        "evidence": row.get("evidence").filter(|evidence| evidence.is_object()),
        "place": place,
        "source": provenance("source"),
        "model": provenance("model"),
        "request": provenance("request_id"),
        "exemplars": provenance("exemplar_ids"),
        "restricted": restricted,
    });
    if !restricted {
        for name in ["instruction", "input", "output", "text", "raw"] {
            if let Some(value) = row.get(name).filter(|value| value.is_string()) {
                shown[name] = value.clone();
            }
        }
    }
    shown
}

/// The reason in words.
fn reason_text(row: &Value) -> String {
    match row.get("reason") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(fields)) => {
            let parts = fields.iter().map(|(name, value)| match value {
                Value::String(text) => format!("{name}: {text}"),
                other => format!("{name}: {other}"),
            });
            parts.collect::<Vec<_>>().join(", ")
        }
        _ => row.get("detail").and_then(Value::as_str).unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bioinstruct_core::record::Provenance;

    #[test]
    fn restricted_rows_are_named_and_not_shown() {
        let row = |restricted| {
            Instruction::new(
                "secret".to_owned(),
                String::new(),
                "text".to_owned(),
                None,
                Provenance { restricted, ..Provenance::default() },
            )
        };
        assert_eq!(dataset_row(&row(false), "train", "")["instruction"], "secret");
        assert!(!dataset_row(&row(true), "train", "").to_string().contains("secret"));
        let rejected = json!(row(true));
        assert!(!reject(&rejected, "curation", "", false).to_string().contains("secret"));
        let unmarked = json!({"filter": "exact", "instruction": "secret"});
        let text = |hidden| reject(&unmarked, "generation", "", hidden).to_string();
        assert!(text(false).contains("secret") && !text(true).contains("secret"));
    }
}
