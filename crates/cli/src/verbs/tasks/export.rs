//! `tasks export`: the training splits of tasks as instruction rows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use bioinstruct_core::record::Category;
use bioinstruct_core::{jsonl, run_directory};
use bioinstruct_data::export::{ExportOptions, ExportSource, Exported, Mixture, export};
use bioinstruct_data::task::Task;
use serde_json::{Value, json};

use crate::arguments::{Globals, TasksExport};
use crate::config::{Config, Flags};
use crate::console::Console;
use crate::failure;

pub(super) fn run(verb: &TasksExport, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let config = Config::resolve("", globals, Flags::default())?;
    let mixture = verb.mixture.as_deref().map(Mixture::load).transpose()?;
    let tasks = match &mixture {
        Some(mixture) => mixture.tasks()?,
        None => named(&verb.tasks)?,
    };
    let sources = read(tasks, verb)?;
    let options = ExportOptions { count: verb.count, max_words: verb.max_words, seed: config.seed };
    let exported = export(&sources, mixture.as_ref(), &options)?;
    tell(&exported, console);
    if let Some(path) = &verb.out {
        run_directory::publish(path, |out| jsonl::write(out, &exported.rows))
            .with_context(|| format!("cannot write {}", path.display()))?;
        console.say(&format!("{} rows: {}", exported.rows.len(), path.display()));
    } else {
        let mut text = Vec::new();
        jsonl::write(&mut text, &exported.rows)?;
        console.print(&String::from_utf8(text)?)?;
    }
    console.summary(&summary(verb, &options, &sources, &exported))
}

fn named(names: &[String]) -> anyhow::Result<Vec<Task>> {
    if let Some(twice) = (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
        let message = format!("task `{}` is named twice", names[twice]);
        return Err(failure::usage(message, "name each task once"));
    }
    Ok(names.iter().map(|name| Task::load(name)).collect::<Result<_, _>>()?)
}

/// Each task with its training split, from its own path or from the common folder.
fn read(tasks: Vec<Task>, verb: &TasksExport) -> anyhow::Result<Vec<ExportSource>> {
    let mut paths: BTreeMap<&str, PathBuf> = BTreeMap::new();
    for argument in &verb.data {
        let known = argument
            .split_once('=')
            .filter(|(name, _)| tasks.iter().any(|task| task.name == *name));
        let Some((name, path)) = known else {
            let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
            let message = format!("--data {argument}: it names no task that takes part");
            let hint = format!("write `--data TASK=PATH`; the tasks are {}", names.join(", "));
            return Err(failure::usage(message, &hint));
        };
        paths.insert(name, PathBuf::from(path));
    }
    let mut sources = Vec::new();
    for task in tasks {
        let path = paths.get(task.name.as_str()).map(PathBuf::as_path);
        let Some(path) = path.or(verb.data_root.as_deref()) else {
            let message = format!("where are the owners' files of task `{}`?", task.name);
            let hint =
                "give the folder that holds them with `--data-root DIR`, or `--data TASK=PATH`";
            return Err(failure::usage(message, hint));
        };
        let split = task.training(path)?;
        sources.push(ExportSource { task, split });
    }
    Ok(sources)
}

fn tell(exported: &Exported, console: &Console) {
    for part in &exported.parts {
        let name = format!("{}/{}", part.task, part.export);
        console.say(&format!("{:>7} {:<11} {name}", part.rows, part.category.name()));
        for (reason, count) in &part.left_out {
            console.say(&format!("{count:>29} left out: {reason}"));
        }
    }
    let mut licences: Vec<&str> = exported.parts.iter().map(|part| part.licence.as_str()).collect();
    licences.sort_unstable();
    licences.dedup();
    console.say(&format!("licences: {}", licences.join("; ")));
    if exported.rows.iter().any(|row| row.provenance.restricted) {
        console.say("restricted: some rows come under a use agreement, and so does all that learns from them");
    }
}

fn summary(
    verb: &TasksExport,
    options: &ExportOptions,
    sources: &[ExportSource],
    exported: &Exported,
) -> Value {
    let count = |category: Category| {
        exported.rows.iter().filter(|row| row.category == Some(category)).count()
    };
    let categories: BTreeMap<&str, usize> =
        Category::ALL.map(|category| (category.name(), count(category))).into();
    let inputs: BTreeMap<String, &String> = sources
        .iter()
        .flat_map(|source| {
            let name = &source.task.name;
            source.split.inputs.iter().map(move |(file, hash)| (format!("{name} {file}"), hash))
        })
        .collect();
    json!({
        "rows": exported.rows.len(),
        "categories": categories,
        "parts": exported.parts,
        "seed": options.seed,
        "inputs": inputs,
        "out": verb.out,
    })
}
