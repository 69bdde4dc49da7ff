//! `citation`: an output that cites a publication by a number which the task does not give.
//!
//! Models invent such numbers: about one in five of a strong model's references does not exist (Walters and Wilder 2023), and
//! nothing here can look one up. PMID, PMC number, DOI and trial registration are found by their form; names and years are not.

use bioinstruct_core::record::{Instruction, SeedTask};

use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

struct Citation;

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(Citation))
}

impl Filter for Citation {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let known = format!("{}\n{}", row.instruction, row.input).to_ascii_lowercase();
        let output = row.output.to_ascii_lowercase();
        let (kind, number) =
            citations(&output).into_iter().find(|(_, number)| !known.contains(number))?;
        Some(Objection::because(format!(
            "the output cites {kind} {number}, which the task does not give"
        )))
    }
}

/// What in a lower-case text has the form of a publication's number.
fn citations(text: &str) -> Vec<(&'static str, &str)> {
    let mut found = Vec::new();
    for (label, kind, digits) in [
        ("pmid", "PMID", 5..=9),
        ("pubmed id", "PMID", 5..=9),
        ("pmc", "PMC", 5..=9),
        ("nct", "trial", 8..=8),
    ] {
        for (at, _) in text.match_indices(label) {
            let touches_word = text[..at].ends_with(|character: char| character.is_alphanumeric());
            let rest = text[at + label.len()..].trim_start_matches([':', ' ', '#', '.']);
            let number = leading(rest, |byte| byte.is_ascii_digit());
            if !touches_word && digits.contains(&number.len()) {
                found.push((kind, number));
            }
        }
    }
    for (at, _) in text.match_indices("10.") {
        let registrant = leading(&text[at + 3..], |byte| byte.is_ascii_digit());
        let rest = &text[at + 3 + registrant.len()..];
        let touches_number = text[..at].ends_with(|character: char| character.is_alphanumeric());
        if !touches_number && registrant.len() >= 4 && rest.starts_with('/') {
            let doi = leading(&text[at..], |byte| {
                byte.is_ascii_graphic() && !b"\"<>,;)]".contains(&byte)
            });
            found.push(("DOI", doi.trim_end_matches('.')));
        }
    }
    found
}

/// The longest beginning of `text` whose bytes are all as asked.
fn leading(text: &str, is_part: impl Fn(u8) -> bool) -> &str {
    &text[..text.bytes().take_while(|&byte| is_part(byte)).count()]
}
