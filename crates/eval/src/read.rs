//! Answers read from generated text: [`read_list`]. Nothing is guessed: text in which no answer can be found is `None`, and is
//! counted as unparsed.

use bioinstruct_data::task::{ReadSpec, Separator};
use bioinstruct_text::normalize::answer_key;

/// Signs that begin an item of a list.
const BULLETS: [char; 7] = ['-', '*', '•', '–', '—', '·', '>'];
/// Signs that may enclose an answer or end it.
const WRAPPING: [char; 12] = ['"', '\'', '`', '*', '“', '”', '‘', '’', '.', ',', ';', '_'];

/// The answers of a list, in order; an empty list when the text says that there is nothing.
///
/// Bullets, numbers before an item, quotation marks and final punctuation are dropped; a piece that ends in a colon is a
/// heading, not an answer.
///
/// ```
/// # use bioinstruct_eval::read::read_list;
/// # use bioinstruct_data::task::{ReadSpec, Separator};
/// let spec = ReadSpec { separators: vec![Separator::Line, Separator::Comma], empty: vec!["none".into()], ..ReadSpec::default() };
/// assert_eq!(read_list("Medications:\n- aspirin\n2. \"heparin\", 1,000 units.", &spec).unwrap(), ["aspirin", "heparin", "1,000 units"]);
/// assert_eq!(read_list("None.", &spec), Some(vec![]));
/// assert_eq!(read_list(" \n", &spec), None);
/// ```
pub fn read_list(text: &str, spec: &ReadSpec) -> Option<Vec<String>> {
    let whole = answer_key(text.trim().trim_matches(WRAPPING));
    if spec.empty.contains(&whole) {
        return Some(Vec::new());
    }
    let mut pieces = vec![text];
    for &separator in &spec.separators {
        pieces = pieces.into_iter().flat_map(|piece| cut(piece, separator)).collect();
    }
    let answers: Vec<String> = pieces.into_iter().filter_map(clean).map(str::to_owned).collect();
    (!answers.is_empty()).then_some(answers)
}

fn cut(text: &str, separator: Separator) -> Vec<&str> {
    match separator {
        Separator::Line => text.lines().collect(),
        Separator::Semicolon => text.split(';').collect(),
        Separator::Comma => cut_where(text, ",", |before, after| {
            !(before.is_some_and(|sign| sign.is_ascii_digit())
                && after.is_some_and(|sign| sign.is_ascii_digit()))
        }),
        Separator::And => cut_where(text, "and", |before, after| {
            before.is_none_or(char::is_whitespace) && after.is_some_and(char::is_whitespace)
        }),
    }
}

/// Cuts at each `word` (ASCII, any case) whose neighbouring characters are as wanted.
fn cut_where<'a>(
    text: &'a str,
    word: &str,
    wanted: impl Fn(Option<char>, Option<char>) -> bool,
) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at + word.len() <= text.len() {
        let end = at + word.len();
        let is_word = text.as_bytes()[at..end].eq_ignore_ascii_case(word.as_bytes());
        // The bytes of an ASCII word are never part of another character, so both ends are character boundaries.
        if is_word && wanted(text[..at].chars().next_back(), text[end..].chars().next()) {
            pieces.push(&text[start..at]);
            start = end;
            at = end;
        } else {
            at += 1;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

fn clean(piece: &str) -> Option<&str> {
    let piece = without_number(piece.trim().trim_start_matches(BULLETS).trim_start());
    let piece = piece.trim_end();
    if piece.trim_end_matches(WRAPPING).ends_with(':') {
        return None;
    }
    let answer = piece.trim_matches(WRAPPING).trim();
    (!answer.is_empty()).then_some(answer)
}

/// Drops `1. ` or `1) ` before an item; `5-fluorouracil` and `2.5 mg` stay.
fn without_number(piece: &str) -> &str {
    let rest = piece.trim_start_matches(|sign: char| sign.is_ascii_digit());
    let numbered = rest.len() < piece.len();
    match rest.strip_prefix(['.', ')']) {
        Some(item) if numbered && item.starts_with(char::is_whitespace) => item.trim_start(),
        _ => piece,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(separators: &[Separator]) -> ReadSpec {
        ReadSpec {
            separators: separators.to_vec(),
            empty: vec!["none".to_owned(), "n/a".to_owned()],
            ..ReadSpec::default()
        }
    }

    fn all(text: &str) -> Option<Vec<String>> {
        use Separator::{And, Comma, Line, Semicolon};
        read_list(text, &spec(&[Line, Comma, Semicolon, And]))
    }

    #[test]
    fn lists_are_read_however_they_are_written() {
        let expected = Some(["aspirin", "vitamin B12", "heparin"].map(str::to_owned).to_vec());
        for text in [
            "aspirin\nvitamin B12\nheparin",
            "- aspirin\n- vitamin B12\n- heparin\n",
            "1. aspirin\n2. vitamin B12\n3) heparin.",
            "aspirin, vitamin B12 and heparin.",
            "aspirin; vitamin B12, and heparin",
            "The medications are:\n* **aspirin**\n* “vitamin B12”\n* heparin",
            "**Medications:**\naspirin,\n'vitamin B12',\nheparin",
        ] {
            assert_eq!(all(text), expected, "{text}");
        }
    }

    #[test]
    fn only_the_separators_of_the_task_cut() {
        let lines = |text| read_list(text, &spec(&[Separator::Line]));
        assert_eq!(lines("nausea and vomiting, mild").unwrap(), ["nausea and vomiting, mild"]);
        assert_eq!(
            all("Anderson syndrome\nRand AND b").unwrap(),
            ["Anderson syndrome", "Rand", "b"]
        );
        assert_eq!(
            all("5-fluorouracil, 1,000 mg, 2.5 mg β-blocker").unwrap(),
            ["5-fluorouracil", "1,000 mg", "2.5 mg β-blocker"]
        );
    }

    #[test]
    fn nothing_and_unreadable_are_not_the_same() {
        assert_eq!(all(" None. "), Some(vec![]));
        assert_eq!(all("N/A"), Some(vec![]));
        assert_eq!(all(""), None);
        assert_eq!(all("- \n***\n"), None);
        assert_eq!(all("Answer:"), None);
    }
}
