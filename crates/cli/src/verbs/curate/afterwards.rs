//! What can be asked of a dataset that is there: a sheet for raters, what they say, and the history of one row.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_curate::config::BUILT_IN_SEEDS;
use bioinstruct_curate::history::{Fate, History};
use bioinstruct_curate::review::{Review, stage};
use serde_json::json;

use crate::arguments::{Curate, Globals};
use crate::config::{Config, require_run};
use crate::console::Console;
use crate::failure;
use crate::verbs::generate::read_seeds;

/// Whether something was asked, and answered, instead of curating.
pub(super) fn run(
    verb: &Curate,
    config: &Config,
    globals: &Globals,
    console: &Console,
) -> anyhow::Result<bool> {
    if verb.audit.is_none() && verb.reviewed.is_empty() && verb.explain.is_none() {
        return Ok(false);
    }
    let Some(path) = &globals.run else {
        return Err(failure::usage(
            "which dataset is asked about?".to_owned(),
            "name its run directory with `--run DIR`",
        ));
    };
    require_run(path)?;
    if let Some(id) = &verb.explain {
        let history = History::of(path, id, &seeds(&config.curate.seeds)?)?;
        console.print(&told(&history))?;
        console.summary(&history)?;
        return Ok(true);
    }
    let run = RunDirectory::open(path)?;
    if let Some(count) = verb.audit {
        let (sheet, rows) = stage::audit(&run, count, config.seed)?;
        console.say(&format!("{rows} rows to judge: {}", sheet.display()));
        console.say("give each rater a copy, then `bioinstruct curate --reviewed FILE --run DIR`");
        console.summary(&json!({"sheet": sheet, "rows": rows}))?;
        return Ok(true);
    }
    let review = stage::take(&run, &verb.reviewed, config.seed)?;
    console.print(&counted(&review))?;
    console.summary(&review)?;
    Ok(true)
}

/// The seeds of this setting.
pub(super) fn seeds(setting: &str) -> anyhow::Result<Vec<SeedTask>> {
    match setting {
        "" => Ok(Vec::new()),
        BUILT_IN_SEEDS => read_seeds(None),
        path => read_seeds(Some(path.as_ref())),
    }
}

fn told(history: &History) -> String {
    let mut text = format!("row {}\n", history.id);
    for fate in &history.fates {
        text += &fate_told(fate);
    }
    for finding in &history.findings {
        text +=
            &format!("\nto look at ({}): {} answers\n", finding.kind.name(), finding.rows.len());
        for row in &finding.rows {
            text += &format!("  {} {}:{}: {}\n", row.id, row.file, row.line, short(&row.output));
        }
    }
    for found in &history.contamination {
        text += &format!("\ntest item: {} ({:?})\n", found.reason(), found.verdict());
    }
    for (file, lines) in &history.generated {
        for line in lines {
            text += &format!("\n{file}: {}\n", short(&line.to_string()));
        }
    }
    text
}

fn fate_told(fate: &Fate) -> String {
    let mut text = format!("\n{}\n", fate.place);
    if let Some(origin) = &fate.origin {
        text += &format!("  read from   {}:{}\n", origin.file, origin.line);
    }
    let provenance = &fate.row.provenance;
    for (name, value) in [
        ("source", &provenance.source),
        ("written by", &provenance.model),
        ("request", &provenance.request_id),
        ("exemplars", &provenance.exemplar_ids.join(", ")),
        ("licence", &provenance.licence),
    ] {
        if !value.is_empty() {
            text += &format!("  {name:<11} {value}\n");
        }
    }
    text += &row_told(&fate.row);
    for opinion in &fate.opinions {
        text += &format!("  {:<22} {}", opinion.filter, opinion.verdict);
        if !opinion.reason.is_empty() {
            text += &format!(": {}", opinion.reason);
        }
        text.push('\n');
    }
    if let Some(other) = &fate.lost_against {
        text += &format!("  lost against {}\n{}", other.id, row_told(other));
    }
    text
}

fn row_told(row: &Instruction) -> String {
    let texts = [("instruction", &row.instruction), ("input", &row.input), ("output", &row.output)];
    let present = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let lines = present.map(|(name, text)| format!("  {name:<11} {}\n", short(text)));
    lines.collect::<Vec<_>>().concat()
}

/// One line of at most 300 characters.
fn short(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 300 {
        line = line.chars().take(299).collect();
        line.push('…');
    }
    line
}

fn counted(review: &Review) -> String {
    let mut text = format!(
        "{} rows of {} judged by {}\n",
        review.rows,
        review.dataset_rows,
        review.raters.join(", ")
    );
    let number =
        |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    for (name, question) in &review.questions {
        let shares = match &question.good {
            Some(good) => format!(
                "as wished {}/{} = {:.1} % [{:.1}, {:.1}], weighted {:.1} %",
                good.count,
                good.of,
                100.0 * good.share,
                100.0 * good.low,
                100.0 * good.high,
                100.0 * good.weighted
            ),
            None => question
                .answers
                .iter()
                .map(|(answer, rows)| format!("{answer} {rows}"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        text += &format!("  {name:<18} {shares}; alpha {}\n", number(question.alpha));
        for pair in &question.pairs {
            let [first, second] = &pair.raters;
            text += &format!(
                "    {first} and {second}: {} rows, {:.1} % equal, kappa {}\n",
                pair.rows,
                100.0 * pair.accuracy,
                number(pair.kappa)
            );
        }
    }
    if let Some(all) = &review.all_right {
        text += &format!(
            "  all three right    {}/{} = {:.1} % [{:.1}, {:.1}]\n",
            all.count,
            all.of,
            100.0 * all.share,
            100.0 * all.low,
            100.0 * all.high
        );
    }
    if let Some(pair) = &review.category {
        text += &format!(
            "  category in the file against the raters: {} rows, {:.1} % equal, kappa {}\n",
            pair.rows,
            100.0 * pair.accuracy,
            number(pair.kappa)
        );
    }
    text
}
