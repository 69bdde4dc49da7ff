//! From requests to rows: what generation asked for and got, what curation kept, and why the rest fell out.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::collect::RunFiles;
use super::number;
use super::plot::bar::bar;

/// One line of a funnel or of a list of reasons.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    /// What is counted.
    pub label: String,
    /// In small type under the label.
    pub about: String,
    /// How many.
    pub count: String,
    /// Of the whole.
    pub share: String,
    /// The drawing.
    pub bar: String,
}

/// One funnel of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Funnel {
    /// The run's label.
    pub run: String,
    /// Why there is nothing to show; empty otherwise.
    pub absent: String,
    /// Before the tables.
    pub sentence: String,
    /// What went in, what came out.
    pub steps: Vec<Line>,
    /// Why rows fell out, the most frequent first.
    pub reasons: Vec<Line>,
}

/// Counts of a generation: field of its summary, label, explanation. Requests are no drafts, so they get no bar.
const STEPS: [(&str, &str, &str); 4] = [
    ("requests", "Requests", "decided on, in the order of the plan"),
    ("drafts", "Drafts", "pieces of replies that were meant as tasks"),
    ("parsed", "Readable", "with instruction, input and output"),
    ("accepted", "Accepted", "passed every filter"),
];

fn line(label: &str, about: &str, count: u64, whole: u64, class: &str) -> Line {
    let share = count as f64 / whole.max(1) as f64;
    Line {
        label: label.to_owned(),
        about: about.to_owned(),
        count: number::count(count),
        share: number::percent(count as f64, whole as f64),
        bar: bar(share, None, class),
    }
}

fn bare(label: &str, about: &str, count: u64) -> Line {
    Line { share: String::new(), bar: String::new(), ..line(label, about, count, 0, "base") }
}

/// The funnel of `generate`.
pub(super) fn generation(run: &RunFiles) -> Funnel {
    let summary = run.manifests.get("generate").map(|manifest| &manifest.summary);
    let rejects = run.generate_rejected.as_deref();
    let mut funnel = Funnel { run: run.label.clone(), ..Funnel::default() };
    if summary.is_none() && run.instructions.is_none() && rejects.is_none() {
        "This run did not generate instructions.".clone_into(&mut funnel.absent);
        return funnel;
    }
    let counts = generation_counts(run, summary);
    let drafts = ["drafts", "parsed", "accepted"];
    let whole = drafts.iter().find_map(|field| counts.get(field));
    let whole = whole.copied().unwrap_or_default();
    for (field, label, about) in STEPS {
        let Some(&count) = counts.get(field) else {
            continue;
        };
        funnel.steps.push(match field {
            "requests" => bare(label, about, count),
            "accepted" => line(label, about, count, whole, "kept"),
            _ => line(label, about, count, whole, "base"),
        });
    }
    funnel.sentence = generation_sentence(summary);
    funnel.reasons = reasons(rejects.unwrap_or_default());
    funnel
}

/// What the summary says; what it does not say, as far as the files tell.
fn generation_counts<'f>(run: &RunFiles, summary: Option<&Value>) -> BTreeMap<&'f str, u64> {
    let mut counts = BTreeMap::new();
    for (field, ..) in STEPS {
        let count = summary.and_then(|summary| summary.get(field)?.as_u64());
        counts.extend(count.map(|count| (field, count)));
    }
    if let Some(rows) = &run.instructions {
        let accepted = *counts.entry("accepted").or_insert(rows.len() as u64);
        if let Some(rejects) = &run.generate_rejected {
            counts.entry("drafts").or_insert(accepted + rejects.len() as u64);
        }
    }
    let rejected = summary.and_then(|summary| summary.get("rejected"));
    let fault = |name: &str| rejected.and_then(|rejected| rejected.get(name)?.as_u64());
    let unread = fault("malformed").unwrap_or(0) + fault("truncated").unwrap_or(0);
    if let (Some(&drafts), Some(_)) = (counts.get("drafts"), rejected) {
        counts.entry("parsed").or_insert(drafts.saturating_sub(unread));
    }
    counts
}

fn generation_sentence(summary: Option<&Value>) -> String {
    let Some(summary) = summary else {
        return "Generation had not ended when this report was written; the counts are of what was there."
            .to_owned();
    };
    let mut sentences = Vec::new();
    if let Some(reason) = text(summary, "stopped") {
        sentences.push(format!("It ended early: {reason}."));
    }
    let tokens = ["prompt_tokens", "completion_tokens"].map(|name| summary.get(name)?.as_u64());
    if let [Some(read), Some(written)] = tokens {
        let (read, written) = (number::count(read), number::count(written));
        sentences.push(format!("The model read {read} tokens and wrote {written}."));
    }
    sentences.join(" ")
}

/// The funnel of `curate`.
pub(super) fn curation(run: &RunFiles) -> Funnel {
    let mut funnel = Funnel { run: run.label.clone(), ..Funnel::default() };
    let rejects = run.dataset_rejected.as_deref().unwrap_or_default();
    let rows = run.statistics.as_ref().and_then(|statistics| statistics.get("rows"));
    let Some(rows) = rows else {
        if run.dataset_rejected.is_none() {
            "This run has no curated dataset.".clone_into(&mut funnel.absent);
        } else {
            "Curation had not ended when this report was written.".clone_into(&mut funnel.sentence);
            funnel.reasons = reasons(rejects);
        }
        return funnel;
    };
    let count = |field: &str| rows.get(field).and_then(Value::as_u64).unwrap_or_default();
    let read = count("read");
    for (field, label, about, class) in [
        ("read", "Read", "rows, and what should have been rows", "base"),
        ("quarantined", "Quarantined", "not readable as a row", "base"),
        ("rejected", "Dropped", "by a filter", "base"),
        ("kept", "Kept", "never changed", "kept"),
    ] {
        funnel.steps.push(line(label, about, count(field), read, class));
    }
    funnel.sentence = format!(
        "{} rows to learn from, {}.",
        number::count(count("train")),
        match count("dev") {
            0 => "none set aside to watch the loss on".to_owned(),
            rows => format!("{} set aside to watch the loss on", number::count(rows)),
        }
    );
    funnel.reasons = filters(run.statistics.as_ref(), rejects);
    funnel
}

/// Every filter in its order, those that dropped nothing too; the rejects' own reasons where the statistics name none.
fn filters(statistics: Option<&Value>, rejects: &[Value]) -> Vec<Line> {
    let steps = statistics.and_then(|statistics| statistics.get("funnel")?.as_array());
    let Some(steps) = steps.filter(|steps| !steps.is_empty()) else {
        return reasons(rejects);
    };
    let number =
        |step: &Value, field: &str| step.get(field).and_then(Value::as_u64).unwrap_or_default();
    let dropped: u64 = steps.iter().map(|step| number(step, "rejected")).sum();
    steps
        .iter()
        .map(|step| {
            let name = step.get("filter").and_then(Value::as_str).unwrap_or("unnamed");
            line(name, about(name), number(step, "rejected"), dropped, "base")
        })
        .collect()
}

/// Why rows were rejected, the most frequent reason first, then by name.
fn reasons(rejects: &[Value]) -> Vec<Line> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for reject in rejects {
        *counts.entry(reason_name(reject)).or_default() += 1;
    }
    let mut sorted: Vec<(String, u64)> = counts.into_iter().collect();
    sorted.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    let lines = sorted.iter();
    lines
        .map(|(name, count)| line(name, about(name), *count, rejects.len() as u64, "base"))
        .collect()
}

/// The name of the rule that rejected a row: its filter, or its reason where that is all there is.
pub(super) fn reason_name(reject: &Value) -> String {
    let reason = reject.get("reason");
    text(reject, "filter")
        .or_else(|| text(reject, "rule"))
        .or_else(|| reason.and_then(tag))
        .or_else(|| text(reject, "reason"))
        .unwrap_or("no reason given")
        .to_owned()
}

fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field)?.as_str().filter(|text| !text.is_empty())
}

/// What names the kind of a reason that is an object.
fn tag(reason: &Value) -> Option<&str> {
    let tags = ["filter", "kind", "rule", "reason"];
    let named = tags.iter().find_map(|name| text(reason, name));
    named.or_else(|| reason.as_object()?.keys().next().map(String::as_str))
}

/// Why a piece of a reply never came before a filter.
const FAULTS: [(&str, &str); 3] = [
    ("malformed", "not in the form that was asked for"),
    ("truncated", "the reply was cut off in it"),
    ("request-failed", "a request to which no reply came"),
];

/// What a filter drops.
fn about(name: &str) -> &'static str {
    let entry = bioinstruct_curate::filter::ALL.iter().find(|entry| entry.name == name);
    let fault = FAULTS.iter().find(|fault| fault.0 == name);
    entry.map_or(fault.map_or("", |fault| fault.1), |entry| entry.about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasons_are_counted_and_sorted() {
        let rejects = [
            json!({"filter": "rouge-l", "reason": "0.9 like seed-001"}),
            json!({"reason": "no output"}),
            json!({"filter": "rouge-l", "reason": "0.8 like seed-002"}),
            json!({"reason": {"kind": "truncated", "at": 5}}),
            json!({}),
        ];
        let lines = reasons(&rejects);
        let names: Vec<&str> = lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(names, ["rouge-l", "no output", "no reason given", "truncated"]);
        assert_eq!((lines[0].count.as_str(), lines[0].share.as_str()), ("2", "40.0\u{a0}%"));
        assert!(lines[0].about.contains("too like"));
    }

    #[test]
    fn an_unfinished_generation_is_counted_from_its_files() {
        let run = RunFiles {
            generate_rejected: Some(vec![json!({"filter": "exact"})]),
            instructions: Some(Vec::new()),
            ..RunFiles::default()
        };
        let funnel = generation(&run);
        assert!(funnel.sentence.contains("had not ended"));
        assert_eq!(funnel.steps.last().unwrap().count, "0");
        assert!(!generation(&RunFiles::default()).absent.is_empty());
    }
}
