//! Reads the paper's form: `4. Instruction: … 4. Input: … 4. Output: … 5. Instruction: …`.
//!
//! Clinical text is full of numbers with periods ("8. Albuterol", "Pulse: 60.") and of words like "Output: 500 ml", so only
//! a number and a field's name at the start of a line divide, and only where they are expected: the task's own number for
//! its fields, and a higher one for the next task. A field without its number is taken when the numbered one is missing.

use bioinstruct_core::model::Finish;
use bioinstruct_curate::input_or_empty;

use super::{Draft, Fault, Piece};

/// Which field a heading opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Instruction,
    Input,
    Output,
}

/// A line that begins like a field.
#[derive(Debug, Clone, Copy)]
struct Heading {
    field: Field,
    number: Option<usize>,
    /// Where the line begins.
    start: usize,
    /// Where the field's text begins.
    end: usize,
}

/// Cuts a reply into tasks. `first` is the number with which the model was asked to go on: its text may begin with the
/// instruction itself, since the request ends with that number.
pub fn parse(text: &str, first: usize, finish: Finish) -> Vec<Piece> {
    let headings = headings(text);
    let starts = task_starts(text, &headings, first);
    let mut pieces: Vec<Piece> = Vec::new();
    for (position, start) in starts.iter().enumerate() {
        let end = starts.get(position + 1).map_or(text.len(), |next| next.line);
        let is_last = position + 1 == starts.len();
        let whole = &text[start.line..end];
        if is_last && Fault::of_unfinished(finish) == Fault::Truncated {
            pieces.push(Piece::bad(Fault::Truncated, "the reply ended within this task", whole));
            continue;
        }
        pieces.push(match task(text, start, end, &headings) {
            Ok(draft) => Piece::Draft(draft),
            Err(reason) => Piece::bad(Fault::Malformed, reason, whole),
        });
    }
    if pieces.is_empty() && !text.trim().is_empty() {
        let fault = Fault::of_unfinished(finish);
        pieces.push(Piece::bad(fault, "there is no task in the reply", text));
    }
    pieces
}

/// Where a task begins, and its number.
#[derive(Debug, Clone, Copy)]
struct Start {
    number: usize,
    /// Of its first line.
    line: usize,
    /// Of its instruction's text.
    text: usize,
}

fn task_starts(text: &str, headings: &[Heading], first: usize) -> Vec<Start> {
    let instructions: Vec<Start> = headings
        .iter()
        .filter(|heading| heading.field == Field::Instruction)
        .filter_map(|heading| {
            Some(Start { number: heading.number?, line: heading.start, text: heading.end })
        })
        .collect();
    let mut starts: Vec<Start> = Vec::new();
    starts.extend(headings.first().and_then(|heading| start_of_reply(text, heading, first)));
    for candidate in instructions {
        let expected = match starts.last() {
            None => true,
            Some(before) => {
                candidate.number > before.number && !is_inside(headings, before, &candidate)
            }
        };
        if expected {
            starts.push(candidate);
        }
    }
    starts
}

/// The task with which the request ended, when the reply goes on with it: the first heading is that task's input, or repeats
/// the name of the field without the number.
fn start_of_reply(text: &str, heading: &Heading, first: usize) -> Option<Start> {
    let goes_on = Start { number: first, line: 0, text: text.len() - text.trim_start().len() };
    match (heading.field, heading.number) {
        (Field::Input, None) => Some(goes_on),
        (Field::Input, Some(number)) if number == first => Some(goes_on),
        (Field::Instruction, None) => Some(Start { text: heading.end, ..goes_on }),
        _ => None,
    }
}

/// Whether a heading that looks like the next task stands inside the task before it: that one's numbered output is still to
/// come, and comes before the candidate's own.
fn is_inside(headings: &[Heading], before: &Start, candidate: &Start) -> bool {
    let output_of = |number: usize, from: usize| {
        headings
            .iter()
            .find(|heading| {
                heading.field == Field::Output
                    && heading.number == Some(number)
                    && heading.start >= from
            })
            .map(|heading| heading.start)
    };
    let already = output_of(before.number, before.text).is_some_and(|at| at < candidate.line);
    let own = output_of(before.number, candidate.line);
    let its = output_of(candidate.number, candidate.line);
    !already && own.is_some_and(|own| its.is_none_or(|its| own < its))
}

fn task(text: &str, start: &Start, end: usize, headings: &[Heading]) -> Result<Draft, String> {
    let find = |field: Field, from: usize| {
        let within = || {
            headings.iter().filter(move |heading| {
                heading.field == field && heading.start >= from && heading.start < end
            })
        };
        within()
            .find(|heading| heading.number == Some(start.number))
            .or_else(|| within().find(|heading| heading.number.is_none()))
    };
    let input = find(Field::Input, start.text).ok_or("it has no `Input:`")?;
    let output = find(Field::Output, input.end).ok_or("it has no `Output:`")?;
    let draft = Draft {
        instruction: tidy(&text[start.text..input.start]),
        input: input_or_empty(&tidy(&text[input.end..output.start])).to_owned(),
        output: tidy(&text[output.end..end]),
    };
    if draft.instruction.is_empty() {
        return Err("its instruction is empty".to_owned());
    }
    Ok(draft)
}

/// White space at the ends goes, and lines that only separate tasks.
fn tidy(field: &str) -> String {
    let mut lines: Vec<&str> = field.trim().lines().collect();
    let separates = |line: &str| {
        let line = line.trim();
        line.is_empty()
            || (line.len() >= 2 && line.chars().all(|character| "#*-=_".contains(character)))
    };
    while lines.last().is_some_and(|line| separates(line)) {
        lines.pop();
    }
    lines.join("\n").trim().to_owned()
}

fn headings(text: &str) -> Vec<Heading> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        found.extend(heading(line, start));
        start += line.len();
    }
    found
}

/// Reads `12. Output:` at the start of a line, with or without the number and Markdown's marks.
fn heading(line: &str, start: usize) -> Option<Heading> {
    const MARKS: [char; 5] = ['*', '#', '_', '>', ' '];
    let rest = line.trim_start_matches(MARKS);
    let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let (number, rest) = if digits == 0 {
        (None, rest)
    } else {
        let number: usize = rest[..digits].parse().ok()?;
        let rest = rest[digits..].strip_prefix(['.', ')'])?;
        (Some(number), rest.trim_start_matches(MARKS))
    };
    let name = |name: &str| {
        let begins = rest.get(..name.len())?.eq_ignore_ascii_case(name);
        begins.then(|| &rest[name.len()..])
    };
    let (field, rest) =
        [(Field::Instruction, "instruction"), (Field::Input, "input"), (Field::Output, "output")]
            .into_iter()
            .find_map(|(field, word)| Some((field, name(word)?)))?;
    let rest = rest.trim_start_matches(['*', '_']).strip_prefix(':')?;
    let rest = rest.trim_start_matches(['*', '_']);
    Some(Heading { field, number, start, end: start + line.len() - rest.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafts(text: &str, finish: Finish) -> Vec<(String, String, String)> {
        let pieces = parse(text, 4, finish).into_iter();
        pieces
            .filter_map(|piece| match piece {
                Piece::Draft(draft) => Some((draft.instruction, draft.input, draft.output)),
                Piece::Bad { .. } => None,
            })
            .collect()
    }

    fn faults(text: &str, finish: Finish) -> Vec<(Fault, String)> {
        let pieces = parse(text, 4, finish).into_iter();
        pieces
            .filter_map(|piece| match piece {
                Piece::Bad { fault, reason, .. } => Some((fault, reason)),
                Piece::Draft(_) => None,
            })
            .collect()
    }

    fn owned(texts: [&str; 3]) -> (String, String, String) {
        let [instruction, input, output] = texts.map(str::to_owned);
        (instruction, input, output)
    }

    #[test]
    fn a_reply_goes_on_where_the_request_ended() {
        let text = " Name the drug.\n4. Input: Takes aspirin.\n4. Output: Aspirin\n\n5. Instruction: Why?\n5. Input: N/A\n5. Output: Because.\n";
        let expected = vec![
            owned(["Name the drug.", "Takes aspirin.", "Aspirin"]),
            owned(["Why?", "", "Because."]),
        ];
        assert_eq!(drafts(text, Finish::Stop), expected);
        assert_eq!(drafts(&format!("4. Instruction:{text}"), Finish::Stop), expected);
        assert_eq!(drafts(&format!("Instruction:{text}"), Finish::Stop), expected);
        assert_eq!(
            drafts(&format!("Sure, here they are:\n\n**4. Instruction:**{text}"), Finish::Stop),
            expected
        );
        assert!(faults(text, Finish::Stop).is_empty());
    }

    #[test]
    fn numbers_and_names_inside_clinical_text_do_not_divide() {
        let input = "MEDICATIONS\n8. Albuterol\n5. Aspirin\n6) Input and output chart:\nIntake: 2000 ml\nOutput: 500 ml\nPulse: 60.\n20. ";
        let text = format!(
            "4. Instruction: Write the list.\n4. Input: {input}\n4. Output: 8. Albuterol\n20. x\n\
             5. Instruction: Next?\n5. Input:\n5. Output: y"
        );
        let expected = vec![
            owned(["Write the list.", input.trim(), "8. Albuterol\n20. x"]),
            owned(["Next?", "", "y"]),
        ];
        assert_eq!(drafts(&text, Finish::Stop), expected);
    }

    #[test]
    fn a_leaflet_with_numbered_instructions_stays_whole() {
        let text = "4. Instruction: Shorten the leaflet.\n4. Input: Leaflet\n5. Instruction: take with food\n6. done\n4. Output: Eat.\n\
                    5. Instruction: Next?\n5. Input: a\n5. Output: b\n7. Instruction: After a gap?\n7. Input: c\n7. Output: d";
        let expected = vec![
            owned([
                "Shorten the leaflet.",
                "Leaflet\n5. Instruction: take with food\n6. done",
                "Eat.",
            ]),
            owned(["Next?", "a", "b"]),
            owned(["After a gap?", "c", "d"]),
        ];
        assert_eq!(drafts(text, Finish::Stop), expected);
    }

    #[test]
    fn the_last_task_of_a_cut_reply_is_dropped() {
        let text = "One\n4. Input: a\n4. Output: b\n5. Instruction: Two\n5. Input: c\n5. Output: d";
        assert_eq!(drafts(text, Finish::Length), vec![owned(["One", "a", "b"])]);
        let reason = "the reply ended within this task".to_owned();
        assert_eq!(faults(text, Finish::Length), vec![(Fault::Truncated, reason)]);
        assert_eq!(drafts(text, Finish::Stop).len(), 2);
    }

    #[test]
    fn what_has_not_the_form_is_kept_as_malformed() {
        let text = "4. Instruction: One\n4. Output: b\n5. Instruction: Two\n5. Input: c\n6. Instruction:\n6. Input: c\n6. Output: d\n\
                    7. Instruction: Good\nInput: e\n---\nOutput: f\n###\n";
        assert_eq!(drafts(text, Finish::Stop), vec![owned(["Good", "e", "f"])]);
        let reasons: Vec<String> =
            faults(text, Finish::Stop).into_iter().map(|fault| fault.1).collect();
        assert_eq!(
            reasons,
            ["it has no `Input:`", "it has no `Output:`", "its instruction is empty"]
        );
        assert_eq!(faults("I cannot help with that.", Finish::Stop)[0].0, Fault::Malformed);
        assert_eq!(faults("The first task", Finish::Length)[0].0, Fault::Truncated);
        assert!(parse(" \n", 4, Finish::Stop).is_empty());
    }

    #[test]
    fn a_list_that_begins_again_at_one_is_read() {
        let text = "Here you go:\n1. Instruction: One\n1. Input: None\n1. Output: b\n2. Instruction: Two\n2. Input: c\n2. Output: d";
        assert_eq!(
            drafts(text, Finish::Stop),
            vec![owned(["One", "", "b"]), owned(["Two", "c", "d"])]
        );
    }
}
