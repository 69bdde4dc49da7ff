//! How near the nearest other text is, for texts that no rule judges: [`nearest_texts`].

use rayon::prelude::*;

use super::conflicts_in_groups;
use super::index::RowIndex;
use super::numbering::queries_of;
use super::rule::{LeastLcs, NoveltyRule};
use super::search::{Query, Seeker};
use crate::lcs::LcsPattern;
use crate::rouge::RougeScore;
use crate::vocabulary::Vocabulary;

/// The text that another one resembles most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Its place; of equals the first.
    pub text: usize,
    /// ROUGE-L F1 of the two.
    pub f1: f64,
}

/// For each of the places `asked` the nearest of all *other* `texts` by ROUGE-L F1; nothing where no other text shares a token.
///
/// Exact: every pair is compared or shown to be farther than one that was. Two texts of a few dozen tokens take some tens of
/// nanoseconds, so the whole is quadratic when all texts are asked about, and linear for a sample.
///
/// ```
/// # use bioinstruct_text::novelty::nearest_texts;
/// let texts = ["list the drugs", "name every gene", "list all drugs"];
/// let nearest = nearest_texts(&texts, &[0, 1]);
/// assert_eq!((nearest[0].unwrap().text, nearest[1]), (2, None));
/// ```
///
/// # Panics
/// When `asked` names a place that is not there.
pub fn nearest_texts<T: AsRef<str> + Sync>(texts: &[T], asked: &[usize]) -> Vec<Option<Nearest>> {
    // Nothing is too little to be of interest, so one common token is a "conflict" and the strongest one is the nearest.
    let least = LeastLcs::of(NoveltyRule::Below(f64::MIN_POSITIVE));
    let queries = queries_of(&mut Vocabulary::new(), texts, |own| own);
    let mut index = RowIndex::default();
    for query in &queries {
        index.push(query);
    }
    let chosen: Vec<Query> = asked.iter().map(|&at| queries[at].for_all_lengths()).collect();
    let found = conflicts_in_groups(&least, &index, &chosen, |place| {
        Seeker::of_row(&chosen[place], asked[place])
    });
    let nearest = |found: super::Conflict| Nearest { text: found.row, f1: found.f1 };
    found.into_iter().map(|found| found.map(nearest)).collect()
}

/// ROUGE-L F1 of every pair of `texts`, in the order (0, 1), (0, 2), …, (1, 2), …; quadratic, for samples.
pub fn pairwise_f1<T: AsRef<str> + Sync>(texts: &[T]) -> Vec<f64> {
    let queries = queries_of(&mut Vocabulary::new(), texts, |own| own);
    let with_later = |(at, left): (usize, &Query)| -> Vec<f64> {
        let pattern = LcsPattern::new(left.tokens());
        let score = |right: &Query| {
            if left.length() == 0 || right.length() == 0 {
                return 0.0;
            }
            let lcs = pattern.length_with(right.tokens());
            RougeScore::from_counts(lcs, left.length(), right.length()).f1
        };
        queries[at + 1..].iter().map(score).collect()
    };
    queries.par_iter().enumerate().flat_map_iter(with_later).collect()
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
            let found = nearest_texts(&texts, &asked);
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
