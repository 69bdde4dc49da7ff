//! Filters, splits and statistics that turn instructions into a dataset.
//!
//! In the order of use: [`config`] says which rules hold, [`filter`] has one file per rule, [`admission`] applies them to
//! one row at a time (while a model is still writing) and [`pipeline`] to whole files, with the same verdicts. [`findings`]
//! are for people to look at, [`decontaminate`] looks for test items. [`category`] says what kind of instruction a kept row is,
//! [`agreement`] how far two opinions agree. [`statistics`] (with [`diversity`], [`verb_noun`] and, by a sentence encoder, [`meaning`]), [`licence`] and [`card`] describe
//! what came out, [`stage`] publishes it in a run directory, [`export`] in other programs' formats. [`review`] draws rows for people to judge and adds up their judgements,
//! [`history`] tells all that a run knows of one row.
//!
//! A kept row is never changed, a dropped row never forgotten: it stands in `rejected.jsonl` with the rule, the reason and
//! the row that it resembles.

pub mod admission;
pub mod agreement;
pub mod card;
pub mod category;
pub mod config;
pub mod decontaminate;
pub mod diversity;
mod error;
pub mod export;
pub mod filter;
pub mod findings;
pub mod history;
pub mod licence;
pub mod meaning;
pub mod pipeline;
pub mod review;
pub mod scores;
pub mod stage;
pub mod statistics;
pub mod verb_noun;

pub use admission::{Admission, Reject};
pub use bioinstruct_data::rows::input_or_empty;
pub use config::{CurateConfig, Dialect, Keep, NoveltyKey};
pub use error::CurateError;
pub use filter::{Evidence, Similarity};
pub use pipeline::{Contamination, Outcome, Rejected, curate, curate_against};
pub use stage::{Models, StageSummary, run_stage, run_stage_asking};
