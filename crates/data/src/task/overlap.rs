//! Which items also stand in training texts: [`find`], and which texts hold one: [`holding`].
//!
//! Texts are compared as case-folded words. An item counts as seen when a training text holds all its words in a row, or, for
//! an item of fewer than [`OPENING`] words, when a training text is nothing else: a short question such as "What is asthma?"
//! stands inside too many texts to mean anything.

use std::collections::HashMap;

use bioinstruct_text::normalize::{fold_case, words};
use bioinstruct_text::vocabulary::Vocabulary;

/// Words by which a long item is looked up.
const OPENING: usize = 8;

/// For each item the position of the first training text that holds it.
pub(super) fn find(items: &[&str], training: &[impl AsRef<str>]) -> Vec<Option<usize>> {
    let mut found = vec![None; items.len()];
    each_match(items, training, |item, text| {
        found[item].get_or_insert(text);
    });
    found
}

/// For each training text whether it holds any item.
pub(super) fn holding(items: &[&str], training: &[impl AsRef<str>]) -> Vec<bool> {
    let mut holds = vec![false; training.len()];
    each_match(items, training, |_, text| holds[text] = true);
    holds
}

/// Calls `matched(item, text)` for every training text that holds an item, in the order of the texts.
fn each_match(items: &[&str], training: &[impl AsRef<str>], mut matched: impl FnMut(usize, usize)) {
    let mut vocabulary = Vocabulary::new();
    let items: Vec<Vec<u32>> = items
        .iter()
        .map(|text| words(&fold_case(text)).map(|word| vocabulary.add(word)).collect())
        .collect();
    let mut whole: HashMap<&[u32], Vec<usize>> = HashMap::new();
    let mut opening: HashMap<&[u32], Vec<usize>> = HashMap::new();
    for (position, item) in items.iter().enumerate() {
        match item.get(..OPENING) {
            Some(first) => opening.entry(first).or_default().push(position),
            None if item.is_empty() => {}
            None => whole.entry(item).or_default().push(position),
        }
    }
    for (position, text) in training.iter().enumerate() {
        let text: Vec<u32> =
            words(&fold_case(text.as_ref())).map(|word| vocabulary.lookup(word)).collect();
        for &item in whole.get(text.as_slice()).into_iter().flatten() {
            matched(item, position);
        }
        for (start, window) in text.windows(OPENING).enumerate() {
            for &item in opening.get(window).into_iter().flatten() {
                if text[start..].starts_with(&items[item]) {
                    matched(item, position);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{find, holding};

    #[test]
    fn long_items_are_found_inside_and_short_ones_only_as_a_whole() {
        let items = [
            "Doctor: How long has the KNEE hurt?\nPatient: Two weeks.",
            "What is asthma?",
            "",
            "one two three four five six seven eight nine",
            "one two three four five six seven eight ten",
        ];
        let training = [
            "Explain: what is asthma?",
            "Section: CC\n\ndoctor: how long has  the knee hurt? patient: two weeks.\nEnd",
            "zero one two three four five six seven eight nine",
            "WHAT is asthma?",
            "doctor: how long has the knee hurt? patient: two weeks.",
        ];
        assert_eq!(find(&items, &training), [Some(1), Some(3), None, Some(2), None]);
        assert_eq!(holding(&items, &training), [false, true, true, true, true]);
    }
}
