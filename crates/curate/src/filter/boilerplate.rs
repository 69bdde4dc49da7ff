//! `boilerplate`: what belongs to a chat or to a prompt and not to an answer.
//!
//! Courtesies at the beginning or the end of an output, and marks of prompts anywhere in a row. Where the task is to write to
//! someone (a letter, a dialogue), courtesies are part of the answer.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::normalize::answer_key;

use super::keyword::holds_word;
use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

const BEGINNINGS: [&str; 15] = [
    "sure! ",
    "sure, here",
    "sure, i",
    "sure thing",
    "certainly! ",
    "certainly, here",
    "of course! ",
    "of course, here",
    "absolutely! ",
    "great question",
    "good question",
    "thank you for your question",
    "thanks for your question",
    "happy to help",
    "i'd be happy to",
];

const ENDINGS: [&str; 7] = [
    "i hope this helps",
    "hope this helps",
    "let me know if you need",
    "let me know if you have any",
    "feel free to ask",
    "is there anything else i can",
    "please let me know if you",
];

/// Tasks whose answers speak to someone.
const TO_SOMEONE: [&str; 16] = [
    "letter",
    "email",
    "e-mail",
    "message",
    "dialogue",
    "dialog",
    "conversation",
    "respond",
    "response",
    "reply",
    "role",
    "script",
    "chat",
    "patient's question",
    "answer the patient",
    "doctor",
];

const PROMPT_MARKS: [&str; 13] = [
    "<noinput>",
    "<nooutput>",
    "<|",
    "|>",
    "[inst]",
    "[/inst]",
    "<<sys>>",
    "</s>",
    "### instruction",
    "### response",
    "### input:",
    "list of 20 tasks",
    "below is an instruction that describes",
];

/// Characters of the end of an output in which a courtesy is looked for.
const TAIL: usize = 160;

struct Boilerplate;

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(Boilerplate))
}

impl Filter for Boilerplate {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let [instruction, output] =
            [&row.instruction, &row.output].map(|text| answer_key(&text.replace('’', "'")));
        for (field, text) in [("instruction", &instruction), ("output", &output)] {
            if let Some(mark) = PROMPT_MARKS.iter().find(|mark| text.contains(**mark)) {
                return Some(Objection::because(format!("the {field} holds `{mark}` of a prompt")));
            }
        }
        if TO_SOMEONE.iter().any(|word| holds_word(&instruction, word)) {
            return None;
        }
        let tail_start = output.char_indices().rev().nth(TAIL).map_or(0, |(at, _)| at);
        let courtesy =
            BEGINNINGS.iter().find(|courtesy| output.starts_with(**courtesy)).or_else(|| {
                ENDINGS.iter().find(|courtesy| output[tail_start..].contains(**courtesy))
            })?;
        Some(Objection::because(format!("the output is framed by `{}`", courtesy.trim())))
    }
}
