//! `tasks hash`: the items of a task as hashes, to be looked for where they may not be shown.

use anyhow::Context;
use bioinstruct_core::run_directory;
use bioinstruct_curate::decontaminate::against::task_items;
use bioinstruct_curate::decontaminate::hashed::HashedItems;
use serde_json::json;

use crate::arguments::TasksHash;
use crate::console::Console;

pub(super) fn run(verb: &TasksHash, console: &Console) -> anyhow::Result<()> {
    let (items, _) = task_items(&verb.task)?;
    let hashed = HashedItems::of(&items, &verb.salt);
    run_directory::publish(&verb.out, |out| hashed.write(out))
        .with_context(|| format!("cannot write {}", verb.out.display()))?;
    console.say(&format!("{} items of {}: {}", hashed.len(), items.task, verb.out.display()));
    if !items.shown {
        console.say(
            "hashes hide texts from a reader, not from one who guesses: the data's agreement still holds",
        );
    }
    console.summary(&json!({"task": items.task, "items": hashed.len(), "file": verb.out}))
}
