//! Filters, splits and statistics that turn instructions into a dataset.
//!
//! In the order of use: [`config`] says which rules hold, [`filter`] has one file per rule, [`admission`] applies them to
//! one row at a time (while a model is still writing) and [`pipeline`] to whole files, with the same verdicts. [`findings`]
//! are for people to look at, [`decontaminate`] looks for test items. [`statistics`] and [`card`] describe what came out,
//! [`stage`] publishes it in a run directory.
//!
//! A kept row is never changed, a dropped row never forgotten: it stands in `rejected.jsonl` with the rule, the reason and
//! the row that it resembles.

pub mod admission;
pub mod card;
pub mod config;
pub mod decontaminate;
mod error;
pub mod filter;
pub mod findings;
pub mod pipeline;
pub mod scores;
pub mod stage;
pub mod statistics;

pub use admission::{Admission, Reject};
pub use bioinstruct_data::rows::input_or_empty;
pub use config::{CurateConfig, Dialect, Keep, NoveltyKey};
pub use error::CurateError;
pub use filter::{Evidence, Similarity};
pub use pipeline::{Outcome, Rejected, curate};
pub use stage::{StageSummary, run_stage};
