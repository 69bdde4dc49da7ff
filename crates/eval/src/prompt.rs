//! What a model is shown: the item's prompt under the candidate's template, with solved examples before it.

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::model::Prompt;
use bioinstruct_core::template::InstructionTemplate;
use bioinstruct_data::task::{TaskItem, TaskPrompt};
use serde_json::{Value, json};

use crate::{EvaluationError, TaskInput};

/// One item, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) prompt: Prompt,
    /// For multiple choice, what is scored after the prompt.
    pub(crate) continuations: Vec<String>,
    /// The prompt and the digest of its template: all that a model is shown.
    shown: Value,
}

impl Asked {
    /// The hash under which a prediction names its prompt.
    pub(crate) fn hash(&self) -> String {
        ContentHash::of_json(&self.shown).short().to_owned()
    }

    /// The key under which an answer is journalled: what was shown, and everything else that the answer depends on.
    pub(crate) fn key(&self, model_digest: &str, rest: &Value) -> String {
        ContentHash::of_json(&json!({"model": model_digest, "shown": self.shown, "rest": rest}))
            .to_string()
    }
}

/// Whether the task's prompt is raw text, which no template changes.
pub(crate) fn is_raw(input: &TaskInput) -> Result<bool, EvaluationError> {
    match input.items.items.first() {
        Some(item) => {
            let prompt = input.task.prompt(input.items.profile, item)?;
            Ok(matches!(prompt, TaskPrompt::Text(_)))
        }
        None => Ok(false),
    }
}

/// Every item's prompt, in the task's order.
pub(crate) fn prompts(input: &TaskInput, template: &str) -> Result<Vec<Asked>, EvaluationError> {
    let digest = InstructionTemplate::load(template)?.digest();
    let shots = input
        .items
        .shots
        .iter()
        .map(|shot| shown_shot(input, shot))
        .collect::<Result<Vec<_>, _>>()?;
    let profile = input.items.profile;
    let between = input.task.answer_prefix(profile)?;
    let description = input.task.prompt_description(profile)?;
    let ask = |item: &TaskItem| {
        let continuations = input.task.continuations(profile, item)?;
        let (prompt, shown) = match input.task.prompt(profile, item)? {
            TaskPrompt::Text(text) => {
                let prompt =
                    Prompt::Text(description.to_owned() + &raw_text(&shots, between, &text));
                let shown = json!({"prompt": prompt});
                (prompt, shown)
            }
            TaskPrompt::Instruction { instruction, input } => {
                let prompt = Prompt::Instruction {
                    instruction,
                    input: input_with_shots(&shots, between, &input),
                    template: template.to_owned(),
                };
                let shown = json!({"prompt": prompt, "template": digest});
                (prompt, shown)
            }
        };
        Ok(Asked { prompt, continuations, shown })
    };
    input.items.items.iter().map(ask).collect()
}

struct Shot {
    question: String,
    answer: String,
}

fn shown_shot(input: &TaskInput, shot: &TaskItem) -> Result<Shot, EvaluationError> {
    let question = match input.task.prompt(input.items.profile, shot)? {
        TaskPrompt::Text(text) => text,
        TaskPrompt::Instruction { input, .. } => input,
    };
    Ok(Shot { question, answer: input.task.shown_answer(shot) })
}

/// As lm-evaluation-harness puts examples: each followed by its answer and a blank line.
fn raw_text(shots: &[Shot], between: &str, text: &str) -> String {
    let mut whole = String::new();
    for shot in shots {
        whole.push_str(&shot.question);
        whole.push_str(between);
        whole.push_str(&shot.answer);
        whole.push_str("\n\n");
    }
    whole + text
}

/// Under an instruction template the examples stand in the input; the instruction is given once.
fn input_with_shots(shots: &[Shot], between: &str, input: &str) -> String {
    if shots.is_empty() {
        return input.to_owned();
    }
    let mut whole = String::new();
    for shot in shots {
        whole.push_str("Example:\n");
        whole.push_str(&shot.question);
        whole.push_str("\n\nAnswer:\n");
        whole.push_str(between);
        whole.push_str(&shot.answer);
        whole.push_str("\n\n");
    }
    whole + "Now this one:\n" + input
}
