//! The records, files and traits that every stage of `bioinstruct` shares.
//!
//! In the order data flows: [`config`] resolves what the user asked for, [`run_directory`] is where a stage reads and
//! writes, [`record`] holds the rows that travel between stages, [`template`] turns rows into text that a model sees, and
//! [`model`] is all that the rest of the program knows of a model. [`hash`], [`random`], [`jsonl`] and [`share`] are the
//! small tools that keep all of it repeatable; [`diagnose`] is how an error says its exit code and what to do about it.

pub mod config;
pub mod diagnose;
pub mod files;
pub mod hash;
pub mod jsonl;
pub mod model;
pub mod random;
pub mod record;
pub mod run_directory;
pub mod share;
pub mod template;

/// The one line that reports, cards, `chat` and the quickstart carry.
pub const NOT_FOR_PATIENT_CARE: &str =
    "Machine-written or machine-tuned, unverified, not for patient care.";
