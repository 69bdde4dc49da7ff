//! `placeholder-input`: a row that says where a text should stand and does not have it.
//!
//! A template's gap left unfilled (`[insert note here]`, `{abstract}`), or an instruction that ends by pointing to a text
//! ("Summarize the following abstract.") above an empty input.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_data::rows::says_no_input;
use bioinstruct_text::normalize::{answer_key, word_count};

use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

/// Beginnings, inside a bracket, of an order to fill it.
const ORDERS: [&str; 12] = [
    "insert ",
    "paste ",
    "enter ",
    "add your ",
    "your text",
    "your input",
    "input text",
    "patient note here",
    "text here",
    "article text",
    "abstract text",
    "provide ",
];

/// Names, inside braces, of a template's variables.
const VARIABLES: [&str; 14] = [
    "abstract",
    "article",
    "context",
    "dialogue",
    "input",
    "input_text",
    "name",
    "note",
    "passage",
    "patient_name",
    "patient_note",
    "question",
    "text",
    "topic",
];

/// Inputs that are a file's name or say that something is elsewhere.
const ELSEWHERE: [&str; 8] = [
    "see attached",
    "see the attached",
    "attached file",
    "attached document",
    "(see above)",
    "lorem ipsum",
    "to be provided",
    "will be provided",
];

const POINTERS: [&str; 6] =
    ["the following ", "this ", "the given ", "the provided ", "the below ", "the text below"];

/// What an instruction can point to.
const POINTED_TO: [&str; 26] = [
    "abstract",
    "article",
    "case",
    "clinical note",
    "conversation",
    "data",
    "dialog",
    "dialogue",
    "discharge summary",
    "document",
    "excerpt",
    "list",
    "medical note",
    "note",
    "paragraph",
    "passage",
    "patient case",
    "report",
    "scenario",
    "sentence",
    "sentences",
    "statement",
    "study",
    "text",
    "transcript",
    "vignette",
];

struct PlaceholderInput;

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(PlaceholderInput))
}

impl Filter for PlaceholderInput {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let [instruction, input] = [&row.instruction, &row.input].map(|text| answer_key(text));
        for (field, text) in [("instruction", &instruction), ("input", &input)] {
            if let Some(gap) = unfilled_gap(text) {
                return Some(Objection::because(format!(
                    "the {field} has an unfilled gap `{gap}`"
                )));
            }
        }
        if word_count(&input) <= 12
            && let Some(phrase) = ELSEWHERE.iter().find(|phrase| input.contains(**phrase))
        {
            return Some(Objection::because(format!("the input says `{phrase}`")));
        }
        if !says_no_input(&row.input) {
            return None;
        }
        let pointed_to = missing_text(&instruction)?;
        Some(Objection::because(format!(
            "the instruction points to `{pointed_to}`, and there is no input"
        )))
    }
}

/// A short bracket that holds an order to fill it, or a template's variable.
fn unfilled_gap(text: &str) -> Option<&str> {
    let brackets = [('[', ']'), ('<', '>'), ('{', '}'), ('(', ')')];
    brackets.into_iter().find_map(|(open, close)| {
        text.match_indices(open).find_map(|(at, _)| {
            let inner = &text[at + 1..][..text[at + 1..].find(close)?];
            let is_order =
                word_count(inner) <= 8 && ORDERS.iter().any(|order| inner.starts_with(order));
            let is_variable = open == '{' && VARIABLES.contains(&inner.trim_matches(['{', ' ']));
            (is_order || is_variable).then(|| &text[at..at + inner.len() + 2])
        })
    })
}

/// The words at the end of an instruction that point to a text which should follow.
fn missing_text(instruction: &str) -> Option<&str> {
    let end = instruction.trim_end_matches(['.', ':', ' ', '!']);
    POINTERS.iter().find_map(|pointer| {
        let at = end.rfind(pointer)?;
        let starts_word = at == 0 || end[..at].ends_with([' ', '"', '(']);
        let named = end[at + pointer.len()..].trim();
        let is_text =
            POINTED_TO.contains(&named) || *pointer == "the text below" && named.is_empty();
        (starts_word && is_text).then(|| &end[at..])
    })
}
