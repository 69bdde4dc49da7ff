//! The `bioinstruct` command: `main` maps errors to exit codes, [`verbs`] holds one file for each verb.

mod arguments;
mod asked_model;
mod config;
mod console;
mod failure;
mod interrupt;
mod labelling;
mod memory;
mod merging;
mod model;
mod preset;
mod report;
mod training_data;
mod verbs;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

use crate::arguments::{Arguments, Verb};
use crate::console::Console;

/// Curation holds a handful of strings for each of a million rows; the system's allocator takes a sixth of its time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    console::start_logging(arguments.globals.verbose);
    let console = Console::new(arguments.globals.json);
    match run(arguments, &console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn run(arguments: Arguments, console: &Console) -> anyhow::Result<()> {
    let globals = &arguments.globals;
    match arguments.verb {
        Verb::Quickstart(verb) => verbs::quickstart::run(&verb, globals, console),
        Verb::Generate(verb) => verbs::generate::run(&verb, globals, console),
        Verb::Curate(verb) => verbs::curate::run(&verb, globals, console),
        Verb::Train(verb) => verbs::train::run(&verb, globals, console),
        Verb::Eval(verb) => verbs::eval::run(&verb, globals, console),
        Verb::Report(verb) => verbs::report::run(&verb, globals, console),
        Verb::Chat(verb) => verbs::chat::run(&verb, globals, console),
        Verb::Merge(verb) => verbs::merge::run(&verb, globals, console),
        Verb::Export(verb) => verbs::export::run(&verb, globals, console),
        Verb::Plan(verb) => verbs::plan::run(&verb.train, globals, console),
        Verb::Preview(verb) => verbs::preview::run(&verb, globals, console),
        Verb::Models(verb) => verbs::models::run(&verb, globals, console),
        Verb::Tasks(verb) => verbs::tasks::run(&verb, globals, console),
        Verb::Status(verb) => verbs::status::run(&verb, console),
        Verb::Doctor => verbs::doctor::run(globals, console),
    }
}
