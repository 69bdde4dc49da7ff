//! From rows to token ids with their loss mask: [`Example`]; labels come from joining token ids, never from searching text.

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::record::Instruction;
use bioinstruct_core::template::{ChatTemplate, InstructionTemplate};

use super::config::{LossOn, Overlong, TrainConfig};
use crate::error::EngineError;
use crate::local::encode_rendered;
use crate::tokenizer::Tokenizer;

/// One row as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The row's id.
    pub id: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Whether the loss covers each token; never the first, which nothing predicts.
    pub learned: Vec<bool>,
}

impl Example {
    /// How many tokens the loss covers.
    pub fn labels(&self) -> usize {
        self.learned.iter().filter(|learned| **learned).count()
    }
}

/// The examples of a set of rows, and the rows that became none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    /// In the order of the rows.
    pub examples: Vec<Example>,
    /// Ids of rows longer than the cutoff, with their lengths.
    pub overlong: Vec<(String, usize)>,
}

impl Examples {
    /// The hash of all ids and masks: a run is continued only on the same examples.
    pub fn digest(&self) -> ContentHash {
        let parts: Vec<Vec<u8>> = self
            .examples
            .iter()
            .map(|example| {
                let ids = example.ids.iter().flat_map(|id| id.to_le_bytes());
                ids.chain(example.learned.iter().map(|learned| u8::from(*learned))).collect()
            })
            .collect();
        ContentHash::of_parts(parts.iter().map(Vec::as_slice))
    }
}

/// Renders and tokenizes one row.
pub fn example(
    row: &Instruction,
    template: &InstructionTemplate,
    chat: Option<&ChatTemplate>,
    tokenizer: &Tokenizer,
    loss: LossOn,
) -> Result<Example, EngineError> {
    let rendered = template.example(&row.instruction, &row.input, &row.output, chat)?;
    let tokens = encode_rendered(tokenizer, &rendered);
    let (ids, mut learned): (Vec<u32>, Vec<bool>) = tokens.into_iter().unzip();
    if loss == LossOn::All {
        learned.fill(true);
    }
    if let Some(first) = learned.first_mut() {
        *first = false;
    }
    let example = Example { id: row.id.clone(), ids, learned };
    if example.labels() == 0 {
        return Err(EngineError::Row {
            id: row.id.clone(),
            reason: "no token of it is covered by the loss".to_owned(),
        });
    }
    Ok(example)
}

/// All rows; `context` is the most that the model can take.
pub fn examples(
    rows: &[Instruction],
    config: &TrainConfig,
    chat: Option<&ChatTemplate>,
    tokenizer: &Tokenizer,
    context: usize,
) -> Result<Examples, EngineError> {
    let template = InstructionTemplate::load(&config.template)?;
    let cutoff = if config.cutoff == 0 { context } else { config.cutoff.min(context) };
    let mut found = Examples::default();
    for row in rows {
        let example = example(row, &template, chat, tokenizer, config.loss)?;
        if example.ids.len() <= cutoff {
            found.examples.push(example);
        } else if config.overlong == Overlong::Drop {
            found.overlong.push((example.id, example.ids.len()));
        } else {
            return Err(EngineError::Row {
                id: example.id,
                reason: format!("has {} tokens, the cutoff is {cutoff}", example.ids.len()),
            });
        }
    }
    Ok(found)
}
