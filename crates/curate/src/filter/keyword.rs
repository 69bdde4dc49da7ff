//! `keyword`: an instruction that asks for what a language model cannot do, recognised by single words.
//!
//! Words are found whole and in any case, so `MAP` (mean arterial pressure) is `map`: the paper's short list avoids such
//! words. Self-Instruct and Alpaca also drop instructions by how they begin.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::normalize::fold_case;

use super::{Filter, Objection};
use crate::config::Rules;
use crate::{CurateError, Dialect};

struct Keyword {
    /// Case folded.
    words: Vec<String>,
    looks_at_beginning: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(rules: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(Keyword {
        words: rules.keywords.iter().map(|word| fold_keyword(word.trim())).collect(),
        looks_at_beginning: matches!(rules.dialect, Dialect::Alpaca | Dialect::SelfInstruct),
    }))
}

impl Filter for Keyword {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let folded = fold_keyword(&row.instruction);
        if let Some(word) = self.words.iter().find(|word| holds_word(&folded, word)) {
            return Some(Objection::because(format!("the instruction holds `{word}`")));
        }
        if !self.looks_at_beginning {
            return None;
        }
        if row.instruction.starts_with("Write a program") {
            return Some(Objection::because("the instruction asks for a program"));
        }
        let first = row.instruction.chars().next()?;
        (first.is_ascii_punctuation() || !first.is_ascii())
            .then(|| Objection::because(format!("the instruction begins with `{first}`")))
    }
}

/// Case folded, and the Turkish i's made one, as Python's `re.IGNORECASE` takes them.
fn fold_keyword(text: &str) -> String {
    fold_case(&text.replace(['İ', 'ı'], "i"))
}

/// Whether `word` stands in `text` with no letter, digit or underscore touching it, as `\b` in a regular expression.
pub(super) fn holds_word(text: &str, word: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        assert!(holds_word("describe the image.", "image"));
        assert!(holds_word("image-based", "image"));
        assert!(holds_word("go to the ward", "go to"));
        for text in ["imagery", "telegraph", "graph_1", "paragraph 2", "imaging"] {
            assert!(!holds_word(text, "image") && !holds_word(text, "graph"), "{text}");
        }
        assert!(holds_word("paragraph, graph", "graph"));
    }
}
