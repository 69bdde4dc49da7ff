//! Evaluation: items of a task are put to candidates, their answers are read and scored, and the candidates compared.
//!
//! [`evaluate`] does all of it in one stage directory. In the order data flows: `prompt` makes what a model is shown,
//! `choosing` and `writing` ask the model through the journal (`journal`), [`read`] takes lists out of generated text,
//! [`metrics`] and [`labelled`] score one item, [`prediction`] and `files` keep the results, and [`score`] and [`compare`] make of those
//! files, and of nothing else, the numbers that are reported, with the statistics of [`significance`].

mod choosing;
pub mod compare;
mod error;
mod evaluate;
mod files;
mod journal;
pub mod labelled;
pub mod metrics;
pub mod prediction;
mod prompt;
pub mod read;
pub mod score;
pub mod significance;
mod writing;

pub use error::EvaluationError;
pub use evaluate::{Candidate, EvaluationConfig, EvaluationModel, Progress, TaskInput, evaluate};
pub use files::{EvaluationInfo, PredictionFile, read_predictions};
pub use score::{SUSPECTS, Scores, Suspects, rebuild};
