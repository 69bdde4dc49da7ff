//! Filters, splits and statistics that turn instructions into a dataset.
//!
//! In the order of use: [`config`] says which rules hold, [`filter`] has one file per rule, [`admission`] applies them to
//! one row at a time (while a model is still writing) and [`pipeline`] to whole files, with the same verdicts.
//! [`statistics`] and [`card`] describe what came out, [`stage`] publishes it in a run directory.
//!
//! A kept row is never changed, a dropped row never forgotten: it stands in `rejected.jsonl` with the rule, the reason and
//! the row that it resembles.

pub mod admission;
pub mod card;
pub mod config;
mod error;
pub mod filter;
pub mod pipeline;
pub mod stage;
pub mod statistics;

pub use admission::{Admission, Reject};
pub use bioinstruct_data::rows::input_or_empty;
pub use config::{CurateConfig, Dialect, NoveltyKey};
pub use error::CurateError;
pub use filter::{Evidence, Similarity};
pub use pipeline::{Outcome, Rejected, curate};
pub use stage::{StageSummary, run_stage};
