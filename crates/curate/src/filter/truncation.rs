//! `truncation`: an output that stops in the middle.
//!
//! Only ends that cannot be ends: a word that needs another one after it, a comma or an opening bracket, the number of a list
//! item that never came, a bracket opened in the last sentence and never closed, a code block without its end. Answers without
//! a final period stay: lists, names and values have none.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::normalize::words;

use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

/// Outputs of fewer words are labels and values.
const FEWEST_WORDS: usize = 8;

/// Words that no sentence ends with.
const UNFINISHED: [&str; 41] = [
    "a",
    "an",
    "the",
    "and",
    "or",
    "but",
    "nor",
    "of",
    "to",
    "with",
    "for",
    "from",
    "than",
    "because",
    "although",
    "whereas",
    "while",
    "if",
    "that",
    "which",
    "whose",
    "such",
    "including",
    "is",
    "are",
    "was",
    "were",
    "be",
    "been",
    "has",
    "their",
    "its",
    "his",
    "this",
    "these",
    "between",
    "during",
    "into",
    "per",
    "via",
    "very",
];

struct Truncation;

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(Truncation))
}

impl Filter for Truncation {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let output = row.output.trim_end();
        let last_word = words(output).last()?;
        if words(output).take(FEWEST_WORDS).count() < FEWEST_WORDS {
            return None;
        }
        let object = |what: &str| Some(Objection::because(format!("the output stops {what}")));
        if output.ends_with([',', '(', '[', '{', '&']) {
            return object("after a mark that something must follow");
        }
        // All capitals are an abbreviation or a blood group, not a function word.
        let is_name = last_word.chars().all(|character| !character.is_lowercase());
        if !is_name && UNFINISHED.contains(&last_word.to_lowercase().as_str()) {
            return object(&format!("after `{last_word}`"));
        }
        let last_line = output.lines().next_back().unwrap_or_default().trim();
        if output.contains('\n') && is_bare_item(last_line) {
            return object("before an item of its list");
        }
        if output.matches("```").count() % 2 == 1 {
            return object("inside a code block");
        }
        open_bracket(last_line).then(|| Objection::because("the output stops inside a bracket"))
    }
}

/// `7.`, `7)`, `-`, `*` or `•` with nothing behind it.
fn is_bare_item(line: &str) -> bool {
    let number = line.trim_end_matches(['.', ')']);
    let is_number = number.len() < line.len()
        && (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number || matches!(line, "-" | "*" | "•")
}

/// Whether the last bracket of a line is an opening one, with words and no period behind it.
fn open_bracket(line: &str) -> bool {
    line.rfind('(').is_some_and(|at| {
        let rest = &line[at + 1..];
        !rest.contains(')') && !rest.ends_with(['.', '!', '?', ':', ';']) && !rest.is_empty()
    })
}
