//! `tasks`: what can be evaluated.

use bioinstruct_data::task::{Task, built_in_names};
use serde_json::json;

use crate::arguments::Tasks;
use crate::console::Console;

pub(crate) fn run(verb: &Tasks, console: &Console) -> anyhow::Result<()> {
    let names = match &verb.name {
        Some(name) => vec![name.as_str()],
        None => built_in_names(),
    };
    let mut text = String::new();
    let mut summary = Vec::new();
    for name in names {
        let task = Task::load(name)?;
        let data =
            if task.has_own_data() { "built in" } else { "give the owners' file with --data" };
        text += &format!("{:<12} {}\n             {data}\n", task.name, task.title);
        if verb.name.is_some() {
            text += &format!("\n{}\n", task.description);
        }
        summary
            .push(json!({"name": task.name, "title": task.title, "own_data": task.has_own_data()}));
    }
    console.print(&text)?;
    console.summary(&json!({"tasks": summary}))
}
