//! `preview`: training rows token by token, what the loss covers in colour.

use bioinstruct_core::template::InstructionTemplate;
use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::local::chat_template;
use bioinstruct_engine::tokenizer::Tokenizer;
use bioinstruct_engine::train::example::{Example, example};
use serde_json::json;

use crate::arguments::{Globals, Preview};
use crate::config::{Config, Flags};
use crate::console::Console;
use crate::model;
use crate::verbs::train::some_rows;

pub(crate) fn run(verb: &Preview, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let mut flags = Flags::default();
    flags.set("train.template", verb.template.clone());
    flags.set("train.loss", verb.loss.clone());
    let config = Config::resolve("", globals, flags)?;
    let rows = some_rows(&verb.data)?;
    let template = InstructionTemplate::load(&config.train.template)?;
    let resolved = model::resolve(&verb.model, globals.offline, console)?;
    let tokenizer = Tokenizer::for_model(&ModelFile::open(&resolved.path)?)?;
    let chat = chat_template(&tokenizer);
    let mut shown = Vec::new();
    for row in rows.iter().take(verb.rows) {
        let example = example(row, &template, chat.as_ref(), &tokenizer, config.train.loss)?;
        console.print(&page(&example, &tokenizer, console.colour()))?;
        let tokens: Vec<_> = example
            .ids
            .iter()
            .zip(&example.learned)
            .map(|(id, learned)| json!({"id": id, "text": text_of(&tokenizer, *id), "learned": learned}))
            .collect();
        shown.push(json!({"id": row.id, "tokens": tokens}));
    }
    console.summary(&json!({"template": template.name(), "rows": shown}))
}

/// The whole text, learned tokens in green or, without colours, in ⟦brackets⟧.
fn page(example: &Example, tokenizer: &Tokenizer, colour: bool) -> String {
    let (open, close) = if colour { ("\u{1b}[32;1m", "\u{1b}[0m") } else { ("⟦", "⟧") };
    let learned = example.labels();
    let mut text = format!("row {}: {} tokens, {learned} learned\n", example.id, example.ids.len());
    let mut at = 0;
    while at < example.ids.len() {
        let same = example.learned[at..]
            .iter()
            .take_while(|learned| **learned == example.learned[at])
            .count();
        let part = tokenizer.decode(&example.ids[at..at + same], false);
        if example.learned[at] {
            text += &format!("{open}{part}{close}");
        } else {
            text += &part;
        }
        at += same;
    }
    text + "\n\n"
}

fn text_of(tokenizer: &Tokenizer, id: u32) -> String {
    String::from_utf8_lossy(tokenizer.token_bytes(id)).into_owned()
}
