//! The novelty join over a file of rows, as a program: what `bench/README.md` measures.
//!
//! `novelty_join FILE.jsonl [--rule paper|alpaca] [--threads N] [--kept OUT.json]`. Each line of the file is a JSON object
//! with an `instruction`. Prints one JSON object with the counts and the process's own CPU time.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::collections::BTreeMap;
use std::time::Instant;

use bioinstruct_text::novelty::{NoveltyFilter, NoveltyRule, Verdict};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let begin = Instant::now();
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give a file of rows")?;
    let rest: Vec<String> = arguments.collect();
    let options: BTreeMap<&str, &str> =
        rest.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let rule = match options.get("--rule").copied().unwrap_or("paper") {
        "alpaca" => NoveltyRule::ALPACA,
        _ => NoveltyRule::PAPER,
    };
    let threads = options.get("--threads").map_or(Ok(2), |count| count.parse())?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let texts = read(&path)?;
    let seconds_reading = begin.elapsed().as_secs_f64();
    let mut filter = NoveltyFilter::new(rule)?;
    let verdicts = filter.admit_all(&texts);
    if let Some(out) = options.get("--kept") {
        let kept = verdicts.iter().enumerate().filter(|(_, verdict)| **verdict == Verdict::Kept);
        let kept: Vec<usize> = kept.map(|(row, _)| row).collect();
        fs_err::write(out, serde_json::to_vec(&kept)?)?;
    }
    let (cpu, peak) = resources()?;
    let kept = filter.kept_count();
    println!(
        "{}",
        json!({
            "rows": texts.len(), "kept": kept, "kept_share": kept as f64 / texts.len().max(1) as f64,
            "threads": threads, "seconds": begin.elapsed().as_secs_f64(), "seconds_reading": seconds_reading,
            "cpu_seconds": cpu, "peak_mebibytes": peak,
        })
    );
    Ok(())
}

fn read(path: &str) -> Result<Vec<String>, Failure> {
    let text = fs_err::read_to_string(path)?;
    let instruction = |line: &str| -> Result<String, Failure> {
        match serde_json::from_str::<Value>(line)?["instruction"].take() {
            Value::String(text) => Ok(text),
            other => Err(format!("an instruction is {other}").into()),
        }
    };
    text.lines().map(instruction).collect()
}

/// CPU seconds and peak mebibytes of this process so far; zeros where there is no `/proc`.
fn resources() -> Result<(f64, u64), Failure> {
    let Ok(stat) = fs_err::read_to_string("/proc/self/stat") else {
        return Ok((0.0, 0));
    };
    // Fields after the command's name, which may hold spaces; user and system time in hundredths of a second.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let status = fs_err::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    Ok((ticks as f64 / 100.0, peak / 1024))
}
