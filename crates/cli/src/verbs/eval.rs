//! `eval`: a base and its adapters on tasks; predictions, scores and paired differences out.

mod clean;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_core::run_directory::{Manifest, RunDirectory};
use bioinstruct_core::template::InstructionTemplate;
use bioinstruct_data::rows::read_rows;
use bioinstruct_data::task::{ItemSources, Profile, Task};
use bioinstruct_engine::backend::Backend;
use bioinstruct_engine::local::LocalModel;
use bioinstruct_eval::{Candidate, EvaluationConfig, Scores, TaskInput, evaluate};
use serde_json::json;

use crate::arguments::{Eval, Globals};
use crate::config::{Config, Flags, in_run};
use crate::console::{Bar, Console, width};
use crate::model::{self, AdapterCard};
use crate::verbs::train::ROWS;
use crate::{asked_model, failure, report};

/// What is scored on what.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    /// The base, as it was named.
    pub(crate) model: &'a str,
    /// Adapter directories.
    pub(crate) adapters: &'a [PathBuf],
    /// Task names or files.
    pub(crate) tasks: &'a [String],
    /// `[TASK=]PATH`, as typed.
    pub(crate) data: &'a [String],
    /// The template, as typed.
    pub(crate) template: Option<&'a str>,
    /// Solved examples, as typed.
    pub(crate) shots: Option<usize>,
    /// All settings.
    pub(crate) config: &'a Config,
    /// Whether fetching is forbidden.
    pub(crate) offline: bool,
}

pub(crate) fn run(verb: &Eval, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let mut flags = Flags::default();
    flags.set("eval.profile", verb.profile.clone());
    flags.set("eval.limit", verb.limit.map(|limit| limit as i64));
    flags.set("precision", verb.precision.clone());
    let contamination = verb.contamination.as_ref().map(|path| path.display().to_string());
    flags.set("eval.contamination", contamination);
    let config = Config::resolve("", globals, flags)?;
    let job = Job {
        model: &verb.model,
        adapters: &verb.adapter,
        tasks: &verb.task,
        data: &verb.data,
        template: verb.template.as_deref(),
        shots: verb.shots,
        config: &config,
        offline: globals.offline,
    };
    let tasks = read_tasks(&job, console)?;
    in_run(globals, "eval", |run| {
        let scores = stage(run, &job, tasks, console)?;
        console.print(&report::terminal::score_table(run.root(), width())?)?;
        clean::say(&scores, console);
        console.say(&format!("predictions and scores: {}", run.root().join("eval").display()));
        console.say(NOT_FOR_PATIENT_CARE);
        console.summary(
            &json!({"scores": scores.rows, "comparisons": scores.comparisons, "run": run.root()}),
        )
    })
}

/// Reads the tasks before a model is loaded: a wrong name or path is told at once.
pub(crate) fn read_tasks(job: &Job<'_>, console: &Console) -> anyhow::Result<Vec<TaskInput>> {
    let profile = Profile::from_str(&job.config.eval.profile)
        .map_err(|error| failure::configuration(error.to_string()))?;
    if let Some(template) = job.template {
        InstructionTemplate::load(template)?;
    }
    if let Some(twice) = (1..job.tasks.len()).find(|at| job.tasks[..*at].contains(&job.tasks[*at]))
    {
        let message = format!("task `{}` is named twice", job.tasks[twice]);
        return Err(failure::usage(message, "name each task once"));
    }
    let data = data_by_task(job)?;
    let training = training_texts(job.adapters, console)?;
    let eval = &job.config.eval;
    let path = |text: &'_ str| (!text.is_empty()).then(|| PathBuf::from(text));
    let (ids, training_file, shots_file) =
        (path(&eval.ids), path(&eval.training), path(&eval.shots_file));
    let mut inputs = Vec::new();
    for name in job.tasks {
        let task = Task::load(name)?;
        let sources = ItemSources {
            data: data.get(name).or_else(|| data.get("")).map(PathBuf::as_path),
            ids: ids.as_deref(),
            training: training_file.as_deref(),
            shots_file: shots_file.as_deref(),
            exclude_texts: &training,
            limit: (eval.limit > 0).then_some(eval.limit),
            profile,
            shots: job.shots,
            seed: job.config.seed,
        };
        let items = task.items(&sources)?;
        inputs.push(TaskInput { task, items });
    }
    Ok(inputs)
}

/// `--data PATH` serves the one task; `--data TASK=PATH` serves that task.
fn data_by_task(job: &Job<'_>) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for argument in job.data {
        let named =
            argument.split_once('=').filter(|(task, _)| job.tasks.iter().any(|name| name == task));
        let (task, path) = named.unwrap_or(("", argument));
        if let (true, Some((name, _))) = (task.is_empty(), argument.split_once('='))
            && !Path::new(path).exists()
        {
            let message = format!("--data {argument}: `{name}` is none of the tasks asked for");
            let hint = format!("they are {}; write `--data TASK=PATH`", job.tasks.join(", "));
            return Err(failure::usage(message, &hint));
        }
        if task.is_empty() && job.tasks.len() > 1 {
            let message =
                format!("--data {argument}: which of the {} tasks does it serve?", job.tasks.len());
            return Err(failure::usage(message, "write `--data TASK=PATH` once for each task"));
        }
        found.insert(task.to_owned(), PathBuf::from(path));
    }
    Ok(found)
}

/// Every text that the adapters were tuned on, where the rows that `train` keeps beside an adapter are still there.
fn training_texts(adapters: &[PathBuf], console: &Console) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for directory in adapters {
        AdapterCard::read(directory)?;
        let path = directory.with_file_name(ROWS);
        if !path.is_file() {
            console.say(&format!(
                "warning: {ROWS} is not beside {}: items that it was tuned on can't be left out",
                directory.display()
            ));
            continue;
        }
        for row in read_rows(&path)?.complete()? {
            texts.extend(row.texts().map(str::to_owned));
        }
    }
    Ok(texts)
}

/// Evaluates, or goes on evaluating; what is answered already is not asked again.
pub(crate) fn stage(
    run: &RunDirectory,
    job: &Job<'_>,
    tasks: Vec<TaskInput>,
    console: &Console,
) -> anyhow::Result<Scores> {
    let stage = run.stage("eval")?;
    for input in &tasks {
        say_exclusions(input, console);
    }
    clean::publish(&stage, &job.config.eval.contamination, &tasks, console)?;
    let mut local = asked_model::local(job.model, job.config, job.offline, console)?;
    let candidates = candidates(job, &mut local)?;
    let settings = EvaluationConfig { seed: job.config.seed, resamples: job.config.eval.resamples };
    let total: usize =
        tasks.iter().map(|task| task.items.items.len()).sum::<usize>() * candidates.len();
    let mut told = Told { bar: console.bar("eval", total as u64, "answers"), before: 0, now: None };
    let scores = evaluate(&stage, &mut local, &candidates, &tasks, &settings, &mut |progress| {
        told.take(progress.task, progress.candidate, progress.done, progress.total);
        ControlFlow::Continue(())
    })?;
    told.bar.finish(&format!("{total} answers of {} models", candidates.len()));
    for warning in &scores.warnings {
        console.say(&format!("warning: {warning}"));
    }
    finish(&stage, job, &local, &candidates, &tasks, &scores)?;
    Ok(scores)
}

/// The manifest is written anew each time: an evaluation directory grows with the tasks asked of it.
fn finish(
    stage: &bioinstruct_core::run_directory::Stage,
    job: &Job<'_>,
    local: &LocalModel,
    candidates: &[Candidate],
    tasks: &[TaskInput],
    scores: &Scores,
) -> anyhow::Result<()> {
    let mut inputs = BTreeMap::new();
    for input in tasks {
        for (name, hash) in &input.items.inputs {
            inputs.insert(format!("{} {name}", input.name()), hash.clone());
        }
    }
    for candidate in candidates {
        let identity = local.model_identity(candidate.adapter.as_deref());
        inputs.insert(format!("model {}", candidate.id), identity.digest);
    }
    let config = json!({"eval": job.config.eval, "precision": job.config.precision, "model": job.model, "candidates": candidates});
    let mut manifest = Manifest::new("eval", job.config.seed, config, inputs);
    manifest.kernels = local.llama().backend().kernels();
    let outputs: Vec<&str> = scores.outputs.iter().map(String::as_str).collect();
    stage.finish(manifest, &outputs)?;
    Ok(())
}

fn say_exclusions(input: &TaskInput, console: &Console) {
    for excluded in &input.items.excluded {
        console.say(&format!(
            "{}: item {} is not scored: {}",
            input.task.name, excluded.id, excluded.reason
        ));
    }
}

/// The base under the template of the comparison, the base under its own chat template, and each adapter.
fn candidates(job: &Job<'_>, local: &mut LocalModel) -> anyhow::Result<Vec<Candidate>> {
    let base = model::short_name(job.model);
    let mut adapters = Vec::new();
    for directory in job.adapters {
        let card = AdapterCard::read(directory)?;
        refuse_other_base(card.as_ref(), directory, local)?;
        let template = model::agreed_template(card.as_ref(), job.template, "bioinstruct")?;
        let name = adapter_name(&adapters);
        local.add_adapter(&name, directory)?;
        adapters.push(Candidate { id: format!("{base}-{name}"), adapter: Some(name), template });
    }
    let mut templates: Vec<String> =
        adapters.iter().map(|candidate| candidate.template.clone()).collect();
    templates.extend(job.template.map(str::to_owned));
    if templates.is_empty() {
        templates.push("bioinstruct".to_owned());
    }
    if local.chat_template().is_some() {
        templates.push("chat".to_owned());
    }
    let mut found: Vec<Candidate> = Vec::new();
    for template in templates {
        if found.iter().all(|candidate| candidate.template != template) {
            let id = if found.is_empty() {
                base.clone()
            } else {
                format!("{base}-{}", model::short_name(&template))
            };
            found.push(Candidate { id, adapter: None, template });
        }
    }
    found.extend(adapters);
    Ok(found)
}

fn refuse_other_base(
    card: Option<&AdapterCard>,
    directory: &Path,
    local: &LocalModel,
) -> anyhow::Result<()> {
    match card {
        Some(card) if card.base != model::hexadecimal(&local.llama().weights_hash()) => {
            Err(failure::data(
                format!("adapter {} was tuned on another base", directory.display()),
                "name the base that it was tuned on with `--model`",
            ))
        }
        _ => Ok(()),
    }
}

/// `tuned` for the first adapter, `tuned-2` and so on for more.
fn adapter_name(before: &[Candidate]) -> String {
    match before.len() {
        0 => "tuned".to_owned(),
        more => format!("tuned-{}", more + 1),
    }
}

/// Adds up the progress of all pairs of task and candidate.
struct Told {
    bar: Bar,
    before: u64,
    now: Option<(String, u64)>,
}

impl Told {
    fn take(&mut self, task: &str, candidate: &str, done: usize, _total: usize) {
        let name = format!("{task} · {candidate}");
        if let Some((before, done)) = &self.now
            && *before != name
        {
            self.before += done;
        }
        self.bar.update(self.before + done as u64, name.clone());
        self.now = Some((name, done as u64));
    }
}
