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
        TaskKind::MultipleChoice => form != AnswerForm::List,
        TaskKind::Extraction => form == AnswerForm::List,
        TaskKind::Generation => form == AnswerForm::Text,
    };
    if fits {
        Ok(())
    } else {
        Err(format!("`answer.form`: not for a task of kind {}", task.kind.name()))
    }
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
        (TaskKind::Extraction | TaskKind::Generation, 0) => {
            return Err("`max_tokens`: must be at least 1".to_owned());
        }
        _ => {}
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
    if task.data.fields.contains_key("choices") {
        return Err("`data.fields`: `choices` is the name of the choices themselves".to_owned());
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

fn check_profiles(task: &Task) -> Result<(), String> {
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
    if spec.input.is_some() && spec.instruction.is_none() {
        return Err(format!("`profiles.{name}.instruction`: missing"));
    }
    let templates =
        [("instruction", &spec.instruction), ("input", &spec.input), ("text", &spec.text)];
    for (field, template) in templates {
        let Some(template) = template else { continue };
        let path = format!("profiles.{name}.{field}");
        let used = variables(&path, template).map_err(|error| error.to_string())?;
        let is_known = |variable: &String| {
            task.data.fields.contains_key(variable)
                || (task.choices.is_some() && variable == "choices")
        };
        if let Some(unknown) = used.iter().find(|variable| !is_known(variable)) {
            return Err(format!("`{path}`: `{unknown}` is not in `data.fields`"));
        }
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
        ];
        for (from, to, expected) in cases {
            let said = complaint(from, to);
            assert!(said.starts_with("task file t.toml: "), "{said}");
            assert!(said.contains(expected), "{expected} is not in: {said}");
        }
    }
}
