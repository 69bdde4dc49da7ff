//! Row formats, quarantine, task files, readers of the owners' file formats and splits.
//!
//! [`rows`] reads instruction rows from any file that holds them and names every bad one; [`split`](mod@split) parts rows
//! into train and dev so that no question stands on both sides; [`mixture`] says how often rows of which file are drawn;
//! [`task`] is what can be evaluated, and [`export`] makes rows of the training splits of tasks.

pub mod export;
pub mod mixture;
pub mod rows;
pub mod split;
pub mod task;
