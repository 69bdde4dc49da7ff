//! `plan`: how much memory and time a training run will take, before its first step.

use bioinstruct_engine::model::LoadOptions;
use bioinstruct_engine::model::training::Activations;
use bioinstruct_engine::train::estimate::{evaluations, measure};
use bioinstruct_engine::train::plan::Plan;
use serde_json::json;

use crate::arguments::{Globals, Train};
use crate::console::{Console, duration};
use crate::verbs::train::{self, Fit, Prepared, megabytes};

pub(crate) fn run(verb: &Train, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let config = train::configuration(verb, globals)?;
    let job = train::Job::new(verb, globals, &config);
    let prepared = Prepared::read(&job, console)?;
    let rows = prepared.rows();
    let fit = Fit::new(&prepared.file, &config, rows)?;
    let demand = &fit.demand;
    console.print(&format!(
        "rows       {} to learn from, {} to watch\nsteps      {}; {} tokens, {} of them computed; the largest unit has {}\n",
        rows.learned.len(),
        rows.watched.len(),
        demand.steps,
        demand.tokens,
        demand.rows,
        demand.unit_tokens,
    ))?;
    let mut heading = "memory";
    let before = ("program, tokenizer, rows", fit.before);
    let parts = fit.memory.parts.iter().map(|part| (part.name, part.bytes as u64));
    for (name, bytes) in std::iter::once(before).chain(parts).chain([("peak", fit.peak())]) {
        console.print(&format!("{heading:<10} {name:<28} {:>9}\n", megabytes(bytes)))?;
        heading = "";
    }
    if fit.activations == Activations::Recomputed {
        console.print(&format!("{:<10} activations are computed again in the backward\n", ""))?;
    }
    let available = fit.available.map(|available| fit.before + available);
    if let Some(available) = available {
        let fits = if fit.fits() { "it fits" } else { "it does NOT fit" };
        let available = megabytes(available);
        console.print(&format!("{:<10} {:<28} {available:>9}: {fits}\n", "", "available"))?;
    }
    let nearest = if fit.fits() { None } else { fit.nearest(&prepared.file, &config, rows)? };
    if let Some((flags, peak)) = &nearest {
        console.print(&format!("{:<10} with `{flags}`: {}\n", "", megabytes(*peak)))?;
    }

    let lengths: Vec<usize> = rows.learned.iter().map(|row| row.ids.len()).collect();
    let plan = Plan::new(&lengths, rows.strata, &config.train, config.seed)?;
    let options = LoadOptions { precision: config.precision()?, positions: 0 };
    let (file, threads) = (&prepared.file, config.threads);
    // What is timed takes memory too, and a run that does not fit takes no time.
    let speed = fit
        .fits()
        .then(|| {
            measure(file, &config.train, (options, fit.activations), threads, &plan, rows.learned)
        })
        .transpose()?;
    let evaluations = evaluations(&config.train, demand);
    let seconds = speed.map(|speed| speed.seconds(demand, evaluations));
    let rate = speed.map(|speed| demand.tokens as f64 / (demand.rows as f64 * speed.train));
    if let (Some(speed), Some(seconds), Some(rate)) = (speed, seconds, rate) {
        let watched = duration(demand.dev_rows as f64 * speed.evaluate);
        let watching = match evaluations {
            0 => String::new(),
            count => format!(", and {count} dev evaluations of {watched}"),
        };
        console.print(&format!(
            "time       about {}: {rate:.0} tokens/s{watching}\n",
            duration(seconds)
        ))?;
    } else {
        console.print("time       not measured, as the run does not fit\n")?;
    }
    console.summary(&json!({
        "steps": demand.steps,
        "tokens": demand.tokens,
        "computed_tokens": demand.rows,
        "unit_tokens": demand.unit_tokens,
        "unit_labels": demand.unit_labels,
        "step_units": demand.step_units,
        "activations_recomputed": fit.activations == Activations::Recomputed,
        "before_bytes": fit.before,
        "parts": fit.memory.parts,
        "peak_bytes": fit.peak(),
        "available_bytes": available,
        "fits": fit.fits(),
        "nearest": nearest.map(|(flags, peak)| json!({"flags": flags, "peak_bytes": peak})),
        "tokens_per_second": rate,
        "evaluated_tokens_per_second": speed.map(|speed| 1.0 / speed.evaluate),
        "evaluations": evaluations,
        "seconds": seconds,
    }))
}
