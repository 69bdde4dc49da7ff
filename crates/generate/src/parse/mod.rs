//! From a reply to drafts: [`numbered`] for the paper's form, [`json`] for the other. Both are pure functions that
//! account for all of the text that was meant as a task.

pub mod json;
pub mod numbered;

use bioinstruct_core::model::Finish;
use serde::{Deserialize, Serialize};

/// A task as a model wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// What to do.
    pub instruction: String,
    /// Empty when there is none, however the model said so.
    pub input: String,
    /// The answer.
    pub output: String,
}

/// Why a piece of a reply is not a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It has not the form that was asked for.
    Malformed,
    /// The reply, or a text of it, was cut off.
    Truncated,
}

impl Fault {
    /// The name used in files, beside the names of curation's filters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
        }
    }

    /// What an unfinished text is, by how the reply ended.
    const fn of_unfinished(finish: Finish) -> Self {
        match finish {
            Finish::Length | Finish::ContentFilter => Self::Truncated,
            Finish::Stop | Finish::StopString => Self::Malformed,
        }
    }
}

/// A part of a reply that was meant as one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// It is one.
    Draft(Draft),
    /// It is none.
    Bad {
        /// In which way.
        fault: Fault,
        /// What is wrong, in words.
        reason: String,
        /// The text itself.
        text: String,
    },
}

impl Piece {
    fn bad(fault: Fault, reason: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Bad { fault, reason: reason.into(), text: text.into() }
    }
}
