//! Reads the JSON form: `{"tasks": [{"instruction": …, "input": …, "output": …}, …]}`.
//!
//! A reply that was cut off still holds whole tasks, and a model that is held to no schema writes around the JSON, so tasks
//! are found one by one: the innermost objects with an instruction, wherever they stand.

use bioinstruct_core::model::Finish;
use bioinstruct_curate::input_or_empty;
use serde_json::{Map, Value};

use super::{Draft, Fault, Piece};
use crate::prompt::FieldLimits;

/// Cuts a reply into tasks. A text that reaches its limit was cut off by the schema.
pub fn parse(text: &str, finish: Finish, limits: FieldLimits) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let object = &rest[open..];
        // The list of tasks is an object too: step into it.
        if let Some(inner) = opening_of_tasks(object) {
            rest = inner;
            continue;
        }
        let Some(end) = end_of_object(object) else {
            pieces.push(Piece::bad(Fault::of_unfinished(finish), "the object has no end", object));
            return pieces;
        };
        pieces.push(task(&object[..end], limits));
        rest = &object[end..];
    }
    if pieces.is_empty() && !text.trim().is_empty() {
        let fault = Fault::of_unfinished(finish);
        pieces.push(Piece::bad(fault, "there is no task in the reply", text));
    }
    pieces
}

/// What follows on `{"tasks": [`, when `text` begins with it.
fn opening_of_tasks(text: &str) -> Option<&str> {
    let mut rest = text;
    for token in ["{", "\"tasks\"", ":", "["] {
        rest = rest.trim_start().strip_prefix(token)?;
    }
    Some(rest)
}

/// Where the object ends that `text` begins with.
fn end_of_object(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    for (position, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return Some(position + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn task(text: &str, limits: FieldLimits) -> Piece {
    let malformed = |reason: String| Piece::bad(Fault::Malformed, reason, text);
    let mut object: Map<String, Value> = match serde_json::from_str(text) {
        Ok(object) => object,
        Err(error) => return malformed(format!("it is not JSON: {error}")),
    };
    let mut field = |name: &str| match object.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("`{name}` is not a string")),
        None => Err(format!("it has no `{name}`")),
    };
    let texts = field("instruction")
        .and_then(|instruction| Ok((instruction, field("input")?, field("output")?)));
    let (instruction, input, output) = match texts {
        Ok(texts) => texts,
        Err(reason) => return malformed(reason),
    };
    let cut_off = [
        ("instruction", &instruction, limits.instruction),
        ("input", &input, limits.input),
        ("output", &output, limits.output),
    ]
    .into_iter()
    .find(|(_, text, limit)| text.chars().count() >= *limit);
    if let Some((name, _, limit)) = cut_off {
        let reason = format!("`{name}` was cut off at {limit} characters");
        return Piece::bad(Fault::Truncated, reason, text);
    }
    if instruction.trim().is_empty() {
        return malformed("its instruction is empty".to_owned());
    }
    Piece::Draft(Draft {
        instruction: instruction.trim().to_owned(),
        input: input_or_empty(input.trim()).to_owned(),
        output: output.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::JSON_LIMITS;

    fn read(text: &str, finish: Finish) -> (Vec<String>, Vec<(Fault, String)>) {
        let mut drafts = Vec::new();
        let mut faults = Vec::new();
        for piece in parse(text, finish, JSON_LIMITS) {
            match piece {
                Piece::Draft(draft) => {
                    drafts.push(format!("{}|{}|{}", draft.instruction, draft.input, draft.output));
                }
                Piece::Bad { fault, reason, .. } => faults.push((fault, reason)),
            }
        }
        (drafts, faults)
    }

    const TWO: &str = r#"{"tasks": [ {"instruction":"Say \"}\" {now}","input":"","output":"a"},
        {"output":"b\n","input":"none","instruction":"Second"} ]}"#;

    #[test]
    fn whole_replies() {
        let (drafts, faults) = read(TWO, Finish::Stop);
        assert_eq!(drafts, ["Say \"}\" {now}||a", "Second||b"]);
        assert!(faults.is_empty());
        let fenced = format!("Here:\n```json\n{TWO}\n```");
        assert_eq!(read(&fenced, Finish::Stop).0, drafts);
        let bare = r#"[{"instruction":"i","input":"n","output":"o"}]"#;
        assert_eq!(read(bare, Finish::Stop).0, ["i|n|o"]);
    }

    #[test]
    fn cut_replies_keep_what_is_whole() {
        let second = TWO.find("{\"output\"").unwrap();
        for cut in 0..TWO.len() {
            let (drafts, faults) = read(&TWO[..cut], Finish::Length);
            assert!(drafts.len() <= 2 && faults.len() <= 1, "{cut}");
            if cut > second + 1 && cut < TWO.len() - 4 {
                let truncated = vec![(Fault::Truncated, "the object has no end".to_owned())];
                assert_eq!((drafts.len(), faults), (1, truncated), "{cut}");
            }
        }
    }

    #[test]
    fn objects_that_are_no_tasks() {
        let text = r#"{"tasks":[{"instruction":"i","input":"n","output":5},{"instruction":" ","input":"","output":"o"},
            {"input":"","output":"o"},{"instruction":"i","input":"\q","output":"o"}]}"#;
        let (drafts, faults) = read(text, Finish::Stop);
        assert!(drafts.is_empty());
        let reasons: Vec<&str> = faults.iter().map(|fault| fault.1.as_str()).collect();
        assert_eq!(
            reasons[..3],
            ["`output` is not a string", "its instruction is empty", "it has no `instruction`"]
        );
        assert!(reasons[3].starts_with("it is not JSON"));
        assert_eq!(read("no", Finish::Stop).1[0].0, Fault::Malformed);
        assert_eq!(read(r#"{"tasks":[]}"#, Finish::Stop).1.len(), 1);
    }

    #[test]
    fn a_text_at_its_limit_was_cut_off() {
        let long = "é".repeat(JSON_LIMITS.output);
        let text = format!(r#"{{"tasks":[{{"instruction":"i","input":"n","output":"{long}"}}]}}"#);
        let (_, faults) = read(&text, Finish::Stop);
        assert_eq!(
            faults,
            [(Fault::Truncated, "`output` was cut off at 400 characters".to_owned())]
        );
    }
}
