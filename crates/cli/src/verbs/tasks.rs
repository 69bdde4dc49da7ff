//! `tasks`: what can be evaluated, [`export`]: what can be learned from it, and [`hash`]: what must not be.

mod export;
mod hash;

use bioinstruct_data::task::{Task, TaskGroup, built_in_names};
use serde_json::{Value, json};

use crate::arguments::{Globals, Tasks, TasksAction};
use crate::console::Console;
use crate::failure;

pub(crate) fn run(verb: &Tasks, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    match (&verb.action, &verb.name) {
        (Some(TasksAction::Export(action)), _) => export::run(action, globals, console),
        (Some(TasksAction::Hash(action)), _) => hash::run(action, console),
        (None, Some(name)) if verb.definition => define(name, console),
        (None, Some(name)) => show(name, console),
        (None, None) => list(console),
    }
}

fn list(console: &Console) -> anyhow::Result<()> {
    let tasks = built_in_names().into_iter().map(Task::load).collect::<Result<Vec<_>, _>>()?;
    let mut text = String::new();
    for group in TaskGroup::ALL {
        text += &format!("{}:\n", group.title());
        for task in tasks.iter().filter(|task| task.group == Some(group)) {
            text += &format!("  {:<26} {}\n", task.name, task.title);
        }
    }
    text += "`bioinstruct tasks NAME` shows one. All but the demo tasks read their owners' file, given with --data.\n";
    console.print(&text)?;
    let summary: Vec<Value> = tasks.iter().map(summary).collect();
    console.summary(&json!({"tasks": summary}))
}

fn show(name: &str, console: &Console) -> anyhow::Result<()> {
    let task = Task::load(name)?;
    let mut text = format!("{}: {}\n\n{}\n\n", task.name, task.title, task.description);
    let data = if task.has_own_data() {
        "built in".to_owned()
    } else {
        format!("{} (give it with --data)", task.data.file)
    };
    text += &format!("data      {data}\n");
    text += &format!("licence   {}\nsource    {}\n", task.licence, task.source);
    if task.credentialed {
        text += "care      under a use agreement: no text of it is written to any file\n";
    }
    if !task.is_training_only() {
        let metrics: Vec<&str> = task.metrics.iter().map(|metric| metric.name()).collect();
        let profiles: Vec<&str> = task.profiles.keys().map(|profile| profile.name()).collect();
        text += &format!("kind      {}\nmetrics   {}\n", task.kind.name(), metrics.join(", "));
        text += &format!("profiles  {}\n", profiles.join(", "));
    }
    for spec in &task.export {
        let wordings = spec.instructions.len();
        text +=
            &format!("export    {} ({}, {wordings} wordings)\n", spec.name, spec.category.name());
    }
    console.print(&text)?;
    console.summary(&json!({"tasks": [summary(&task)]}))
}

fn define(name: &str, console: &Console) -> anyhow::Result<()> {
    let task = Task::load(name)?;
    let Some(definition) = task.definition() else {
        let message = format!("`{name}` is a task file of yours");
        return Err(failure::usage(message, "--definition prints the file of a built-in task"));
    };
    console.print(definition)?;
    console.summary(&json!({"tasks": [summary(&task)]}))
}

fn summary(task: &Task) -> Value {
    let exports: Vec<&str> = task.export.iter().map(|spec| spec.name.as_str()).collect();
    json!({
        "name": task.name,
        "title": task.title,
        "group": task.group,
        "own_data": task.has_own_data(),
        "credentialed": task.credentialed,
        "exports": exports,
    })
}
