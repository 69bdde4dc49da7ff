//! How many rows of some files each filter would drop, each filter alone: what `docs/curation.md` reports.
//!
//! `filter_rates FILE.jsonl… [--show FILTER]`. With `--show`, the rows that this filter drops follow, one a line.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use bioinstruct_core::record::Instruction;
use bioinstruct_curate::findings::inconsistent_duplicates;
use bioinstruct_curate::{CurateConfig, curate, filter};
use bioinstruct_data::rows::{ReadRows, read_rows};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    let shown = match files.iter().position(|argument| argument == "--show") {
        Some(at) => files.drain(at..).nth(1),
        None => None,
    };
    for file in files {
        let read = read_rows(file.as_ref())?;
        let rows = read.rows.len();
        println!("{file}: {rows} rows, {} findings", inconsistent_duplicates(&read.rows).len());
        for entry in filter::ALL
            .iter()
            .filter(|entry| shown.as_deref().is_none_or(|name| name == entry.name))
        {
            let config =
                CurateConfig { only: vec![entry.name.to_owned()], ..CurateConfig::default() };
            let alone = ReadRows { rows: read.rows.clone(), quarantined: Vec::new() };
            let outcome = curate(alone, &[], &config)?;
            let dropped = outcome.rejected.len();
            println!(
                "  {:<22}{dropped:>7}  {:>7.3} %",
                entry.name,
                100.0 * dropped as f64 / rows.max(1) as f64
            );
            if shown.is_some() {
                for rejected in outcome.rejected {
                    println!("    {} | {}", rejected.reason, shortened(&rejected.row));
                }
            }
        }
    }
    Ok(())
}

/// The row on one line, its texts cut in the middle.
fn shortened(row: &Instruction) -> String {
    let cut = |text: &str| {
        let flat: Vec<char> = text.replace(['\n', '\r'], " ").chars().collect();
        if flat.len() <= 200 {
            return flat.into_iter().collect();
        }
        let (start, end) = (&flat[..90], &flat[flat.len() - 100..]);
        format!("{} … {}", start.iter().collect::<String>(), end.iter().collect::<String>())
    };
    [&row.instruction, &row.input, &row.output].map(|text| cut(text)).join(" ‖ ")
}
