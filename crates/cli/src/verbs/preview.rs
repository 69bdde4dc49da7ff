//! `preview`: training rows token by token, what the loss covers in colour, and what becomes of all rows of the file.

use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::local::chat_template;
use bioinstruct_engine::model::context_length;
use bioinstruct_engine::tokenizer::Tokenizer;
use bioinstruct_engine::train::example::{Encoder, Example, Fitted};
use serde_json::{Value, json};

use crate::arguments::{Globals, Preview};
use crate::config::{Config, Flags};
use crate::console::Console;
use crate::model;
use crate::training_data::some_rows;

pub(crate) fn run(verb: &Preview, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let config = Config::resolve("", globals, flags(verb))?;
    let rows = some_rows(&verb.data)?;
    let resolved = model::resolve(&verb.model, globals.offline, console)?;
    let file = ModelFile::open(&resolved.path)?;
    let tokenizer = Tokenizer::for_model(&file)?;
    let ends = [tokenizer.eos_ids(), &file.config().eos_tokens].concat();
    let chat = chat_template(&tokenizer);
    let context = context_length(file.config(), 0);
    let encoder = Encoder::new(&config.train, chat.as_ref(), &tokenizer, &ends, context)?;
    let mut counts = Counts::default();
    let mut shown = Vec::new();
    for (at, fitted) in encoder.fit_all(&rows, config.threads).into_iter().enumerate() {
        let (example, decision, before) = decision(fitted?);
        counts.add(&example, decision);
        if at >= verb.rows {
            continue;
        }
        console.print(&page(&example, decision, before, &tokenizer, console.colour()))?;
        shown.push(json!({
            "id": example.id,
            "decision": decision,
            "tokens_before": before,
            "tokens": tokens(&example, &tokenizer),
        }));
    }
    let summary = counts.summary(encoder.cutoff());
    console.print(&format!("{}\n", counts.line(encoder.cutoff())))?;
    console.summary(&json!({
        "template": config.train.template,
        "rows": shown,
        "summary": summary,
    }))
}

fn flags(verb: &Preview) -> Flags {
    let mut flags = Flags::default();
    flags.set("train.template", verb.template.clone());
    flags.set("train.loss", verb.loss.clone());
    flags.set("train.cutoff", verb.cutoff.map(|tokens| tokens as i64));
    flags.set("train.overlong", verb.overlong.clone());
    flags
}

/// The example, what becomes of it, and its tokens before anything was cut.
fn decision(fitted: Fitted) -> (Example, &'static str, usize) {
    let (example, decision, before) = match fitted {
        Fitted::Whole(example) => (example, "learned", None),
        Fitted::Shortened { example, tokens } => (example, "shortened", Some(tokens)),
        Fitted::Overlong { example } => (example, "overlong", None),
        Fitted::Unlabelled { example } => (example, "unlabelled", None),
    };
    let before = before.unwrap_or(example.ids.len());
    (example, decision, before)
}

fn tokens(example: &Example, tokenizer: &Tokenizer) -> Vec<Value> {
    let tokens = example.ids.iter().zip(&example.learned);
    tokens
        .map(|(id, learned)| {
            let text = String::from_utf8_lossy(tokenizer.token_bytes(*id)).into_owned();
            json!({"id": id, "text": text, "learned": learned, "control": tokenizer.is_control(*id)})
        })
        .collect()
}

/// What becomes of the rows of the file.
#[derive(Debug, Default)]
struct Counts {
    learned: usize,
    shortened: usize,
    overlong: usize,
    unlabelled: usize,
    tokens: usize,
    labels: usize,
    longest: usize,
}

impl Counts {
    fn add(&mut self, example: &Example, decision: &str) {
        let tokens = example.ids.len();
        match decision {
            "overlong" => self.overlong += 1,
            "unlabelled" => self.unlabelled += 1,
            other => {
                self.shortened += usize::from(other == "shortened");
                self.learned += 1;
                self.tokens += tokens;
                self.labels += example.labels();
            }
        }
        self.longest = self.longest.max(tokens);
    }

    fn summary(&self, cutoff: usize) -> Value {
        json!({
            "rows": self.learned + self.overlong + self.unlabelled,
            "learned": self.learned,
            "shortened": self.shortened,
            "overlong": self.overlong,
            "unlabelled": self.unlabelled,
            "tokens": self.tokens,
            "label_tokens": self.labels,
            "longest": self.longest,
            "cutoff": cutoff,
        })
    }

    fn line(&self, cutoff: usize) -> String {
        format!(
            "{} rows are learned ({} tokens, {} of them learned; {} rows with their input cut), {} are longer than {cutoff} \
             tokens and left out, {} have no answer and are left out; the longest has {} tokens",
            self.learned,
            self.tokens,
            self.labels,
            self.shortened,
            self.overlong,
            self.unlabelled,
            self.longest,
        )
    }
}

/// The whole text. Learned tokens are green or, without colours, in ⟦brackets⟧; every other token is underlined or,
/// without colours, a stroke stands between two.
fn page(
    example: &Example,
    decision: &str,
    before: usize,
    tokenizer: &Tokenizer,
    colour: bool,
) -> String {
    let count = example.ids.len();
    let mut text = format!("row {}: {count} tokens, {} learned", example.id, example.labels());
    text += &match decision {
        "learned" => "\n".to_owned(),
        "shortened" => format!("; it had {before}, and its input was cut\n"),
        "overlong" => "; it is longer than the cutoff and LEFT OUT\n".to_owned(),
        other => format!("; it is {other} and LEFT OUT\n"),
    };
    let mut last: Option<bool> = None;
    for (number, (part, learned)) in parts(example, tokenizer).into_iter().enumerate() {
        if colour {
            let line = if number % 2 == 0 { "" } else { "\u{1b}[4m" };
            let green = if learned { "\u{1b}[32;1m" } else { "" };
            let reset = if green.len() + line.len() > 0 { "\u{1b}[0m" } else { "" };
            text += &format!("{green}{line}{part}{reset}");
            continue;
        }
        text += match (last, learned) {
            (Some(false) | None, true) => "⟦",
            (Some(true), false) => "⟧",
            (Some(_), _) => "¦",
            (None, false) => "",
        };
        text += &part;
        last = Some(learned);
    }
    if last == Some(true) {
        text.push('⟧');
    }
    text + "\n\n"
}

/// The tokens as text; tokens that are no whole characters by themselves are joined until they are.
fn parts(example: &Example, tokenizer: &Tokenizer) -> Vec<(String, bool)> {
    let mut parts = Vec::new();
    let mut pending: Vec<u8> = Vec::new();
    let tokens: Vec<(u32, bool)> =
        example.ids.iter().copied().zip(example.learned.iter().copied()).collect();
    for (at, (id, learned)) in tokens.iter().enumerate() {
        pending.extend_from_slice(tokenizer.token_bytes(*id));
        let flips = tokens.get(at + 1).is_none_or(|(_, next)| next != learned);
        if flips || std::str::from_utf8(&pending).is_ok() {
            parts.push((String::from_utf8_lossy(&pending).into_owned(), *learned));
            pending.clear();
        }
    }
    parts
}
