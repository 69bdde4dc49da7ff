//! How many hidden test items decontamination finds, and what else it points to: what `docs/curation.md` reports.
//!
//! `planted_items FOLDER [--show]`, on a folder that `bench/plant_items.py` wrote. With `--show`, hits that nobody planted
//! follow with both texts.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use bioinstruct_core::jsonl;
use bioinstruct_core::record::Instruction;
use bioinstruct_curate::decontaminate::hashed::HashedItems;
use bioinstruct_curate::decontaminate::{Decontaminator, TaskItems, TestItem, Verdict};
use bioinstruct_data::rows::read_rows;
use serde::Deserialize;

type Failure = Box<dyn std::error::Error>;

#[derive(Deserialize)]
struct ItemLine {
    task: String,
    id: String,
    question: String,
    options: Vec<String>,
    context: String,
}

#[derive(Deserialize)]
struct Plant {
    line: usize,
    item: String,
    kind: String,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(arguments.first().ok_or("give the folder")?);
    let tasks = tasks(&folder.join("items.jsonl"))?;
    let rows: Vec<Instruction> = read_rows(&folder.join("rows.jsonl"))?.complete()?;
    let plants: Vec<Plant> = jsonl::read(&folder.join("planted.jsonl"))?;
    let begin = Instant::now();
    let report = Decontaminator::new(&tasks)?.report(&rows);
    println!("{} rows in {:.2} s", report.rows, begin.elapsed().as_secs_f64());
    let pairs = |verdict: Option<Verdict>| -> BTreeSet<(&str, &str)> {
        let hits =
            report.hits.iter().filter(|hit| verdict.is_none_or(|wanted| wanted == hit.verdict));
        hits.map(|hit| (hit.row.as_str(), hit.item.as_str())).collect()
    };
    let (contaminated, all) = (pairs(Some(Verdict::Contaminated)), pairs(None));
    let hashed: BTreeSet<(String, String)> = tasks
        .iter()
        .flat_map(|task| HashedItems::of(task, "a salt").hits(&rows))
        .filter(|hit| hit.whole || 2 * hit.runs >= hit.of_runs)
        .map(|hit| (hit.row, hit.item))
        .collect();
    let mut found: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for plant in &plants {
        let pair = (rows[plant.line - 1].id.as_str(), plant.item.as_str());
        let counts = found.entry(&plant.kind).or_default();
        counts[0] += 1;
        counts[1] += usize::from(contaminated.contains(&pair));
        counts[2] += usize::from(all.contains(&pair));
        counts[3] += usize::from(hashed.contains(&(pair.0.to_owned(), pair.1.to_owned())));
        if !contaminated.contains(&pair) && arguments.len() > 1 {
            println!("MISSED {} {} | {}", plant.kind, plant.item, rows[plant.line - 1].instruction);
        }
    }
    for (kind, [planted, sure, seen, by_hash]) in found {
        println!(
            "{kind}: {planted} planted, {sure} contaminated, {seen} with suspects, {by_hash} by hashes"
        );
    }
    let planted: BTreeSet<&str> =
        plants.iter().map(|plant| rows[plant.line - 1].id.as_str()).collect();
    let by_hash = hashed.iter().filter(|(row, _)| !planted.contains(row.as_str())).count();
    println!("hashes point to {by_hash} other pairs");
    for verdict in [Verdict::Contaminated, Verdict::Suspected] {
        let others: Vec<_> = report
            .hits
            .iter()
            .filter(|hit| hit.verdict == verdict && !planted.contains(hit.row.as_str()))
            .collect();
        let rows: BTreeSet<&str> = others.iter().map(|hit| hit.row.as_str()).collect();
        println!("{verdict:?}, not planted: {} pairs, {} rows", others.len(), rows.len());
        for hit in others.iter().filter(|_| arguments.len() > 1) {
            let cut = |text: &str| text.replace('\n', " / ").chars().take(160).collect::<String>();
            println!(
                "  {} 13: {} 8: {} F: {:.2} coverage: {:.2} options: {} | {} ‖ {}",
                hit.item,
                hit.runs_of_13,
                hit.runs_of_8,
                hit.rouge_l.map_or(0.0, |likeness| likeness.f),
                hit.coverage,
                hit.options,
                cut(&hit.item_text),
                cut(&hit.row_text)
            );
        }
    }
    Ok(())
}

fn tasks(path: &Path) -> Result<Vec<TaskItems>, Failure> {
    let mut tasks: BTreeMap<String, TaskItems> = BTreeMap::new();
    for line in jsonl::read::<ItemLine>(path)? {
        let task = tasks.entry(line.task.clone()).or_default();
        task.task = line.task;
        task.shown = true;
        let (id, question, options, context) = (line.id, line.question, line.options, line.context);
        task.items.push(TestItem { id, question, options, context });
    }
    Ok(tasks.into_values().collect())
}
