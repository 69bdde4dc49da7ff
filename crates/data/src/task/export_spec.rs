//! How instruction rows are made of a task's training split: [`ExportSpec`].

use std::collections::BTreeMap;

use bioinstruct_core::record::Category;
use bioinstruct_core::template::render;
use serde::Deserialize;

use super::prompt::context;
use super::{Answer, Task, TaskError, TaskItem};

/// One kind of training row. The templates see the task's variables, `choices`, `answer` (a list one per line; of a choice its
/// label) and `answer_text` (of a choice its text).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportSpec {
    /// Unique in its task.
    pub name: String,
    /// The paper's kind of instruction.
    pub category: Category,
    /// Jinja; ways to say what to do, one of which is drawn for each row.
    pub instructions: Vec<String>,
    /// Jinja; what to do it with.
    #[serde(default)]
    pub input: String,
    /// Jinja; the answer to learn.
    #[serde(default = "the_answer")]
    pub output: String,
    /// Only rows whose variables have one of the listed values.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<String>>,
    /// Rows with a longer input are left out, never cut; zero is no limit.
    #[serde(default)]
    pub max_input_words: usize,
    /// Rows with a longer output are left out, never cut; zero is no limit.
    #[serde(default)]
    pub max_output_words: usize,
    /// What a blank output says, such as "None"; without it such rows are left out.
    #[serde(default)]
    pub nothing: Option<String>,
    /// At most this share of the rows says `nothing`.
    #[serde(default = "all")]
    pub nothing_share: f64,
}

fn the_answer() -> String {
    "{{ answer }}".to_owned()
}

const fn all() -> f64 {
    1.0
}

/// The texts of one row, before any policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportTexts {
    /// What to do.
    pub instruction: String,
    /// What to do it with.
    pub input: String,
    /// The answer.
    pub output: String,
    /// Whether the answer is that there is nothing.
    pub says_nothing: bool,
}

impl Task {
    /// The row that an item gives in its `wording`-th way, without white space at the ends of its texts and with line feeds alone
    /// between lines.
    pub fn export_texts(
        &self,
        spec: &ExportSpec,
        item: &TaskItem,
        wording: usize,
    ) -> Result<ExportTexts, TaskError> {
        let mut context = context(item);
        context.insert("answer".to_owned(), item.answer_text().into());
        let chosen = match &item.answer {
            Answer::Choice(right) => item.choices[*right].text.clone(),
            Answer::List(_) | Answer::Text(_) => item.answer_text(),
        };
        context.insert("answer_text".to_owned(), chosen.into());
        let fill = |source: &str| {
            let text = render(&self.name, source, &context, false).map_err(|source| {
                TaskError::Prompt { task: self.name.clone(), item: item.id.clone(), source }
            })?;
            Ok::<_, TaskError>(text.trim().replace("\r\n", "\n"))
        };
        let output = fill(&spec.output)?;
        let nothing = spec.nothing.as_ref().filter(|_| output.is_empty());
        Ok(ExportTexts {
            instruction: fill(&spec.instructions[wording])?,
            input: fill(&spec.input)?,
            says_nothing: nothing.is_some(),
            output: nothing.cloned().unwrap_or(output),
        })
    }
}

impl ExportSpec {
    /// Whether rows of this kind are made of the item.
    pub fn takes(&self, item: &TaskItem) -> bool {
        self.only.iter().all(|(variable, values)| {
            item.fields.get(variable).is_some_and(|value| values.contains(value))
        })
    }
}
