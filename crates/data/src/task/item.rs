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
    /// Reads one row; `number` is its position in the file, counted from one, and `form` that of [`Task::answer_form`].
    pub(super) fn item(
        &self,
        row: &Row,
        number: usize,
        form: AnswerForm,
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
        let answer = self.answer(row, &choices, form, path)?;
        Ok(TaskItem { id, fields, choices, answer })
    }

    /// How the rows of a file give their answer: positions are counted from zero or from one, as the file shows.
    pub(super) fn answer_form(&self, rows: &[Row], path: &Path) -> Result<AnswerForm, TaskError> {
        let (AnswerForm::Index, Some(choices)) = (self.answer.form, &self.choices) else {
            return Ok(self.answer.form);
        };
        let field = &self.answer.field;
        let last = choices.fixed.len().max(choices.fields.len()).to_string();
        let values =
            rows.iter().map(|row| row.text(field, path)).collect::<Result<Vec<_>, TaskError>>()?;
        let occurs = |number: &str| values.iter().any(|value| value.trim() == number);
        let reason = match (occurs("0"), occurs(&last)) {
            (true, false) => return Ok(AnswerForm::Index0),
            (false, true) => return Ok(AnswerForm::Index1),
            (true, true) => {
                format!("both 0 and {last} occur in `{field}`, so its labels count from nowhere")
            }
            (false, false) => format!(
                "neither 0 nor {last} occurs in `{field}`, so nothing shows whether its labels count from 0 or from 1; \
                 say which in a copy of the task file (`form = \"index0\"` or `form = \"index1\"`)"
            ),
        };
        Err(TaskError::File { path: path.to_owned(), reason })
    }

    fn answer(
        &self,
        row: &Row,
        choices: &[Choice],
        form: AnswerForm,
        path: &Path,
    ) -> Result<Answer, TaskError> {
        let field = &self.answer.field;
        match form {
            AnswerForm::List => return row.texts(field, path).map(Answer::List),
            AnswerForm::Bracketed => {
                return row.text(field, path).map(|text| Answer::List(bracketed(&text)));
            }
            AnswerForm::Labelled => {
                let mut answers = Vec::new();
                for (label, field) in &self.answer.labels {
                    let names = bracketed(&row.text(field, path)?);
                    answers.extend(names.iter().map(|name| format!("{name} ({label})")));
                }
                return Ok(Answer::List(answers));
            }
            _ => {}
        }
        if choices.is_empty() {
            return row.text(field, path).map(Answer::Text);
        }
        let text = row.single(field, path)?;
        right_choice(form, text.trim(), choices)
            .map(Answer::Choice)
            .map_err(|reason| row.wrong(field, reason, path))
    }
}

/// The elements of `[a, b]`, without quotation marks around them; a text without brackets is one element, a blank one none.
fn bracketed(text: &str) -> Vec<String> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let elements: Vec<&str> = match inner {
        Some(inner) => inner.split(',').collect(),
        None => vec![text],
    };
    let clean = |element: &str| element.trim().trim_matches(['"', '\'']).trim().to_owned();
    elements.into_iter().map(clean).filter(|element| !element.is_empty()).collect()
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
        AnswerForm::Text | AnswerForm::List | AnswerForm::Bracketed | AnswerForm::Labelled => {
            among(|choice| &choice.text)
        }
        AnswerForm::Index | AnswerForm::Index0 => index(value, 0, choices.len()),
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
    fn a_list_in_one_text_is_cut_at_its_commas() {
        assert_eq!(bracketed("[aspirin, 'vitamin B12' , ]"), ["aspirin", "vitamin B12"]);
        assert_eq!(bracketed(" the left knee, swollen "), ["the left knee, swollen"]);
        assert!(bracketed("[]").is_empty() && bracketed(" ").is_empty());
    }

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
