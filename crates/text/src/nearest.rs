//! How near the nearest other text is by ROUGE-L: [`nearest_texts`], exact for some of many texts; and [`pairwise_f1`].
//!
//! A common subsequence is no longer than the texts' overlap as multisets of tokens, and a posting list for each word (for each of
//! its occurrences in a text) counts the overlaps of one text with all others in one go. The others are then compared in the order
//! of that bound, until it is lower than the best score: that are few.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use rayon::prelude::*;

use crate::lcs::LcsPattern;
use crate::numbered::NumberedTexts;
use crate::rouge::RougeScore;

/// The text that another one resembles most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Its place; of equals the first.
    pub text: usize,
    /// ROUGE-L F1 of the two.
    pub f1: f64,
}

impl Nearest {
    fn stronger(self, other: Self) -> Self {
        let other_wins = other.f1 > self.f1 || (other.f1 >= self.f1 && other.text < self.text);
        if other_wins { other } else { self }
    }
}

/// For each of the places `asked` the nearest of all *other* `texts` by ROUGE-L F1; nothing where no other text shares a token.
///
/// Time and memory grow with the tokens of `texts`; each of the places asked takes as long as it has words, and texts have them.
///
/// ```
/// # use bioinstruct_text::nearest::nearest_texts;
/// # use bioinstruct_text::numbered::NumberedTexts;
/// let texts = NumberedTexts::of(&["list the drugs", "name every gene", "list all drugs"]);
/// let nearest = nearest_texts(&texts, &[0, 1]);
/// assert_eq!((nearest[0].unwrap().text, nearest[1]), (2, None));
/// ```
///
/// # Panics
/// When `asked` names a place that is not there, or there are 2³² texts.
pub fn nearest_texts(texts: &NumberedTexts, asked: &[usize]) -> Vec<Option<Nearest>> {
    let postings = Postings::of(texts);
    let found =
        asked.par_iter().map_init(|| Bounds::of(texts), |bounds, &at| postings.nearest(at, bounds));
    found.collect()
}

/// Which texts have which word how often.
struct Postings<'t> {
    texts: &'t NumberedTexts,
    /// The element that each token is: the second occurrence of a word in a text is another one than its first.
    elements: Vec<u32>,
    /// The texts that have an element, ascending, of all elements one after the other.
    with: Vec<u32>,
    /// Where those of each element begin; at last where they end.
    starts: Vec<usize>,
}

impl<'t> Postings<'t> {
    fn of(texts: &'t NumberedTexts) -> Self {
        let (elements, kinds) = elements(texts);
        // Counted one place ahead, so that filling the lists turns each beginning into the next one.
        let mut starts = vec![0; kinds + 2];
        for &element in &elements {
            starts[element as usize + 2] += 1;
        }
        for kind in 2..starts.len() {
            starts[kind] += starts[kind - 1];
        }
        let mut with = vec![0; elements.len()];
        for text in 0..texts.len() {
            for &element in &elements[texts.range(text)] {
                let next = &mut starts[element as usize + 1];
                with[*next] = u32::try_from(text).expect("four thousand million texts do not fit");
                *next += 1;
            }
        }
        Self { texts, elements, with, starts }
    }

    /// The text nearest to the one at `at`, with the memory for bounds.
    fn nearest(&self, at: usize, bounds: &mut Bounds) -> Option<Nearest> {
        bounds.overlaps.fill(0);
        for &element in &self.elements[self.texts.range(at)] {
            let element = element as usize;
            for &text in &self.with[self.starts[element]..self.starts[element + 1]] {
                bounds.overlaps[text as usize] += 1;
            }
        }
        bounds.overlaps[at] = 0;
        let query = self.texts.tokens(at);
        let pattern = LcsPattern::new(query);
        let f1 = |shared: usize, text: usize| {
            RougeScore::from_counts(shared, query.len(), self.texts.tokens(text).len()).f1
        };
        let compare = |text: usize| {
            let lcs = pattern.length_with(self.texts.tokens(text));
            Nearest { text, f1: f1(lcs, text) }
        };
        let mut best = compare(bounds.highest(query.len())?);
        let reaching = bounds
            .reaching(best.f1)
            .map(|text| Nearest { text, f1: f1(bounds.overlaps[text] as usize, text) });
        let mut reaching: Vec<Nearest> = reaching.collect();
        reaching.sort_by(|left, right| right.f1.total_cmp(&left.f1));
        for bound in reaching {
            if bound.f1 < best.f1 {
                break;
            }
            best = best.stronger(compare(bound.text));
        }
        Some(best)
    }
}

/// What the F1 of one text with each other one is at most. The loops over all texts are ones that the compiler vectorizes.
struct Bounds {
    /// Tokens of each text.
    lengths: Vec<i32>,
    /// Tokens that each text shares with the one that is asked about.
    overlaps: Vec<i32>,
    /// Half of F1, if all of them stood in the same order; rounded.
    halves: Vec<f32>,
}

impl Bounds {
    fn of(texts: &NumberedTexts) -> Self {
        let lengths = (0..texts.len()).map(|text| texts.range(text).len() as i32).collect();
        Self { lengths, overlaps: vec![0; texts.len()], halves: vec![0.0; texts.len()] }
    }

    /// The text with the highest bound for one of `length` tokens; nothing when none shares a token with it.
    fn highest(&mut self, length: usize) -> Option<usize> {
        let overlaps = self.overlaps.iter().zip(&self.lengths);
        for (half, (&overlap, &other)) in self.halves.iter_mut().zip(overlaps) {
            *half = overlap as f32 / (other + length as i32) as f32;
        }
        let (chunks, rest) = self.halves.as_chunks::<8>();
        let mut highest = [0.0_f32; 8];
        for chunk in chunks {
            for (highest, &half) in highest.iter_mut().zip(chunk) {
                *highest = if half > *highest { half } else { *highest };
            }
        }
        let highest = highest.iter().chain(rest).copied().fold(0.0, f32::max);
        (highest > 0.0).then(|| self.halves.iter().position(|&half| half >= highest))?
    }

    /// The texts whose bound is `f1` or more, or would be but for rounding.
    fn reaching(&self, f1: f64) -> impl Iterator<Item = usize> {
        let least = (f1 / 2.0 * (1.0 - 1e-6)) as f32;
        self.halves
            .iter()
            .enumerate()
            .filter(move |(_, half)| **half >= least)
            .map(|(text, _)| text)
    }
}

/// The element of each token, and how many elements there are: as many as tokens, and those of later occurrences.
fn elements(texts: &NumberedTexts) -> (Vec<u32>, usize) {
    let tokens = (0..texts.len()).flat_map(|text| texts.tokens(text)).copied();
    let kinds = tokens.max().map_or(0, |highest| highest as usize + 1);
    let mut later: HashMap<(u32, u32), u32, FixedState> = HashMap::default();
    // The text that had a token last, and how often it has had it.
    let mut seen = vec![(usize::MAX, 0_u32); kinds];
    let mut elements = Vec::new();
    for text in 0..texts.len() {
        for &token in texts.tokens(text) {
            let (last, count) = &mut seen[token as usize];
            *count = if *last == text { *count + 1 } else { 0 };
            *last = text;
            let next = kinds + later.len();
            elements.push(match *count {
                0 => token,
                count => *later
                    .entry((token, count))
                    .or_insert(u32::try_from(next).expect("fewer elements than tokens")),
            });
        }
    }
    (elements, kinds + later.len())
}

/// ROUGE-L F1 of every pair of `texts`, in the order (0, 1), (0, 2), …, (1, 2), …; quadratic, for samples.
pub fn pairwise_f1<T: AsRef<str> + Sync>(texts: &[T]) -> Vec<f64> {
    let texts = NumberedTexts::of(texts);
    let with_later = |at: usize| -> Vec<f64> {
        let (texts, left) = (&texts, texts.tokens(at));
        let pattern = LcsPattern::new(left);
        let score = |later: usize| {
            let right = texts.tokens(later);
            RougeScore::from_counts(pattern.length_with(right), left.len(), right.len()).f1
        };
        (at + 1..texts.len()).map(score).collect()
    };
    (0..texts.len()).into_par_iter().flat_map_iter(with_later).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rouge::{RougeKind, Stemmer, rouge};

    fn f1(left: &str, right: &str) -> f64 {
        rouge(RougeKind::L, left, right, Stemmer::Off).f1
    }

    proptest! {
        /// The definition: the highest of all scores, the first text that reaches it.
        #[test]
        fn the_nearest_is_the_highest_of_all_pairs(
            texts in prop::collection::vec("([a-e] ){0,9}[a-e]?", 1..24),
        ) {
            let asked: Vec<usize> = (0..texts.len()).rev().collect();
            let found = nearest_texts(&NumberedTexts::of(&texts), &asked);
            for (&at, found) in asked.iter().zip(found) {
                let others = (0..texts.len()).filter(|&other| other != at);
                let scores: Vec<(usize, f64)> =
                    others.map(|other| (other, f1(&texts[at], &texts[other]))).collect();
                let highest = scores.iter().map(|&(_, score)| score).fold(0.0, f64::max);
                let first = scores.iter().find(|&&(_, score)| score >= highest && score > 0.0);
                let expected = first.map(|&(text, f1)| Nearest { text, f1 });
                prop_assert_eq!(found, expected);
            }
            let pairs = pairwise_f1(&texts);
            let mut at = 0;
            for left in 0..texts.len() {
                for right in left + 1..texts.len() {
                    prop_assert!((pairs[at] - f1(&texts[left], &texts[right])).abs() < 1e-15);
                    at += 1;
                }
            }
            prop_assert_eq!(at, pairs.len());
        }
    }
}
