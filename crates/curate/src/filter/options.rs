//! `options`: a multiple-choice question whose options are broken, or whose answer is none of them.
//!
//! A question is one with options when `A`, `B` and so on stand in order, each behind a line break or a space and followed by
//! `.`, `)` or `:`. On lines of their own its letters must go on without a gap and none may stand twice (inside a line
//! such a row is taken for another kind of text); no option may be empty or say the same
//! as another; an output that begins with a letter must name one of them, and may not carry another one's text.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::normalize::answer_key;

use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

struct Options;

/// One option as it stands.
struct Choice<'t> {
    letter: char,
    text: &'t str,
}

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(Options))
}

impl Filter for Options {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let choices = [&row.input, &row.instruction]
            .into_iter()
            .map(|text| choices(text))
            .find(|choices| choices.len() >= 2)?;
        let reason = broken(&choices).or_else(|| wrong_answer(&choices, &row.output))?;
        Some(Objection::because(reason))
    }
}

/// The options of a question; empty when it has none.
fn choices(text: &str) -> Vec<Choice<'_>> {
    let lines = marks(text, true);
    // Options on lines of their own are the options; inside a line other things look like them, such as the arms of a trial.
    let on_lines = lines.iter().filter(|(_, letter)| matches!(letter, 'A' | 'B')).count() >= 2;
    let marks = if on_lines { lines } else { marks(text, false) };
    let Some(first) = marks.iter().position(|&(_, letter)| letter == 'A') else {
        return Vec::new();
    };
    let marks = &marks[first..];
    if marks.get(1).is_none_or(|&(_, letter)| letter != 'B') {
        return Vec::new();
    }
    if !on_lines && marks.iter().zip('A'..).any(|(&(_, letter), expected)| letter != expected) {
        return Vec::new();
    }
    let end_of = |next: usize| marks.get(next).map_or(text.len(), |&(at, _)| at);
    let choice = |(position, &(at, letter)): (usize, &(usize, char))| {
        let body = text[at..end_of(position + 1)].trim_start_matches('(');
        let body = body[1..].trim_start_matches(['.', ')', ':']).trim();
        // The last option ends with its line: what follows belongs to the row.
        let is_last = position + 1 == marks.len();
        Choice {
            letter,
            text: if is_last { body.lines().next().unwrap_or_default().trim() } else { body },
        }
    };
    marks.iter().enumerate().map(choice).collect()
}

/// Where a capital letter from A to J stands as an option's mark: its place, or its bracket's.
fn marks(text: &str, at_line_start: bool) -> Vec<(usize, char)> {
    let bytes = text.as_bytes();
    let is_before = |at: usize| match at.checked_sub(1).map(|before| bytes[before]) {
        None | Some(b'\n') => true,
        Some(b' ' | b'\t') if at_line_start => {
            text[..at].rsplit('\n').next().is_some_and(|line| line.trim().is_empty())
        }
        Some(byte) => !at_line_start && byte == b' ',
    };
    let mark = |(at, &byte): (usize, &u8)| {
        let closing = bytes.get(at + 1).copied();
        if !(b'A'..=b'J').contains(&byte) {
            return None;
        }
        let bracketed = at > 0 && bytes[at - 1] == b'(' && closing == Some(b')');
        let start = if bracketed { at - 1 } else { at };
        let followed = matches!(bytes.get(at + 2), None | Some(b' ' | b'\n' | b'\t'));
        let is_mark = match closing {
            Some(b')') => true,
            Some(b'.' | b':') => followed,
            _ => false,
        };
        (is_mark && is_before(start)).then_some((start, byte as char))
    };
    bytes.iter().enumerate().filter_map(mark).collect()
}

fn broken(choices: &[Choice<'_>]) -> Option<String> {
    for (choice, expected) in choices.iter().zip('A'..) {
        if choice.letter != expected {
            return Some(format!("option {} stands where {expected} should", choice.letter));
        }
        if choice.text.is_empty() {
            return Some(format!("option {} is empty", choice.letter));
        }
    }
    let key = |choice: &Choice<'_>| answer_key(choice.text.trim_end_matches(['.', ',', ';']));
    choices.iter().enumerate().find_map(|(at, choice)| {
        let same = choices[..at].iter().find(|earlier| key(earlier) == key(choice))?;
        Some(format!("options {} and {} are the same", same.letter, choice.letter))
    })
}

/// Whether the output names a letter that is no option, or gives one option's letter with another's text.
fn wrong_answer(choices: &[Choice<'_>], output: &str) -> Option<String> {
    let output = output.trim();
    let lead_ins =
        ["The correct answer is", "The answer is", "Correct answer:", "Answer:", "Option"];
    let answer = lead_ins
        .iter()
        .fold(output, |rest, lead_in| rest.strip_prefix(lead_in).unwrap_or(rest).trim_start());
    let answer = answer.trim_start_matches(['(', ':', '*', ' ']);
    let letter = answer.chars().next().filter(char::is_ascii_uppercase)?;
    let rest = &answer[1..];
    let is_letter_alone = rest.is_empty() || rest.starts_with(['.', ')', ':', ',']);
    if !is_letter_alone {
        return None;
    }
    let Some(chosen) = choices.iter().find(|choice| choice.letter == letter) else {
        return Some(format!("the answer {letter} is not among the options"));
    };
    let said =
        answer_key(rest.trim_start_matches(['.', ')', ':', ',', ' ', '*']).trim_end_matches('.'));
    let key = |choice: &Choice<'_>| answer_key(choice.text.trim_end_matches('.'));
    let other = choices.iter().find(|choice| key(choice) == said)?;
    (other.letter != chosen.letter).then(|| {
        format!("the answer has the letter {letter} and the text of option {}", other.letter)
    })
}
