//! A long run of broken rows through reading and curation: `mutated_rows [ROWS] [SEED]`, a million rows by default.
//!
//! Ends with the tally, or with a panic that names the file's number: `mutated_file(SEED, number, 1000)` makes it again.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

#[path = "../tests/mutation/mod.rs"]
mod mutation;

use std::process::ExitCode;

const ROWS_OF_A_FILE: usize = 1_000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u64>().expect("a number"));
    let rows = arguments.next().unwrap_or(1_000_000);
    let seed = arguments.next().unwrap_or(1);
    let mut sum = mutation::Tally::default();
    let files = rows.div_ceil(ROWS_OF_A_FILE as u64);
    for number in 0..files {
        let file = mutation::mutated_file(seed, number, ROWS_OF_A_FILE);
        let survived = std::panic::catch_unwind(|| mutation::survive(&file, number));
        let Ok(tally) = survived else {
            eprintln!("file {number} of seed {seed} stopped the program");
            return ExitCode::FAILURE;
        };
        sum.read += tally.read;
        sum.kept += tally.kept;
        sum.rejected += tally.rejected;
        sum.quarantined += tally.quarantined;
    }
    println!("{files} files of {ROWS_OF_A_FILE} rows: {sum:?}");
    ExitCode::SUCCESS
}
