//! The stage `curate` by itself, with every filter that looks at one row: what `docs/curation.md` reports of its speed.
//!
//! `curate_stage FILE.jsonl… DIRECTORY` publishes `DIRECTORY/dataset` and prints the summary and the seconds per filter.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::PathBuf;
use std::time::Instant;

use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_curate::{CurateConfig, run_stage};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let begin = Instant::now();
    let mut files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let directory = files.pop().ok_or("give files of rows and a directory")?;
    let config = CurateConfig { also: vec!["quality".to_owned()], ..CurateConfig::default() };
    let summary = run_stage(&RunDirectory::open(&directory)?, &files, &[], &config, 1)?;
    println!("{}", serde_json::to_string(&summary)?);
    println!("{:.2} s", begin.elapsed().as_secs_f64());
    Ok(())
}
