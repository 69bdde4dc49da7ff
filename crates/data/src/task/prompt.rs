//! What a model is shown of an item: [`TaskPrompt`].

use bioinstruct_core::template::render;
use serde_json::{Map, Value, json};

use super::{Answer, Profile, ProfileSpec, Task, TaskError, TaskItem};

/// An item under one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskPrompt {
    /// For an instruction template or a chat template.
    Instruction {
        /// What to do.
        instruction: String,
        /// What to do it with; empty when there is nothing.
        input: String,
    },
    /// Exactly what the model sees.
    Text(String),
}

impl Task {
    /// The item's prompt, without solved examples. White space at the ends of an instruction and its input is dropped; raw
    /// text stays as it is.
    pub fn prompt(&self, profile: Profile, item: &TaskItem) -> Result<TaskPrompt, TaskError> {
        let spec = self.wording(profile)?;
        let context = context(item);
        let fill = |source: &str| {
            render(&self.name, source, &context, false).map_err(|source| TaskError::Prompt {
                task: self.name.clone(),
                item: item.id.clone(),
                source,
            })
        };
        if let Some(text) = &spec.text {
            return fill(text).map(TaskPrompt::Text);
        }
        let instruction = fill(spec.instruction.as_deref().unwrap_or_default())?;
        let input = fill(spec.input.as_deref().unwrap_or_default())?;
        Ok(TaskPrompt::Instruction {
            instruction: instruction.trim().to_owned(),
            input: input.trim().to_owned(),
        })
    }

    /// The texts that are scored after the prompt, in the order of the item's choices; none for other kinds of task.
    pub fn continuations(
        &self,
        profile: Profile,
        item: &TaskItem,
    ) -> Result<Vec<String>, TaskError> {
        let prefix = &self.wording(profile)?.prefix;
        let after = |choice: &super::Choice| format!("{prefix}{}", choice.label);
        Ok(item.choices.iter().map(after).collect())
    }

    /// What stands between a prompt and its answer: `" "` in lm-evaluation-harness.
    pub fn answer_prefix(&self, profile: Profile) -> Result<&str, TaskError> {
        Ok(&self.wording(profile)?.prefix)
    }

    /// What stands before the solved examples of a raw prompt.
    pub fn prompt_description(&self, profile: Profile) -> Result<&str, TaskError> {
        Ok(&self.wording(profile)?.description)
    }

    /// The specification whose texts the profile uses: its own, or that of `default`.
    fn wording(&self, profile: Profile) -> Result<&ProfileSpec, TaskError> {
        let spec = self.profile(profile)?;
        if spec.text.is_none() && spec.instruction.is_none() {
            self.profile(Profile::Default)
        } else {
            Ok(spec)
        }
    }
}

impl Task {
    /// The answer of a solved example: an empty list is the first of the words that say "there is nothing".
    pub fn shown_answer(&self, item: &TaskItem) -> String {
        match (&item.answer, &self.read) {
            (Answer::List(answers), Some(read)) if answers.is_empty() => {
                read.empty.first().cloned().unwrap_or_default()
            }
            _ => item.answer_text(),
        }
    }
}

impl TaskItem {
    /// The right answer as a model would write it: a choice's label, a list one per line, or the text.
    pub fn answer_text(&self) -> String {
        match &self.answer {
            Answer::Choice(right) => {
                let choice = self.choices.get(*right);
                choice.map_or_else(String::new, |choice| choice.label.clone())
            }
            Answer::List(answers) => answers.join("\n"),
            Answer::Text(text) => text.clone(),
        }
    }
}

pub(super) fn context(item: &TaskItem) -> Map<String, Value> {
    let mut context: Map<String, Value> = item
        .fields
        .iter()
        .map(|(name, text)| (name.clone(), Value::String(text.clone())))
        .collect();
    let choices: Vec<Value> = item
        .choices
        .iter()
        .map(|choice| json!({"label": choice.label, "text": choice.text}))
        .collect();
    context.insert("choices".to_owned(), Value::Array(choices));
    context
}
