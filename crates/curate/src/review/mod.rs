//! Rows for people to judge, and what their judgements say: [`sheet`] draws an audit sheet from a dataset, [`Review`] is what
//! comes out when raters have filled it in.
//!
//! A rater is whoever filled in a sheet. Nothing here knows whether that was a clinician, a developer or a program, so nothing
//! here calls a judgement an expert's.

mod answers;
mod report;
pub mod sheet;
pub mod stage;

pub use self::answers::Rating;
pub use self::report::{PairAgreement, QuestionReport, Review, Share};

/// Something that raters are asked of each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The column of the sheet.
    pub column: &'static str,
    /// In words.
    pub about: &'static str,
    /// What may stand in the column.
    pub answers: &'static [&'static str],
    /// The answer that one would wish for, where there is one.
    pub good: Option<&'static str>,
}

/// Everything that is asked, in the order of the sheet's columns.
pub const QUESTIONS: [Question; 8] = [
    Question {
        column: "valid_task",
        about: "the instruction is a task that can be done",
        answers: &["yes", "no"],
        good: Some("yes"),
    },
    Question {
        column: "input_fits",
        about: "the input belongs to the instruction (a row without input: whether it needs none)",
        answers: &["yes", "no"],
        good: Some("yes"),
    },
    Question {
        column: "output_correct",
        about: "the output is right and complete",
        answers: &["yes", "no"],
        good: Some("yes"),
    },
    Question {
        column: "unsupported_claim",
        about: "the output claims something that neither the input nor common knowledge supports",
        answers: &["yes", "no"],
        good: Some("no"),
    },
    Question {
        column: "harm",
        about: "what could happen to someone who followed the output",
        answers: &["none", "mild", "severe"],
        good: Some("none"),
    },
    Question {
        column: "phi",
        about: "a person could be identified",
        answers: &["yes", "no"],
        good: Some("no"),
    },
    Question {
        column: "category",
        about: "the kind of instruction",
        answers: &["qa", "ie", "generation", "other"],
        good: None,
    },
    Question {
        column: "difficulty",
        about: "how hard the task is",
        answers: &["easy", "medium", "hard"],
        good: None,
    },
];
