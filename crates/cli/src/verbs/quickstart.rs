//! `quickstart`: every stage, small, on the demo model and this machine.

use std::path::{Path, PathBuf};

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_core::jsonl;
use bioinstruct_core::model::Embedder;
use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_core::run_directory::{RunDirectory, publish};
use serde_json::json;

use crate::arguments::{Globals, Quickstart};
use crate::config::{Config, Flags};
use crate::console::{Console, duration, width};
use crate::interrupt::Interrupt;
use crate::training_data::WeightedFile;
use crate::verbs::{curate, eval, generate, train};
use crate::{asked_model, report};

/// Small settings, under whatever the user sets.
const PRESET: &str = include_str!("../../../../configs/quickstart.toml");
/// The sets that were written for this project.
const TASKS: [&str; 3] = ["demo_qa", "demo_ie", "demo_gen"];

pub(crate) fn run(verb: &Quickstart, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let begin = std::time::Instant::now();
    let config = Config::resolve(PRESET, globals, Flags::default())?;
    // One directory, whenever it is called: an interrupted quickstart goes on.
    let root = globals.run.clone().unwrap_or_else(|| PathBuf::from("runs/quickstart"));
    let run = RunDirectory::open(&root)?;
    let interrupt = Interrupt::install()?;
    let seeds = generate::read_seeds(None)?;
    console.say(&format!(
        "quickstart in {} (stop it at any time; the same command goes on)",
        root.display()
    ));

    let rows = {
        let mut model = asked_model::local(&verb.model, &config, globals.offline, console)?;
        let summary = generate::stage(&run, &mut model, &seeds, &config, true, console)?;
        summary.tally.accepted
    };
    curate::stage(
        &run,
        &[root.join("generate/instructions.jsonl")],
        &seeds,
        &config,
        curate::encoder(&config, globals.offline, console)?
            .as_ref()
            .map(|encoder| encoder as &dyn Embedder),
        console,
    )?;
    let data = [root.join("dataset/train.jsonl"), write_seed_rows(&root, &seeds)?];
    let data = data.map(WeightedFile::plain);
    let job = train::Job {
        model: &verb.model,
        data: &data,
        dev: None,
        config: &config,
        offline: globals.offline,
    };
    let trained = train::stage(&run, &job, &interrupt, console)?;
    let tasks = TASKS.map(str::to_owned);
    let job = eval::Job {
        model: &verb.model,
        adapters: std::slice::from_ref(&trained.adapter),
        tasks: &tasks,
        data: &[],
        template: None,
        shots: None,
        config: &config,
        offline: globals.offline,
    };
    eval::stage(&run, &job, eval::read_tasks(&job, console)?, console)?;
    let page = root.join("report.html");
    report::write(std::slice::from_ref(&root), &page)?;

    console.print(&format!("\n{}", report::terminal::score_table(&root, width())?))?;
    console.say(&closing(
        &root,
        &trained.adapter,
        &verb.model,
        rows,
        begin.elapsed().as_secs_f64(),
    ));
    console.summary(&json!({"run": root, "report": page, "rows": rows, "train": trained, "seconds": begin.elapsed().as_secs_f64()}))
}

/// The seeds as instruction rows, for training beside the generated ones.
fn write_seed_rows(root: &Path, seeds: &[SeedTask]) -> anyhow::Result<PathBuf> {
    let path = root.join("seed_rows.jsonl");
    let rows: Vec<Instruction> = seeds.iter().map(Instruction::from).collect();
    publish(&path, |out| jsonl::write(out, &rows))?;
    Ok(path)
}

fn closing(root: &Path, adapter: &Path, model: &str, rows: usize, seconds: f64) -> String {
    let root = root.display();
    format!(
        "
Done in {}. A tiny model wrote {rows} tasks, learned from them and from the 80 seeds, and was measured on 90 demo items:
enough to see the whole path, far too little to judge a model by. A difference that is within noise is no difference.

  report        {root}/report.html
  dataset       {root}/dataset/   (rejects with reasons in generate/rejected.jsonl and dataset/rejected.jsonl)
  adapter       {}
  predictions   {root}/eval/

Next:
  bioinstruct chat --model {model} --adapter {} --prompt 'What is anaemia?'
  bioinstruct preview --model {model} --data {root}/dataset/train.jsonl
  bioinstruct train --model {model} --data YOUR_ROWS.jsonl
  bioinstruct eval --model {model} --adapter {} --task medqa --data MEDQA_TEST.jsonl

{NOT_FOR_PATIENT_CARE}",
        duration(seconds),
        adapter.display(),
        adapter.display(),
        adapter.display(),
    )
}
