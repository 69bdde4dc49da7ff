//! `identifier`: a row that holds something by which a person could be found.
//!
//! Forms that are plain to see: e-mail addresses, telephone and social security numbers, IP addresses, and what stands behind
//! a label such as `MRN:` or `Patient name:`. Reasons name the kind, never the text. Toll-free numbers belong to institutions.
//! Synthetic notes invent such details; this filter cannot tell invented from real ones, and it does not find names as such.

use bioinstruct_core::record::{Instruction, SeedTask};

use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

/// Labels in lower case, what they announce, and whether that is a number.
const LABELS: [(&str, &str, bool); 17] = [
    ("mrn", "a medical record number", true),
    ("medical record number", "a medical record number", true),
    ("medical record no", "a medical record number", true),
    ("patient id", "a patient's number", true),
    ("accession number", "an accession number", true),
    ("accession no", "an accession number", true),
    ("account number", "an account number", true),
    ("insurance id", "an insurance number", true),
    ("policy number", "an insurance number", true),
    ("ssn", "a social security number", true),
    ("date of birth", "a date of birth", true),
    ("dob", "a date of birth", true),
    ("phone", "a telephone number", true),
    ("home address", "an address", false),
    ("patient name", "a patient's name", false),
    ("patient's name", "a patient's name", false),
    ("name of patient", "a patient's name", false),
];

/// First three digits of telephone numbers that cost the caller nothing, and of service lines.
const TOLL_FREE: [&str; 8] = ["800", "833", "844", "855", "866", "877", "888", "900"];

struct Identifier;

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(Identifier))
}

impl Filter for Identifier {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        [("instruction", &row.instruction), ("input", &row.input), ("output", &row.output)]
            .into_iter()
            .find_map(|(field, text)| {
                let kind = identifier_in(text)?;
                Some(Objection::because(format!("the {field} holds {kind}")))
            })
    }
}

/// The kind of the first identifier found.
fn identifier_in(text: &str) -> Option<&'static str> {
    if text.split_whitespace().any(is_email) {
        return Some("an e-mail address");
    }
    number_kind(text).or_else(|| labelled(&text.to_ascii_lowercase()))
}

fn is_email(word: &str) -> bool {
    let word = word.trim_matches(|character: char| !character.is_alphanumeric());
    word.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty()
            && host.split('.').count() >= 2
            && host.rsplit('.').next().is_some_and(|top| {
                (2..=6).contains(&top.len()) && top.bytes().all(|byte| byte.is_ascii_alphabetic())
            })
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
    })
}

/// Looks at each stretch of digits and what joins them.
fn number_kind(text: &str) -> Option<&'static str> {
    let joins = |byte: u8| byte.is_ascii_digit() || b"-.() ".contains(&byte);
    let mut stretches =
        text.split(|character: char| !character.is_ascii() || !joins(character as u8));
    stretches.find_map(|stretch| {
        let stretch = stretch.trim_matches([' ', '.', '-']);
        if stretch.len() < 7 {
            return None; // the space between two words, for the most part
        }
        let shape: String = stretch
            .chars()
            .map(|character| if character.is_ascii_digit() { 'd' } else { character })
            .collect();
        let bare = shape.strip_prefix("d-").or_else(|| shape.strip_prefix("d ")).unwrap_or(&shape);
        if shape == "ddd-dd-dddd" {
            return Some("a social security number");
        }
        let is_telephone = matches!(
            bare,
            "ddd-ddd-dddd"
                | "(ddd) ddd-dddd"
                | "(ddd)ddd-dddd"
                | "ddd.ddd.dddd"
                | "ddd ddd dddd"
                | "(ddd) ddd dddd"
        );
        let number = stretch[stretch.len() - bare.len()..].trim_start_matches('(');
        if is_telephone && !TOLL_FREE.iter().any(|area| number.starts_with(area)) {
            return Some("a telephone number");
        }
        let octets: Vec<&str> = stretch.split('.').collect();
        let is_address = octets.len() == 4
            && octets.iter().all(|octet| octet.parse::<u8>().is_ok())
            && octets.iter().any(|octet| octet.len() == 3);
        is_address.then_some("an IP address")
    })
}

/// What stands behind a label and its colon, in a lower-case text.
fn labelled(text: &str) -> Option<&'static str> {
    text.match_indices(':').find_map(|(at, _)| {
        let before = text[..at].trim_end_matches(['.', ' ', '*', '#']);
        let is_label = |label: &str| {
            before
                .strip_suffix(label)
                .is_some_and(|rest| !rest.ends_with(|last: char| last.is_alphanumeric()))
        };
        let (_, kind, is_number) = LABELS.into_iter().find(|(label, _, _)| is_label(label))?;
        // Behind the colon the thing itself, and no gap such as `[NAME]` or `____`.
        let value = text[at + 1..].trim_start_matches(['*', ' ', '#', '(', '+']);
        let is_there = if is_number {
            value.bytes().take(14).filter(u8::is_ascii_digit).count() >= 4
        } else {
            let absent = ["not ", "unknown", "n/a", "none", "redacted", "withheld"];
            value.starts_with(|first: char| first.is_alphanumeric())
                && !absent.iter().any(|absent| value.starts_with(absent))
        };
        is_there.then_some(kind)
    })
}
