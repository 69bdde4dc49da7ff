//! The rules that drop rows, one file each; the trait is [`Filter`], the registry [`ALL`].
//!
//! A new rule is one file here and one line in [`ALL`]; a dialect applies it when
//! [`Dialect::filters`](crate::Dialect::filters) names it, and `--only` can name it at once.

mod boilerplate;
mod citation;
mod empty_output;
mod exact;
mod identifier;
mod keyword;
mod language;
mod length;
mod modality;
mod options;
mod output_repeats_input;
mod placeholder_input;
mod refusal;
mod rouge_l;
mod truncation;

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::numbered::NumberedTexts;
use serde::{Deserialize, Serialize};

use crate::CurateError;
use crate::config::Rules;

/// How like two texts are, as ROUGE-L counts it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Similarity {
    /// ROUGE-L F1.
    pub f: f64,
    /// Tokens in the longest common subsequence.
    pub lcs: usize,
    /// Tokens of the dropped row.
    pub m: usize,
    /// Tokens of the other one.
    pub n: usize,
}

/// The row that a dropped one lost against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its id; a seed's own name.
    pub nearest: String,
    /// How like they are; absent when they are the same.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<Similarity>,
}

/// Why a filter drops a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Objection {
    /// In words, for people.
    pub reason: String,
    /// The other row, for rules that compare rows.
    pub evidence: Option<Evidence>,
}

impl Objection {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), evidence: None }
    }
}

/// One rule, with what it remembers of the rows that it let pass.
pub trait Filter {
    /// Decides on the next row.
    fn admit(&mut self, row: &Instruction) -> Option<Objection>;

    /// Decides on many rows, with the same verdicts as one by one.
    fn admit_all(&mut self, rows: &[&Instruction]) -> Vec<Option<Objection>> {
        rows.iter().map(|row| self.admit(row)).collect()
    }

    /// The tokens of the instructions of the rows that it let pass, in their order, when it has them.
    fn into_instructions(self: Box<Self>) -> Option<NumberedTexts> {
        None
    }
}

/// Makes a filter of these rules that knows the seeds from the outset.
pub type Build = fn(&Rules, &[SeedTask]) -> Result<Box<dyn Filter>, CurateError>;

/// A filter under its name.
pub(crate) type Named = (&'static str, Box<dyn Filter>);

/// A filter's place in the registry.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name used in files and flags.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Whether it looks at one row and its content, and so belongs to [`crate::config::QUALITY`].
    pub quality: bool,
    /// Makes it.
    pub build: Build,
}

impl Entry {
    /// Whether a verdict depends on the rows before.
    pub fn remembers(&self) -> bool {
        matches!(self.name, "exact" | "rouge-l")
    }
}

/// The filter of this name.
pub(crate) fn entry(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

/// Every filter.
pub static ALL: [Entry; 15] = [
    Entry {
        name: "exact",
        about: "the same instruction, input and output as a row before it or a seed",
        quality: false,
        build: exact::build,
    },
    Entry {
        name: "empty-output",
        about: "nothing to learn from",
        quality: false,
        build: empty_output::build,
    },
    Entry {
        name: "length",
        about: "the instruction has too few or too many words",
        quality: false,
        build: length::build,
    },
    Entry {
        name: "keyword",
        about: "the instruction asks for what a language model cannot do",
        quality: false,
        build: keyword::build,
    },
    Entry {
        name: "output-repeats-input",
        about: "the output is the input once more",
        quality: false,
        build: output_repeats_input::build,
    },
    Entry {
        name: "language",
        about: "the instruction or the output is not in English",
        quality: true,
        build: language::build,
    },
    Entry {
        name: "refusal",
        about: "the output declines or speaks of itself as a program",
        quality: true,
        build: refusal::build,
    },
    Entry {
        name: "boilerplate",
        about: "the row holds courtesies of a chat or marks of a prompt",
        quality: true,
        build: boilerplate::build,
    },
    Entry {
        name: "truncation",
        about: "the output stops in the middle",
        quality: true,
        build: truncation::build,
    },
    Entry {
        name: "placeholder-input",
        about: "the row says where a text should stand and does not have it",
        quality: true,
        build: placeholder_input::build,
    },
    Entry {
        name: "citation",
        about: "the output cites a publication by a number that the task does not give",
        quality: true,
        build: citation::build,
    },
    Entry {
        name: "modality",
        about: "the instruction asks for a picture or a recording, or points to one that is not there",
        quality: true,
        build: modality::build,
    },
    Entry {
        name: "identifier",
        about: "the row holds something by which a person could be found",
        quality: true,
        build: identifier::build,
    },
    Entry {
        name: "options",
        about: "the options of a multiple-choice question are broken, or its answer is none of them",
        quality: true,
        build: options::build,
    },
    Entry {
        name: "rouge-l",
        about: "the instruction is too like a row kept before it or a seed",
        quality: false,
        build: rouge_l::build,
    },
];

/// The filters of these rules, in their order.
pub(crate) fn build_all(rules: &Rules, seeds: &[SeedTask]) -> Result<Vec<Named>, CurateError> {
    let wanted = rules.filters.iter().filter_map(|name| entry(name));
    wanted.map(|entry| Ok((entry.name, (entry.build)(rules, seeds)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dialect;

    #[test]
    fn dialects_name_filters_that_exist() {
        let dialects = [Dialect::Paper, Dialect::Alpaca, Dialect::SelfInstruct, Dialect::Alpacare];
        for name in dialects.into_iter().flat_map(Dialect::filters) {
            assert!(ALL.iter().any(|entry| entry.name == *name), "{name}");
        }
    }
}
