//! Spans that carry a label, such as `aspirin (active)`: [`score`] compares the spans, and the labels of those found.
//!
//! As in the study that published medication status (Agrawal et al. 2022), names are compared without their dose, and a status
//! counts only for names that were found. A repeated name counts once, with its first label.

use std::collections::BTreeMap;

use bioinstruct_data::task::ReadSpec;
use bioinstruct_text::normalize::answer_key;

use crate::metrics::{SpanCounts, spans};

/// Counts and metrics of one item: those of [`spans`], and `label_accuracy` where a span was found.
pub fn score(
    gold: &[String],
    predicted: &[String],
    read: &ReadSpec,
) -> (SpanCounts, BTreeMap<String, f64>) {
    let cut = |answers: &[String]| -> Vec<(String, Option<String>)> {
        answers.iter().map(|answer| cut(answer, read)).collect()
    };
    let (gold, predicted) = (cut(gold), cut(predicted));
    let names = |side: &[(String, Option<String>)]| -> Vec<String> {
        side.iter().map(|(name, _)| name.clone()).collect()
    };
    let (mut counts, mut metrics) = spans(&names(&gold), &names(&predicted));
    let (gold, predicted) = (by_name(&gold), by_name(&predicted));
    let is_right = |(name, label): &(&String, &&Option<String>)| {
        label.is_some() && predicted.get(*name).is_some_and(|given| given == *label)
    };
    let right = gold.iter().filter(is_right).count();
    counts.labelled = right;
    if counts.hits > 0 {
        metrics.insert("label_accuracy".to_owned(), right as f64 / counts.hits as f64);
    }
    (counts, metrics)
}

fn by_name(answers: &[(String, Option<String>)]) -> BTreeMap<String, &Option<String>> {
    let mut found = BTreeMap::new();
    for (name, label) in answers {
        found.entry(answer_key(name)).or_insert(label);
    }
    found
}

/// An answer's span and its label: in parentheses, or after a colon or a dash. A label that the task does not have is none.
fn cut(answer: &str, read: &ReadSpec) -> (String, Option<String>) {
    let known = |label: &str| {
        let label = answer_key(label);
        read.labels.iter().find(|known| **known == label).cloned()
    };
    let in_parentheses = answer.trim_end().strip_suffix(')').and_then(|rest| rest.rsplit_once('('));
    let after_sign = || {
        [": ", " - ", " – "].into_iter().find_map(|sign| {
            let (name, label) = answer.rsplit_once(sign)?;
            known(label).map(|label| (name, Some(label)))
        })
    };
    let (name, label) = match in_parentheses {
        Some((name, label)) => (name, known(label)),
        None => after_sign().unwrap_or((answer, None)),
    };
    let name = name.trim().trim_matches(['"', '\'', '“', '”', '*', '`']).trim();
    (if read.drop_dose { without_dose(name) } else { name.to_owned() }, label)
}

/// The words before the first one, other than the very first, that is a number.
fn without_dose(name: &str) -> String {
    let is_number = |word: &&str| word.chars().all(char::is_numeric);
    let words: Vec<&str> = name.split_whitespace().collect();
    let end = words.iter().skip(1).position(is_number).map_or(words.len(), |at| at + 1);
    words[..end].join(" ")
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these quotients are exact in doubles")]
mod tests {
    use super::*;

    fn read() -> ReadSpec {
        ReadSpec {
            labels: ["active", "discontinued", "neither"].map(str::to_owned).to_vec(),
            drop_dose: true,
            ..ReadSpec::default()
        }
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn an_answer_is_cut_into_name_and_label() {
        for (answer, name, label) in [
            ("aspirin (active)", "aspirin", Some("active")),
            ("\"Lantus insulin\" (Discontinued)", "Lantus insulin", Some("discontinued")),
            ("aspirin 81 mg: active", "aspirin", Some("active")),
            ("6 mp - neither", "6 mp", Some("neither")),
            ("heparin (weaned)", "heparin", None),
            ("interferon: beta", "interferon: beta", None),
            ("prednisone 20 mg daily", "prednisone", None),
            ("vitamin B12 (active)", "vitamin B12", Some("active")),
        ] {
            assert_eq!(
                cut(answer, &read()),
                (name.to_owned(), label.map(str::to_owned)),
                "{answer}"
            );
        }
    }

    #[test]
    fn labels_count_where_the_name_was_found() {
        let gold = texts(&["aspirin (active)", "heparin (discontinued)", "statin (neither)"]);
        let predicted = texts(&[
            "Aspirin 81 mg (active)",
            "heparin (active)",
            "iron (active)",
            "aspirin (neither)",
        ]);
        let (counts, metrics) = score(&gold, &predicted, &read());
        assert_eq!((counts.hits, counts.predicted, counts.gold, counts.labelled), (2, 3, 3, 1));
        assert_eq!(metrics["label_accuracy"], 0.5);
        assert!((metrics["span_f1"] - 2.0 / 3.0).abs() < 1e-15);
        let (_, nothing_found) = score(&gold, &texts(&["iron (active)"]), &read());
        assert!(!nothing_found.contains_key("label_accuracy"));
    }
}
