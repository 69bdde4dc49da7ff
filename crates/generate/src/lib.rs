//! Plans, prompts, parsing and admission of machine-written instructions.
//!
//! In the order data flows: [`config`] says what is wanted, [`plan`] makes request `k` out of nothing but the seed and `k`,
//! with the texts of [`prompt`]; a model answers; [`parse`] cuts the reply into drafts, [`admit`] lets curation's filters
//! decide on them in plan order, and [`run`] does all of it durably: whatever order the replies come in, and wherever
//! the program is killed and started again, the published bytes are the same.

pub mod admit;
pub mod config;
mod error;
pub mod parse;
pub mod plan;
pub mod prompt;
pub mod run;

pub use admit::RejectedDraft;
pub use config::{Form, GenerateConfig};
pub use error::GenerateError;
pub use run::{Job, Progress, Summary, generate};
