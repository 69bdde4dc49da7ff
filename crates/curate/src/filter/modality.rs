//! `modality`: an instruction that asks for a picture, a recording or a file, or points to one that a row cannot hold.
//!
//! What `keyword` does for single words, by phrase: "draw blood", "MAP 65 mmHg", "draw a conclusion" and "explain what this
//! imaging report means" are ordinary medicine, "draw the Krebs cycle" and "describe the image below" are not for a language
//! model. An image described in the input is text like any other.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_data::rows::says_no_input;
use bioinstruct_text::normalize::answer_key;

use super::keyword::holds_word;
use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

/// Verbs that make something to look at, when one of [`PICTURES`] is made.
const MAKING: [&str; 10] = [
    "draw",
    "sketch",
    "plot",
    "paint",
    "create",
    "generate",
    "design",
    "produce",
    "make",
    "illustrate with",
];

const PICTURES: [&str; 16] = [
    "image",
    "images",
    "picture",
    "pictures",
    "diagram",
    "diagrams",
    "graph",
    "graphs",
    "flowchart",
    "chart",
    "figure",
    "infographic",
    "video",
    "animation",
    "poster",
    "drawing",
];

/// Words that a verb and its picture may have between them.
const BETWEEN: usize = 4;

/// Phrases that point to what only an eye or an ear could take in, when the input is empty.
const POINTERS: [&str; 16] = [
    "the image below",
    "the image above",
    "this image",
    "the following image",
    "the attached image",
    "the given image",
    "the picture below",
    "this picture",
    "the following picture",
    "the graph below",
    "the following graph",
    "this graph",
    "the figure below",
    "the attached file",
    "this video",
    "the audio recording",
];

struct Modality;

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(Modality))
}

impl Filter for Modality {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let instruction = answer_key(&row.instruction);
        if let Some((verb, picture)) = asked_picture(&instruction) {
            return Some(Objection::because(format!("the instruction asks to {verb} a {picture}")));
        }
        if !says_no_input(&row.input) {
            return None;
        }
        let pointer = POINTERS.iter().find(|pointer| holds_word(&instruction, pointer))?;
        Some(Objection::because(format!(
            "the instruction points to `{pointer}`, and there is no input"
        )))
    }
}

/// A verb of making with its picture a few words behind it.
fn asked_picture(instruction: &str) -> Option<(&str, &str)> {
    let words: Vec<&str> = instruction
        .split(|character: char| !character.is_alphanumeric() && character != '-')
        .filter(|word| !word.is_empty())
        .collect();
    // An order begins the instruction; further on stand sentences about scanners that "create images of the heart".
    let polite = ["please", "can", "could", "you", "now", "kindly"];
    let begin = words.iter().take_while(|word| polite.contains(*word)).count();
    words.iter().enumerate().skip(begin).take(1).find_map(|(at, verb)| {
        let behind = &words[at + 1..(at + 2 + BETWEEN).min(words.len())];
        // "create a report of the image" makes no image.
        let near = behind
            .iter()
            .take_while(|word| !["of", "from", "for", "that", "in", "to", "about"].contains(*word));
        let picture = near.into_iter().find(|word| PICTURES.contains(*word))?;
        MAKING.contains(verb).then_some((*verb, *picture))
    })
}
