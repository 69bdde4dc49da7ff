//! The rules that drop rows, one file each; the trait is [`Filter`], the registry [`ALL`].
//!
//! A new rule is one file here and one line in [`ALL`]; a dialect applies it when
//! [`Dialect::filters`](crate::Dialect::filters) names it, and `--only` can name it at once.

mod empty_output;
mod exact;
mod keyword;
mod length;
mod output_repeats_input;
mod rouge_l;

use bioinstruct_core::record::{Instruction, SeedTask};
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
    /// Makes it.
    pub build: Build,
}

/// Every filter.
pub const ALL: [Entry; 6] = [
    Entry {
        name: "exact",
        about: "the same instruction, input and output as a row before it or a seed",
        build: exact::build,
    },
    Entry { name: "empty-output", about: "nothing to learn from", build: empty_output::build },
    Entry {
        name: "length",
        about: "the instruction has too few or too many words",
        build: length::build,
    },
    Entry {
        name: "keyword",
        about: "the instruction asks for what a language model cannot do",
        build: keyword::build,
    },
    Entry {
        name: "output-repeats-input",
        about: "the output is the input once more",
        build: output_repeats_input::build,
    },
    Entry {
        name: "rouge-l",
        about: "the instruction is too like a row kept before it or a seed",
        build: rouge_l::build,
    },
];

/// The filters of these rules, in their order.
pub(crate) fn build_all(rules: &Rules, seeds: &[SeedTask]) -> Result<Vec<Named>, CurateError> {
    let entry = |name: &&'static str| ALL.iter().find(|entry| entry.name == *name);
    let wanted = rules.filters.iter().filter_map(entry);
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
