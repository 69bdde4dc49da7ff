//! Which action an instruction asks for, and of what: [`extract`] finds its root verb and the noun of its direct object.
//!
//! Self-Instruct and the paper draw the most common pairs as a sunburst, from a neural parser. This is a parser by rule instead: a
//! list of the verbs that instructions use (`data/verbs.txt`), closed classes of function words (`lexicon`), and two grammars, of
//! requests (`clause`) and of noun phrases (`phrase`). English only. How often it is right is measured on labelled instructions in
//! `crates/curate/tests/verb_noun.rs`.

mod clause;
mod lexicon;
mod phrase;

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How the pairs were found, for cards and reports.
pub const METHOD: &str =
    "root verb and head noun of its direct object in the first request of the instruction, by rule";

/// Verbs that [`VerbNouns`] names, as in the paper's figure.
const VERBS_SHOWN: usize = 20;

/// Nouns of each verb, as there.
const NOUNS_SHOWN: usize = 4;

/// What an instruction asks for, in base forms.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerbNoun {
    /// `write` of "Write down the terms"; `be` where the question only joins two things.
    pub verb: String,
    /// `term` of it; nothing without a direct object, or when it is a pronoun or a clause.
    pub noun: Option<String>,
}

/// The first request of `instruction`; nothing when none is recognized.
///
/// ```
/// # use bioinstruct_curate::verb_noun::extract;
/// let found = extract("Given the note, write down all medical terms.").unwrap();
/// assert_eq!((found.verb.as_str(), found.noun.as_deref()), ("write", Some("term")));
/// ```
pub fn extract(instruction: &str) -> Option<VerbNoun> {
    let words = Words::of(instruction);
    sentences(&words.list())
        .into_iter()
        .find_map(|(sentence, is_question)| clause::root(sentence, is_question))
}

/// The tokens of an instruction, in one piece of memory.
struct Words {
    lower: String,
    spans: Vec<Range<usize>>,
}

impl Words {
    /// Words in lower case, and every other sign by itself.
    fn of(text: &str) -> Self {
        let (lower, spans) =
            (String::with_capacity(text.len()), Vec::with_capacity(text.len() / 4));
        let mut words = Self { lower, spans };
        let mut before = ' ';
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let after = characters.peek().copied().unwrap_or(' ');
            let joins = match character {
                '-' | '\'' | '’' | '_' => {
                    words.lower.len() > words.start() && after.is_alphanumeric()
                }
                '.' | ',' | '/' => before.is_ascii_digit() && after.is_ascii_digit(),
                other => other.is_alphanumeric(),
            };
            before = character;
            if joins {
                let plain = if character == '’' { '\'' } else { character };
                if plain.is_ascii() {
                    words.lower.push(plain.to_ascii_lowercase());
                } else {
                    words.lower.extend(plain.to_lowercase());
                }
                continue;
            }
            words.end();
            if !character.is_whitespace() && !"\"“”'‘’*`".contains(character) {
                words.lower.push(character);
                words.end();
            }
        }
        words.end();
        words
    }

    /// Where the token begins that is not ended yet.
    fn start(&self) -> usize {
        self.spans.last().map_or(0, |span| span.end)
    }

    /// Ends that token, if there is any.
    fn end(&mut self) {
        let token = self.start()..self.lower.len();
        if !token.is_empty() {
            self.spans.push(token);
        }
    }

    fn list(&self) -> Vec<&str> {
        self.spans.iter().map(|span| &self.lower[span.clone()]).collect()
    }
}

/// The sentences without their end marks, and whether the mark is that of a question.
fn sentences<'a, 'w>(words: &'w [&'a str]) -> Vec<(&'w [&'a str], bool)> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, word) in words.iter().enumerate() {
        if [".", "?", "!", ":", ";"].contains(word) {
            found.push((&words[start..at], *word == "?"));
            start = at + 1;
        }
    }
    found.push((&words[start..], false));
    found.retain(|(sentence, _)| !sentence.is_empty());
    found
}

/// A noun and how many instructions have it as the object of the verb above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NounCount {
    /// In the singular.
    pub noun: String,
    /// Rows.
    pub rows: usize,
}

/// A verb and its most common nouns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerbCount {
    /// In its base form.
    pub verb: String,
    /// Rows, with any object or none.
    pub rows: usize,
    /// The most common objects, the most common first.
    pub nouns: Vec<NounCount>,
}

/// The data of the sunburst.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerbNouns {
    /// How they were found.
    pub method: String,
    /// Instructions looked at.
    pub rows: usize,
    /// Instructions in which a verb was found.
    pub with_verb: usize,
    /// Instructions in which it has an object.
    pub with_noun: usize,
    /// Different verbs.
    pub verbs: usize,
    /// Different pairs of verb and noun.
    pub pairs: usize,
    /// The most common verbs, the most common first; of equals by the alphabet.
    pub top: Vec<VerbCount>,
}

impl VerbNouns {
    /// Counts what was found in instructions, `None` for those without a request.
    pub fn of(found: &[Option<VerbNoun>]) -> Self {
        let mut by_verb: BTreeMap<&str, (usize, BTreeMap<&str, usize>)> = BTreeMap::new();
        for pair in found.iter().flatten() {
            let (rows, nouns) = by_verb.entry(&pair.verb).or_default();
            *rows += 1;
            if let Some(noun) = &pair.noun {
                *nouns.entry(noun).or_default() += 1;
            }
        }
        let mut top: Vec<VerbCount> = by_verb
            .iter()
            .map(|(&verb, (rows, nouns))| VerbCount {
                verb: verb.to_owned(),
                rows: *rows,
                nouns: most_common(nouns),
            })
            .collect();
        // Equal counts stay in the order of the alphabet.
        top.sort_by_key(|verb| std::cmp::Reverse(verb.rows));
        top.truncate(VERBS_SHOWN);
        let found_pairs = found.iter().flatten();
        Self {
            method: METHOD.to_owned(),
            rows: found.len(),
            with_verb: found_pairs.clone().count(),
            with_noun: found_pairs.filter(|pair| pair.noun.is_some()).count(),
            verbs: by_verb.len(),
            pairs: by_verb.values().map(|(_, nouns)| nouns.len()).sum(),
            top,
        }
    }
}

fn most_common(nouns: &BTreeMap<&str, usize>) -> Vec<NounCount> {
    let mut counted: Vec<NounCount> =
        nouns.iter().map(|(&noun, &rows)| NounCount { noun: noun.to_owned(), rows }).collect();
    counted.sort_by_key(|noun| std::cmp::Reverse(noun.rows));
    counted.truncate(NOUNS_SHOWN);
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_inside_words_and_numbers_join() {
        assert_eq!(
            Words::of("Rate the patient’s “pain” (1.5-2), e.g. now.").list(),
            [
                "rate",
                "the",
                "patient's",
                "pain",
                "(",
                "1.5-2",
                ")",
                ",",
                "e",
                ".",
                "g",
                ".",
                "now",
                "."
            ]
        );
    }

    #[test]
    fn any_text_is_survived() {
        for text in [
            "", "?", ",,,", "’’", "Given", "Given,", "What", "How many", "Is", "Please",
            "of of of", "βλ ç",
        ] {
            let _ = extract(text);
        }
    }

    #[test]
    fn counts_are_sorted_and_cut() {
        let pair = |verb: &str, noun: Option<&str>| {
            Some(VerbNoun { verb: verb.to_owned(), noun: noun.map(str::to_owned) })
        };
        let mut found = vec![None, pair("write", None), pair("list", Some("drug"))];
        found.extend(vec![pair("list", Some("gene")); 2]);
        let counted = VerbNouns::of(&found);
        assert_eq!((counted.rows, counted.with_verb, counted.with_noun), (5, 4, 3));
        assert_eq!((counted.verbs, counted.pairs), (2, 2));
        assert_eq!((counted.top[0].verb.as_str(), counted.top[0].rows), ("list", 3));
        assert_eq!(counted.top[0].nouns[0], NounCount { noun: "gene".to_owned(), rows: 2 });
        assert!(counted.top[1].nouns.is_empty());
    }
}
