//! One thing to answer: [`TaskItem`], read from a row.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::rows::Row;
use super::{AnswerForm, ChoicesSpec, Task, TaskError};

/// One option of a multiple-choice item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What stands for it in an answer: a letter, or the text itself.
    pub label: String,
    /// What it says.
    pub text: String,
}

/// The right answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Position among the choices.
    Choice(usize),
    /// Spans to be found.
    List(Vec<String>),
    /// A reference text.
    Text(String),
}

/// One item of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskItem {
    /// Unique in its file: the owners' id, or the task's name and the row's number.
    pub id: String,
    /// Template variables, texts exactly as the file has them.
    pub fields: BTreeMap<String, String>,
    /// What can be chosen; empty for other kinds of task.
    pub choices: Vec<Choice>,
    /// The right answer.
    pub answer: Answer,
}

impl Task {
    /// Reads one row; `number` is its position in the file, counted from one.
    pub(super) fn item(
        &self,
        row: &Row,
        number: usize,
        path: &Path,
    ) -> Result<TaskItem, TaskError> {
        let id = match (&self.data.id, &row.key) {
            (Some(field), _) => row.text(field, path)?,
            (None, Some(key)) => key.clone(),
            (None, None) => format!("{}-{number}", self.name),
        };
        let mut fields = BTreeMap::new();
        for (name, spec) in &self.data.fields {
            fields.insert(name.clone(), row.variable(spec, path)?);
        }
        let choices = match &self.choices {
            Some(spec) => choices(spec, row, path)?,
            None => Vec::new(),
        };
        let answer = self.answer(row, &choices, path)?;
        Ok(TaskItem { id, fields, choices, answer })
    }

    fn answer(&self, row: &Row, choices: &[Choice], path: &Path) -> Result<Answer, TaskError> {
        let field = &self.answer.field;
        if self.answer.form == AnswerForm::List {
            return row.texts(field, path).map(Answer::List);
        }
        let text = row.text(field, path)?;
        if choices.is_empty() {
            return Ok(Answer::Text(text));
        }
        right_choice(self.answer.form, text.trim(), choices)
            .map(Answer::Choice)
            .map_err(|reason| row.wrong(field, reason, path))
    }
}

fn choices(spec: &ChoicesSpec, row: &Row, path: &Path) -> Result<Vec<Choice>, TaskError> {
    let texts: Vec<String> = if spec.fields.is_empty() {
        spec.fixed.clone()
    } else {
        let text = |field: &String| row.text(field, path);
        spec.fields.iter().map(text).collect::<Result<_, _>>()?
    };
    let label = |position: usize, text: &String| match spec.labels.get(position) {
        Some(label) => label.clone(),
        None if spec.fields.is_empty() => text.clone(),
        None => char::from(b'A' + position as u8).to_string(),
    };
    let choice = |(position, text): (usize, String)| Choice { label: label(position, &text), text };
    Ok(texts.into_iter().enumerate().map(choice).collect())
}

/// Position of the right choice, or what is wrong with the value.
fn right_choice(form: AnswerForm, value: &str, choices: &[Choice]) -> Result<usize, String> {
    let among = |text: fn(&Choice) -> &String| {
        let found =
            choices.iter().position(|choice| text(choice).trim().eq_ignore_ascii_case(value));
        let list: Vec<&str> = choices.iter().map(|choice| text(choice).as_str()).collect();
        found.ok_or_else(|| format!("`{value}` is none of {}", list.join(", ")))
    };
    match form {
        AnswerForm::Letter => among(|choice| &choice.label),
        AnswerForm::Text | AnswerForm::List => among(|choice| &choice.text),
        AnswerForm::Index0 => index(value, 0, choices.len()),
        AnswerForm::Index1 => index(value, 1, choices.len()),
    }
}

/// A label counted from `base`. Copies of one data set differ in the base, so a value out of range says so.
fn index(value: &str, base: usize, count: usize) -> Result<usize, String> {
    let number: usize =
        value.parse().map_err(|_| format!("`{value}` is not the number of a choice"))?;
    let position = number.checked_sub(base).filter(|&position| position < count);
    position.ok_or_else(|| {
        let last = base + count - 1;
        let other = 1 - base;
        format!(
            "{number} is outside {base}..={last}; does this copy count its labels from {other} (`form = \"index{other}\"`)?"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_in_each_form() {
        let choices: Vec<Choice> = [("A", "yes"), ("B", "no")]
            .map(|(label, text)| Choice { label: label.to_owned(), text: text.to_owned() })
            .to_vec();
        let read = |form, value| right_choice(form, value, &choices);
        assert_eq!(read(AnswerForm::Letter, "b"), Ok(1));
        assert_eq!(read(AnswerForm::Text, "No"), Ok(1));
        assert_eq!(read(AnswerForm::Index0, "1"), Ok(1));
        assert_eq!(read(AnswerForm::Index1, "1"), Ok(0));
        assert!(read(AnswerForm::Letter, "C").unwrap_err().contains("A, B"));
        let base = read(AnswerForm::Index1, "0").unwrap_err();
        assert!(base.contains("1..=2") && base.contains("index0"), "{base}");
        let base = read(AnswerForm::Index0, "2").unwrap_err();
        assert!(base.contains("0..=1") && base.contains("index1"), "{base}");
    }
}
