//! What serde cannot see: whether the parts of a task file fit together.

use std::collections::BTreeSet;

use bioinstruct_core::template::variables;

use super::{AnswerForm, ProfileSpec, Task, TaskKind};

/// The first thing that is wrong, with the field that holds it.
pub(super) fn check(task: &Task) -> Result<(), String> {
    check_name(&task.name)?;
    check_metrics(task)?;
    check_answer(task)?;
    check_choices(task)?;
    check_writing(task)?;
    check_sources(task)?;
    check_exports(task)?;
    check_profiles(task)
}

fn check_name(name: &str) -> Result<(), String> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(format!(
            "`name`: `{name}` must be lower-case letters, digits, `_` and `-`, since files are named after it"
        ));
    }
    Ok(())
}

fn check_metrics(task: &Task) -> Result<(), String> {
    if task.is_training_only() {
        let measured = !task.metrics.is_empty() || !task.profiles.is_empty();
        let said = "`group`: nothing is measured of training rows, so there are no `metrics` and `profiles`";
        return if measured { Err(said.to_owned()) } else { Ok(()) };
    }
    if task.metrics.is_empty() {
        return Err("`metrics`: name at least one".to_owned());
    }
    match task.metrics.iter().find(|metric| metric.kind() != task.kind) {
        Some(metric) => Err(format!(
            "`metrics`: `{}` measures {}, and this task is {}",
            metric.name(),
            metric.kind().name(),
            task.kind.name()
        )),
        None => Ok(()),
    }
}

fn check_answer(task: &Task) -> Result<(), String> {
    let form = task.answer.form;
    let fits = match task.kind {
        TaskKind::MultipleChoice => !form.is_list(),
        TaskKind::Extraction => form.is_list(),
        TaskKind::Generation => form == AnswerForm::Text,
    };
    if !fits {
        return Err(format!("`answer.form`: not for a task of kind {}", task.kind.name()));
    }
    if (form == AnswerForm::Labelled) == task.answer.labels.is_empty() {
        return Err("`answer.labels`: for form `labelled`, and needed there".to_owned());
    }
    if (form == AnswerForm::Labelled) != task.answer.field.is_empty() {
        return Err("`answer.field`: needed, but for form `labelled`".to_owned());
    }
    Ok(())
}

fn check_choices(task: &Task) -> Result<(), String> {
    let choices = match (task.kind, &task.choices) {
        (TaskKind::MultipleChoice, Some(choices)) => choices,
        (TaskKind::MultipleChoice, None) => {
            return Err("`choices`: missing, and the task is multiple_choice".to_owned());
        }
        (_, None) => return Ok(()),
        (_, Some(_)) => return Err("`choices`: only for tasks of kind multiple_choice".to_owned()),
    };
    let count = match (choices.fixed.len(), choices.fields.len()) {
        (0, 0) => return Err("`choices`: give either `fixed` or `fields`".to_owned()),
        (count, 0) | (0, count) => count,
        _ => return Err("`choices`: give `fixed` or `fields`, not both".to_owned()),
    };
    if count < 2 {
        return Err("`choices`: one choice is no choice".to_owned());
    }
    if !choices.labels.is_empty() && choices.labels.len() != count {
        return Err(format!(
            "`choices.labels`: {} labels for {count} choices",
            choices.labels.len()
        ));
    }
    if choices.fixed.is_empty() && choices.labels.is_empty() && count > 26 {
        return Err("`choices.labels`: there are more choices than letters".to_owned());
    }
    if choices.negative.as_ref().is_some_and(|negative| !choices.fixed.contains(negative)) {
        return Err("`choices.negative`: it is none of `choices.fixed`".to_owned());
    }
    let counts_negative = task.metrics.contains(&super::Metric::MicroF1);
    if counts_negative != choices.negative.is_some() {
        return Err("`choices.negative`: for the metric `micro_f1`, and needed there".to_owned());
    }
    let distinct: BTreeSet<&String> = choices.labels.iter().chain(&choices.fixed).collect();
    if distinct.len() != choices.labels.len() + choices.fixed.len() {
        return Err("`choices`: a label or a choice stands there twice".to_owned());
    }
    Ok(())
}

fn check_writing(task: &Task) -> Result<(), String> {
    match (task.kind, task.max_tokens) {
        (TaskKind::MultipleChoice, 1..) => {
            return Err("`max_tokens`: only for tasks whose answer is written".to_owned());
        }
        (TaskKind::Extraction | TaskKind::Generation, 0) if !task.is_training_only() => {
            return Err("`max_tokens`: must be at least 1".to_owned());
        }
        _ => {}
    }
    let labelled = task.metrics.contains(&super::Metric::LabelAccuracy);
    if task.read.as_ref().is_some_and(|read| read.labels.is_empty() == labelled) {
        return Err("`read.labels`: for the metric `label_accuracy`, and needed there".to_owned());
    }
    match (task.kind, &task.read) {
        (TaskKind::Extraction, None) => {
            Err("`read`: missing, and the task is extraction".to_owned())
        }
        (TaskKind::MultipleChoice | TaskKind::Generation, Some(_)) => {
            Err("`read`: only for tasks of kind extraction".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_sources(task: &Task) -> Result<(), String> {
    if task.data.columns.is_some() && task.data.format != super::Format::Csv {
        return Err("`data.columns`: only for format csv".to_owned());
    }
    if !task.data.fields.contains_key(&task.match_field) {
        return Err(format!("`match_field`: `{}` is not in `data.fields`", task.match_field));
    }
    for (name, meaning) in
        [("choices", "choices themselves"), ("answer", "answer"), ("answer_text", "answer")]
    {
        if task.data.fields.contains_key(name) {
            return Err(format!("`data.fields`: `{name}` is the name of the {meaning}"));
        }
    }
    match &task.shots {
        Some(shots) if shots.file.is_some() == shots.rest => {
            Err("`shots`: give either `file` or `rest = true`".to_owned())
        }
        Some(shots) if shots.rest && task.data.ids_file.is_none() => {
            Err("`shots.rest`: there is no `data.ids_file` that would leave rows out".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_exports(task: &Task) -> Result<(), String> {
    for (position, spec) in task.export.iter().enumerate() {
        let path = format!("export.{}", spec.name);
        if task.export[..position].iter().any(|other| other.name == spec.name) {
            return Err(format!("`{path}`: there are two of this name"));
        }
        if spec.instructions.is_empty() {
            return Err(format!("`{path}.instructions`: give at least one"));
        }
        if !(0.0..=1.0).contains(&spec.nothing_share) {
            return Err(format!("`{path}.nothing_share`: must lie between 0 and 1"));
        }
        if let Some(unknown) = spec.only.keys().find(|key| !task.data.fields.contains_key(*key)) {
            return Err(format!("`{path}.only`: `{unknown}` is not in `data.fields`"));
        }
        for template in spec.instructions.iter().chain([&spec.input, &spec.output]) {
            check_template(task, &path, template, &["answer", "answer_text"])?;
        }
    }
    Ok(())
}

/// Every variable that a template uses is one that it is given.
fn check_template(task: &Task, path: &str, template: &str, more: &[&str]) -> Result<(), String> {
    let used = variables(path, template).map_err(|error| error.to_string())?;
    let is_known = |variable: &String| {
        task.data.fields.contains_key(variable)
            || more.contains(&variable.as_str())
            || (task.choices.is_some() && variable == "choices")
    };
    match used.iter().find(|variable| !is_known(variable)) {
        Some(unknown) => Err(format!("`{path}`: `{unknown}` is not in `data.fields`")),
        None => Ok(()),
    }
}

fn check_profiles(task: &Task) -> Result<(), String> {
    if task.is_training_only() {
        return Ok(());
    }
    let Some(default) = task.profiles.get(&super::Profile::Default) else {
        return Err("`profiles.default`: missing".to_owned());
    };
    if default.text.is_none() && default.instruction.is_none() {
        return Err("`profiles.default`: give `instruction` and `input`, or `text`".to_owned());
    }
    for (profile, spec) in &task.profiles {
        check_profile(task, profile.name(), spec)?;
    }
    Ok(())
}

fn check_profile(task: &Task, name: &str, spec: &ProfileSpec) -> Result<(), String> {
    if spec.text.is_some() && (spec.instruction.is_some() || spec.input.is_some()) {
        return Err(format!(
            "`profiles.{name}`: give `text`, or `instruction` and `input`, not both"
        ));
    }
    if !spec.description.is_empty() && spec.text.is_none() {
        return Err(format!("`profiles.{name}.description`: only for a profile with `text`"));
    }
    if spec.input.is_some() && spec.instruction.is_none() {
        return Err(format!("`profiles.{name}.instruction`: missing"));
    }
    let templates =
        [("instruction", &spec.instruction), ("input", &spec.input), ("text", &spec.text)];
    for (field, template) in templates {
        if let Some(template) = template {
            check_template(task, &format!("profiles.{name}.{field}"), template, &[])?;
        }
    }
    let writes = spec.max_tokens.is_some() || spec.stop.is_some();
    if task.kind == TaskKind::MultipleChoice && writes || spec.max_tokens == Some(0) {
        return Err(format!("`profiles.{name}`: `max_tokens` and `stop` are for written answers"));
    }
    if spec.shots > 0 && task.shots.is_none() {
        return Err(format!("`profiles.{name}.shots`: there is no `[shots]` to take them from"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Origin, Task, TaskError};
    use std::path::Path;

    const GOOD: &str = r#"
name = "t"
title = "T"
description = "d"
kind = "multiple_choice"
metrics = ["accuracy"]
licence = "MIT"
source = "s"
match_field = "question"
[data]
format = "jsonl"
file = "t.jsonl"
[data.fields]
question = "q"
[choices]
fixed = ["yes", "no"]
[answer]
field = "a"
form = "text"
[profiles.default]
instruction = "Answer."
input = "{{ question }} {% for choice in choices %}{{ choice.label }}{% endfor %}"
"#;

    const EXPORT: &str = r#"
[[export]]
name = "row"
category = "qa"
instructions = ["Answer: {{ answer }}, {{ qestion }}"]
[profiles.default]"#;
    const TWO_EXPORTS: &str = r#"
[[export]]
name = "row"
category = "qa"
instructions = ["Answer."]
[[export]]
name = "row"
category = "ie"
instructions = ["Answer."]
[profiles.default]"#;

    fn complaint(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replace(from, to);
        let parsed = Task::parse(&text, Path::new("t.toml"), Origin::BuiltIn);
        let error = parsed.unwrap_err();
        assert!(matches!(error, TaskError::Definition { .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn each_mistake_names_the_file_and_the_field() {
        Task::parse(GOOD, Path::new("t.toml"), Origin::BuiltIn).unwrap();
        let cases = [
            ("name = \"t\"", "name = \"T x\"", "`name`"),
            ("kind = ", "sort = ", "unknown field `sort`"),
            ("[\"accuracy\"]", "[\"rougeL\"]", "`rougeL` measures generation"),
            ("[\"accuracy\"]", "[\"f1\"]", "unknown variant `f1`"),
            ("[\"accuracy\"]", "[]", "`metrics`"),
            ("form = \"text\"", "form = \"list\"", "`answer.form`"),
            ("fixed = [\"yes\", \"no\"]", "", "`choices`"),
            ("\"no\"]", "\"yes\"]", "twice"),
            ("\"no\"]", "\"no\"]\nlabels = [\"A\"]", "1 labels for 2 choices"),
            ("{{ question }}", "{{ qestion }}", "`profiles.default.input`: `qestion`"),
            ("{{ question }}", "{{ question", "profiles.default.input"),
            ("question = \"q\"", "question = { name = \"q\" }", "unknown field `name`"),
            ("match_field = \"question\"", "match_field = \"text\"", "`match_field`"),
            ("[profiles.default]", "[profiles.lm-eval]", "`profiles.default`"),
            ("[profiles.default]", "[profiles.helm]", "helm"),
            ("instruction = ", "shots = 1\ninstruction = ", "`profiles.default.shots`"),
            ("instruction = ", "text = \"x\"\ninstruction = ", "not both"),
            ("match_field", "max_tokens = 5\nmatch_field", "`max_tokens`"),
            ("match_field", "group = \"training_rows\"\nmatch_field", "`group`"),
            ("question = \"q\"", "question = \"q\"\nanswer = \"a\"", "`answer` is the name"),
            ("[profiles.default]", EXPORT, "`export.row`: `qestion`"),
            ("[profiles.default]", TWO_EXPORTS, "two of this name"),
        ];
        for (from, to, expected) in cases {
            let said = complaint(from, to);
            assert!(said.starts_with("task file t.toml: "), "{said}");
            assert!(said.contains(expected), "{expected} is not in: {said}");
        }
    }
}
