//! One file for each verb; its `run` reads as the story of the stage. What `quickstart` shares with a verb is that verb's
//! `stage`.

pub(crate) mod chat;
pub(crate) mod curate;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod generate;
pub(crate) mod merge;
pub(crate) mod models;
pub(crate) mod plan;
pub(crate) mod preview;
pub(crate) mod quickstart;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod tasks;
pub(crate) mod train;
