//! Single predictions for the page's browser: [`groups`] joins the answers of all models by item.
//!
//! Of credentialed tasks only ids and scores get into the page, whatever the files hold.

use std::collections::{BTreeMap, BTreeSet};

use bioinstruct_data::task::{ItemSources, Items, Task, TaskItem};
use serde_json::{Map, Value, json};

use super::collect::RunFiles;
use super::metric;
use super::records::PredictionFile;
use super::scores::definition;
use super::series::Series;

/// Items of one task that the page holds.
const MOST_ITEMS: usize = 2000;

/// The models that answered one task, base first.
type Answers<'a> = Vec<(&'a Series, &'a PredictionFile)>;

/// One task's items with all answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// What the browser is given.
    pub json: Value,
    /// Which items are left out, in words.
    pub cut: Option<String>,
}

/// The tasks of one run in the order of its scores; `place` is the run's position among those of the report.
pub(super) fn groups(
    run: &RunFiles,
    place: usize,
    series: &[Series],
    several_runs: bool,
) -> Vec<Group> {
    let mut groups: BTreeMap<_, Answers<'_>> = BTreeMap::new();
    let scores = run.scores.as_deref().unwrap_or_default();
    for file in &run.predictions {
        let answers = |known: &&Series| known.run == place && known.is_called(&file.candidate);
        let Some(by) = series.iter().find(answers) else {
            continue;
        };
        let scored = scores.iter().position(|score| score.task == file.task);
        let order = scored.unwrap_or(usize::MAX);
        let key = (order, &file.task, &file.profile, file.shots);
        groups.entry(key).or_default().push((by, file));
    }
    let mut found = Vec::new();
    for mut answers in groups.into_values() {
        answers.sort_by_key(|(series, _)| (series.role, &series.label));
        found.extend(group(run, &answers, several_runs));
    }
    found
}

fn group(run: &RunFiles, answers: &Answers<'_>, several_runs: bool) -> Option<Group> {
    let (_, first) = answers.first()?;
    let task = definition(&first.task);
    let hidden = is_hidden(run, answers, task.as_ref());
    let questions = if hidden { Vec::new() } else { questions(first) };
    let mut seen = BTreeSet::new();
    let rows = answers.iter().flat_map(|(_, file)| &file.rows);
    let ids: Vec<&str> = rows.filter_map(id).filter(|id| seen.insert(*id)).collect();
    let headline = headline(answers);
    let by_id = |(_, file): &(&Series, &PredictionFile)| -> BTreeMap<String, Value> {
        let rows = file.rows.iter();
        rows.filter_map(|row| Some((id(row)?.to_owned(), row.clone()))).collect()
    };
    let by_series: Vec<BTreeMap<String, Value>> = answers.iter().map(by_id).collect();
    let shown = ids.iter().take(MOST_ITEMS);
    let items: Vec<Value> =
        shown.map(|id| item(id, &by_series, &questions, hidden, headline.as_deref())).collect();
    let noted = first.info.get("title").and_then(Value::as_str);
    let mut title = task.map_or_else(|| noted.unwrap_or(&first.task).to_owned(), |task| task.title);
    if several_runs {
        title = format!("{title} · {}", run.label);
    }
    let series = answers
        .iter()
        .map(|(series, _)| json!({"label": series.label, "role": series.role.mark().class()}));
    let json = json!({
        "task": first.task,
        "title": title,
        "profile": first.profile,
        "shots": first.shots,
        "hidden": hidden,
        "metric": headline,
        "series": series.collect::<Vec<_>>(),
        "items": items,
    });
    let cut = (ids.len() > MOST_ITEMS)
        .then(|| format!("{title}: the first {MOST_ITEMS} of {} items", ids.len()));
    Some(Group { json, cut })
}

/// Whether any source says that the task's text must not be shown.
fn is_hidden(run: &RunFiles, answers: &Answers<'_>, task: Option<&Task>) -> bool {
    let noted = |file: &PredictionFile| file.info.get("credentialed") == Some(&Value::Bool(true));
    let Some((_, first)) = answers.first() else {
        return true;
    };
    let mut scores = run.scores.iter().flatten();
    task.is_some_and(|task| task.credentialed)
        || answers.iter().any(|(_, file)| noted(file))
        || scores.any(|score| score.task == first.task && score.credentialed)
}

fn id(row: &Value) -> Option<&str> {
    row.get("id")?.as_str()
}

/// The items of a task whose data ship with the program, when those are the data that were used; of other data the page
/// knows what the prediction files hold.
fn questions(file: &PredictionFile) -> Vec<TaskItem> {
    let own = definition(&file.task).filter(Task::has_own_data);
    let read = own.and_then(|task| task.items(&ItemSources::default()).ok());
    let used = file.info.get("inputs").and_then(|inputs| inputs.get("data")?.as_str());
    let same = |items: &Items| {
        used.is_none_or(|hash| items.inputs.get("data").map(String::as_str) == Some(hash))
    };
    read.filter(same).map_or_else(Vec::new, |items| items.items)
}

/// The metric by which an item got better or worse: `correct` where there is one.
fn headline(answers: &Answers<'_>) -> Option<String> {
    let rows = || answers.iter().flat_map(|(_, file)| &file.rows);
    if rows().any(|row| row.get("correct").is_some()) {
        return Some("correct".to_owned());
    }
    let metrics = rows().filter_map(|row| row.get("metrics")?.as_object());
    let names = metrics.flat_map(Map::keys);
    names.min_by_key(|name| metric::rank(name)).cloned()
}

fn item(
    id_wanted: &str,
    by_series: &[BTreeMap<String, Value>],
    questions: &[TaskItem],
    hidden: bool,
    headline: Option<&str>,
) -> Value {
    let rows: Vec<Option<&Value>> = by_series.iter().map(|rows| rows.get(id_wanted)).collect();
    let answers: Vec<Value> = rows
        .iter()
        .map(|row| row.map_or(Value::Null, |row| answer(row, hidden, headline)))
        .collect();
    if hidden {
        return json!({"id": id_wanted, "answers": answers});
    }
    let question = questions.iter().find(|item| item.id == id_wanted);
    let target = rows.iter().flatten().find_map(|row| row.get("target"));
    json!({
        "id": id_wanted,
        "fields": question.map_or_else(Vec::new, fields),
        "choices": question.map_or_else(Vec::new, |item| item.choices.iter().map(|choice| [choice.label.clone(), choice.text.clone()]).collect()),
        "target": target,
        "answers": answers,
    })
}

/// Shorter fields first: the question before the text it is about.
fn fields(item: &TaskItem) -> Vec<[&str; 2]> {
    let mut fields: Vec<[&str; 2]> = item
        .fields
        .iter()
        .filter(|(_, text)| !text.trim().is_empty())
        .map(|(name, text)| [name.as_str(), text.as_str()])
        .collect();
    fields.sort_by_key(|[name, text]| (text.len(), *name));
    fields
}

/// One model's answer: of a hidden item the scores alone.
fn answer(row: &Value, hidden: bool, headline: Option<&str>) -> Value {
    let correct = row.get("correct").and_then(Value::as_bool);
    let metrics = row.get("metrics").and_then(Value::as_object);
    let score = match headline {
        Some("correct") => correct.map(f64::from),
        Some(name) => metrics.and_then(|metrics| metrics.get(name)?.as_f64()),
        None => None,
    };
    let mut answer = Map::new();
    answer.insert("score".to_owned(), json!(score));
    let shown: &[&str] = if hidden {
        &["correct", "metrics"]
    } else {
        &[
            "correct",
            "metrics",
            "loglikelihoods",
            "choice",
            "tie",
            "truncated_tokens",
            "text",
            "parsed",
            "unparsed",
            "finish",
        ]
    };
    for name in shown {
        if let Some(value) = row.get(*name).filter(|value| !value.is_null()) {
            answer.insert((*name).to_owned(), value.clone());
        }
    }
    Value::Object(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_answers_keep_their_scores_only() {
        let row =
            json!({"id": "a", "text": "secret", "parsed": "secret", "metrics": {"rougeL": 0.5}});
        let shown = answer(&row, true, Some("rougeL"));
        assert_eq!(shown, json!({"score": 0.5, "metrics": {"rougeL": 0.5}}));
    }

    #[test]
    fn questions_are_shown_only_with_the_data_that_were_used() {
        let file = |info: Value| PredictionFile {
            candidate: "base".to_owned(),
            task: "demo_qa".to_owned(),
            profile: "default".to_owned(),
            shots: 0,
            rows: Vec::new(),
            info,
        };
        assert_eq!(questions(&file(Value::Null)).len(), 40);
        assert!(questions(&file(json!({"inputs": {"data": "another file"}}))).is_empty());
    }
}
