//! `refusal`: an output in which a model declines, asks for what is missing, or speaks of itself as a program.
//!
//! Declining is looked for where an answer begins, with the verb that tells "I cannot provide" from a patient's "I cannot
//! sleep"; a model that speaks of itself is found anywhere.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::normalize::answer_key;

use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

/// What may stand before the refusal itself.
const EXCUSES: [&str; 9] = [
    "i'm sorry, but ",
    "i am sorry, but ",
    "i'm sorry. ",
    "i am sorry. ",
    "sorry, but ",
    "sorry, ",
    "i apologize, but ",
    "i'm afraid ",
    "unfortunately, ",
];

const INABILITIES: [&str; 8] = [
    "i cannot ",
    "i can't ",
    "i can not ",
    "i'm unable to ",
    "i am unable to ",
    "i'm not able to ",
    "i am not able to ",
    "i won't be able to ",
];

const ACTS: [&str; 27] = [
    "access",
    "accurately",
    "analyze",
    "answer",
    "assist",
    "comply",
    "complete",
    "create",
    "determine",
    "diagnose",
    "directly",
    "fulfill",
    "generate",
    "give",
    "help",
    "make a",
    "offer",
    "open",
    "perform",
    "process",
    "provide",
    "see the",
    "summarize",
    "translate",
    "view",
    "write",
    "proceed",
];

/// Beginnings that are a refusal by themselves.
const OPENINGS: [&str; 16] = [
    "i do not have access",
    "i don't have access",
    "i do not have enough information",
    "i don't have enough information",
    "please provide the",
    "please provide me",
    "please provide more",
    "please provide a",
    "please provide an input",
    "could you please provide",
    "no input was provided",
    "no input provided",
    "no text was provided",
    "there is no input",
    "the input is missing",
    "it seems that you have not provided",
];

const SELF_REFERENCES: [&str; 12] = [
    "as an ai ",
    "as an ai,",
    "as an artificial intelligence,",
    "as a language model,",
    "as a large language model,",
    "i am an ai ",
    "i'm an ai ",
    "i am a language model",
    "i'm just an ai",
    "my knowledge cutoff",
    "my training data",
    "i cannot browse",
];

struct Refusal;

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(Refusal))
}

impl Filter for Refusal {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let output = answer_key(&row.output.replace('’', "'"));
        if let Some(phrase) = SELF_REFERENCES.iter().find(|phrase| output.contains(**phrase)) {
            return Some(Objection::because(format!("the output says `{}`", phrase.trim())));
        }
        let start = EXCUSES
            .iter()
            .fold(output.as_str(), |rest, excuse| rest.strip_prefix(excuse).unwrap_or(rest));
        let is_refusal = OPENINGS.iter().any(|opening| start.starts_with(opening))
            || INABILITIES.iter().any(|inability| {
                start
                    .strip_prefix(inability)
                    .is_some_and(|act| ACTS.iter().any(|verb| act.starts_with(verb)))
            });
        is_refusal.then(|| {
            let shown: String = start.chars().take(40).collect();
            Objection::because(format!("the output declines: `{shown}…`"))
        })
    }
}
