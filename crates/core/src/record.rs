//! The rows that travel between stages: [`SeedTask`] in, [`Instruction`] out.

use serde::{Deserialize, Serialize};

use crate::hash::short_hash;

/// The paper's four kinds of instruction (section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Question answering.
    Qa,
    /// Information extraction.
    Ie,
    /// Text generation: summaries, notes, rewriting.
    Generation,
    /// Everything else, such as trial recommendation.
    Other,
}

impl Category {
    /// All four, in the paper's order.
    pub const ALL: [Self; 4] = [Self::Qa, Self::Ie, Self::Generation, Self::Other];

    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qa => "qa",
            Self::Ie => "ie",
            Self::Generation => "generation",
            Self::Other => "other",
        }
    }

    /// The share that the paper reports for its 25,005 rows.
    pub const fn paper_share(self) -> f64 {
        match self {
            Self::Qa => 0.228,
            Self::Ie => 0.338,
            Self::Generation => 0.335,
            Self::Other => 0.100,
        }
    }
}

/// One hand-written task that shows the model what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedTask {
    /// Stable name, such as `seed-017`.
    pub id: String,
    /// What to do.
    pub instruction: String,
    /// What to do it with; empty when the instruction stands alone.
    #[serde(default)]
    pub input: String,
    /// The right answer.
    pub output: String,
    /// Its kind.
    pub category: Category,
    /// A few lower-case words.
    #[serde(default)]
    pub topic: String,
    /// `easy`, `medium` or `hard`.
    #[serde(default)]
    pub difficulty: String,
    /// Why the output is right.
    #[serde(default)]
    pub note: String,
    /// Name and year of the knowledge or guideline that it rests on.
    #[serde(default)]
    pub source: String,
    /// SPDX identifier.
    #[serde(default)]
    pub licence: String,
    /// Whether the text comes from a corpus with a data-use agreement.
    #[serde(default)]
    pub restricted: bool,
    /// Who checked it; empty when no clinician has.
    #[serde(default)]
    pub reviewed_by: String,
}

/// Where an instruction row comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// `seed`, `generated`, or the name of a file or data set.
    pub source: String,
    /// The ledger's request, for generated rows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The seeds shown in that request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exemplar_ids: Vec<String>,
    /// The model that wrote the row.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// SPDX identifier, or empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub licence: String,
    /// Inherited by every adapter that is tuned on the row.
    #[serde(default)]
    pub restricted: bool,
}

/// An earlier turn of a conversation: what the user said and what was answered. In files it is a pair, as in the
/// `history` of Alpaca's format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, String)", into = "(String, String)")]
pub struct Exchange {
    /// What the user said.
    pub user: String,
    /// What was answered; it is learned, as the last answer is.
    pub assistant: String,
}

impl From<(String, String)> for Exchange {
    fn from((user, assistant): (String, String)) -> Self {
        Self { user, assistant }
    }
}

impl From<Exchange> for (String, String) {
    fn from(exchange: Exchange) -> Self {
        (exchange.user, exchange.assistant)
    }
}

/// One row of an instruction dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// Hash of the texts: rows with the same ones have the same id.
    pub id: String,
    /// A chat's system message; empty in a row that is no chat.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// The turns before this one; empty in a row of one turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Exchange>,
    /// What to do.
    pub instruction: String,
    /// Empty when there is none.
    pub input: String,
    /// The answer to learn.
    pub output: String,
    /// Its kind, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Where it comes from.
    #[serde(default)]
    pub provenance: Provenance,
}

impl Instruction {
    /// A row with its id computed from its text.
    pub fn new(
        instruction: String,
        input: String,
        output: String,
        category: Option<Category>,
        provenance: Provenance,
    ) -> Self {
        let id = Self::content_id(&instruction, &input, &output);
        let (system, history) = (String::new(), Vec::new());
        Self { id, system, history, instruction, input, output, category, provenance }
    }

    /// The same row as the end of a conversation; its id covers the conversation.
    #[must_use]
    pub fn in_conversation(mut self, system: String, history: Vec<Exchange>) -> Self {
        if !system.is_empty() || !history.is_empty() {
            let turns = history.iter().flat_map(|turn| [&turn.user, &turn.assistant]);
            let row = [&self.instruction, &self.input, &self.output, &system];
            self.id = short_hash(row.into_iter().chain(turns).map(String::as_bytes));
        }
        (self.system, self.history) = (system, history);
        self
    }

    /// Instruction and input as one message, a blank line between them.
    pub fn user_text(&self) -> String {
        user_text(&self.instruction, &self.input)
    }

    /// All texts of the row, earlier turns included.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let turns = self.history.iter().flat_map(|turn| [&turn.user, &turn.assistant]);
        let own = [&self.system, &self.instruction, &self.input, &self.output];
        own.into_iter().chain(turns).map(String::as_str)
    }

    /// The id of a row with these texts: 16 hexadecimal digits.
    pub fn content_id(instruction: &str, input: &str, output: &str) -> String {
        short_hash([instruction, input, output].map(str::as_bytes))
    }
}

/// Instruction and input as one message, a blank line between them.
pub fn user_text(instruction: &str, input: &str) -> String {
    if input.is_empty() { instruction.to_owned() } else { format!("{instruction}\n\n{input}") }
}

impl From<&SeedTask> for Instruction {
    fn from(seed: &SeedTask) -> Self {
        Self::new(
            seed.instruction.clone(),
            seed.input.clone(),
            seed.output.clone(),
            Some(seed.category),
            Provenance {
                source: format!("seed:{}", seed.id),
                licence: seed.licence.clone(),
                restricted: seed.restricted,
                ..Provenance::default()
            },
        )
    }
}
