//! `language`: an instruction or an output that is not in English.
//!
//! Two signs: more than three letters in ten of another script, or more function words of another language than of English
//! (three at least, and hardly any English ones). Greek letters count as symbols. Where the instruction speaks of a language
//! or a translation, the output may be in any; the input may always.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::normalize::fold_case;

use super::keyword::holds_word;
use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

/// Function words that few texts of eight words do without.
const ENGLISH: &[&str] = &[
    "the", "of", "and", "to", "in", "a", "is", "for", "with", "on", "are", "as", "by", "that",
    "from", "an", "be", "or", "which", "this", "it", "was", "at", "not", "can", "what", "how",
    "their", "has", "have", "you", "your",
];

/// Function words of other languages that are not English words.
const OTHERS: [(&str, &[&str]); 6] = [
    (
        "Spanish",
        &[
            "el",
            "la",
            "los",
            "las",
            "de",
            "en",
            "son",
            "que",
            "una",
            "por",
            "para",
            "con",
            "del",
            "es",
            "se",
            "como",
            "pacientes",
        ],
    ),
    (
        "French",
        &[
            "le", "la", "les", "de", "des", "du", "et", "une", "est", "dans", "pour", "que", "qui",
            "sur", "avec", "au",
        ],
    ),
    (
        "German",
        &[
            "der", "das", "und", "ist", "nicht", "mit", "ein", "eine", "für", "von", "den", "zu",
            "im", "auf",
        ],
    ),
    (
        "Portuguese",
        &[
            "os",
            "que",
            "em",
            "um",
            "uma",
            "para",
            "com",
            "não",
            "dos",
            "das",
            "mais",
            "são",
            "pacientes",
        ],
    ),
    (
        "Italian",
        &["il", "di", "che", "una", "per", "con", "non", "della", "dei", "è", "gli", "nel", "sono"],
    ),
    (
        "Dutch",
        &[
            "het", "een", "en", "van", "met", "voor", "niet", "op", "zijn", "wordt", "ook", "bij",
            "aan",
        ],
    ),
];

/// Words in an instruction that announce another language.
const ANNOUNCEMENTS: [&str; 14] = [
    "language",
    "languages",
    "translate",
    "translation",
    "translating",
    "spanish",
    "french",
    "german",
    "portuguese",
    "italian",
    "dutch",
    "chinese",
    "latin",
    "bilingual",
];

struct Language;

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(Language))
}

impl Filter for Language {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let object = |field: &str, sign: String| {
            Some(Objection::because(format!("the {field} is not in English: {sign}")))
        };
        let instruction = fold_case(&row.instruction);
        if let Some(sign) = foreign_sign(&instruction) {
            return object("instruction", sign);
        }
        if ANNOUNCEMENTS.iter().any(|word| holds_word(&instruction, word)) {
            return None;
        }
        object("output", foreign_sign(&fold_case(&row.output))?)
    }
}

/// What shows that a case-folded text is not English.
fn foreign_sign(text: &str) -> Option<String> {
    let letters = text.chars().filter(|character| character.is_alphabetic());
    let (mut all, mut foreign) = (0, 0);
    for letter in letters {
        all += 1;
        foreign += usize::from(!is_latin_or_greek(letter));
    }
    if foreign >= 5 && 10 * foreign > 3 * all {
        return Some(format!("{foreign} of its {all} letters are of another script"));
    }
    let words: Vec<&str> = text
        .split(|character: char| !character.is_alphabetic())
        .filter(|word| !word.is_empty())
        .collect();
    let count = |known: &[&str]| words.iter().filter(|word| known.contains(word)).count();
    let english = count(ENGLISH);
    if 10 * english > words.len() {
        return None;
    }
    let (language, hits) = OTHERS
        .iter()
        .map(|(language, known)| (language, count(known)))
        .max_by_key(|&(_, hits)| hits)?;
    (hits >= 3 && hits > 2 * english && 10 * hits > words.len())
        .then(|| format!("{hits} of its {} words are {language} function words", words.len()))
}

fn is_latin_or_greek(letter: char) -> bool {
    matches!(letter, '\0'..='\u{24f}' | '\u{370}'..='\u{3ff}' | '\u{1e00}'..='\u{1eff}' | '\u{1d00}'..='\u{1dbf}'
        | '\u{2070}'..='\u{214f}' | '\u{2b0}'..='\u{36f}' | '\u{fb00}'..='\u{fb06}' | '\u{1d400}'..='\u{1d7ff}')
}
