//! [`Selection`]: the words that the gradient of the head multiplies one by one, and a row that stands for all others.
//!
//! Leaving out words with a small p is known to spare most of the backward's work (gradient filtering: Wijmans et al. 2024,
//! "Cut your losses in large-vocabulary language models"), but the small ones add up: in text of a high entropy those below
//! 2⁻¹² hold a fifth of the softmax. Here nothing is left out. A word is rare that has less than [`LEAST_SHARE`] of the softmax
//! over the words so far but the label, in each row; and Σ p W over the rare words becomes (Σ p) · W̄: what the row gives them in
//! truth, times their mean, weighted by the greatest share of each.
//!
//! Words that have nothing to do with one another err by √(Σ p²) at most, 2⁻⁷ of a word's row. On the demo model and 512, 64 and 16
//! rows at a time, clinical notes (2.6 nats a word) leave 40, 16 and 8 % of the vocabulary and move the gradient by x by 0.0011,
//! 0.0020 and 0.0025 of its length; random words (6.1 nats) 18, 8 and 6 %, and 0.0016, 0.0020 and 0.0021. Rounding each p to bfloat16
//! moves it by 0.0011. With logits divided by three, where a row knows next to nothing (10 nats), it is 0.012 at most.

use std::ops::Range;

use crate::kernels::KernelPath;
use crate::kernels::source::{Direction, Source, Values};
use crate::kernels::threads::Threads;
use crate::ops::project::Matrix;

/// The share of a row's softmax below which a word is rare for it. At twice as much, the gradient of a factor of the demo model
/// came out at a cosine of 0.9988 with the one in 32 bits.
pub(super) const LEAST_SHARE: f32 = 1.0 / 16384.0;
/// Words whose rows one task reads.
const STRETCH: usize = 128;

/// Values that a choice among so many words holds, where there is one.
pub(super) const fn values(words: usize, hidden: usize) -> usize {
    let (rows, sums) = lengths(words);
    (rows + sums) * hidden
}

/// Rows, and sums of rows, that a choice among so many words holds.
const fn lengths(words: usize) -> (usize, usize) {
    (most(words) + 1, words.div_ceil(STRETCH))
}

/// Of so many words, how many are chosen at most: to multiply more of them for themselves, it is best to take all as they lie.
const fn most(words: usize) -> usize {
    words * 3 / 4
}

/// A choice of words.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Those that are multiplied one by one.
    chosen: Vec<u32>,
    /// Their rows, and behind them the one of all others.
    rows: Vec<f32>,
    /// Of each stretch of words, the weighted sum of the others.
    sums: Vec<f32>,
}

impl Selection {
    /// Values held.
    pub(super) fn values(&self) -> usize {
        self.rows.len() + self.sums.len()
    }

    /// Room for any choice among so many words.
    fn reserve(&mut self, words: usize, hidden: usize) {
        let (rows, sums) = lengths(words);
        self.rows.resize(self.rows.len().max(rows * hidden), 0.0);
        self.sums.resize(self.sums.len().max(sums * hidden), 0.0);
    }

    /// What weights of `words` are multiplied with, and which words they are of: of all, where few are rare or no shares are
    /// given; else of these and, last, of all others together. `shares` are the logarithms of each word's greatest share.
    pub(super) fn choose<'a>(
        &'a mut self,
        (path, threads): (KernelPath, &Threads),
        (head, words): (&'a Matrix, Range<usize>),
        shares: Option<&[f32]>,
        least_share: f32,
    ) -> (Source<'a>, Option<&'a [u32]>) {
        let all = head.source(Direction::AsStored).of_rows(words.clone());
        let Some(shares) = shares else { return (all, None) };
        let (hidden, least) = (head.input, least_share.ln());
        self.reserve(words.len(), hidden);
        self.chosen.clear();
        let kept = (0u32..).zip(shares).filter(|(_, share)| **share >= least);
        self.chosen.extend(kept.map(|(word, _)| word));
        if self.chosen.len() > most(words.len()) {
            return (all, None);
        }
        self.take_rows(threads, head, words.start);
        self.take_mean((path, threads), head, words.start, shares);
        let rows = Values::F32(&self.rows[..(self.chosen.len() + 1) * hidden]);
        (Source::new(rows, hidden, Direction::AsStored), Some(&self.chosen))
    }

    /// The rows of the chosen words, the first of all words being `first`.
    fn take_rows(&mut self, threads: &Threads, head: &Matrix, first: usize) {
        let rows = &mut self.rows[..self.chosen.len() * head.input];
        threads.for_rows(rows, head.input, STRETCH, |numbers, rows| {
            for (row, word) in rows.chunks_exact_mut(head.input).zip(&self.chosen[numbers]) {
                head.row(first + *word as usize, row);
            }
        });
    }

    /// Behind them, the mean of the other words' rows, weighted by their shares.
    fn take_mean(
        &mut self,
        (path, threads): (KernelPath, &Threads),
        head: &Matrix,
        first: usize,
        shares: &[f32],
    ) {
        let hidden = head.input;
        let mut weights: Vec<f32> = shares.iter().map(|share| share.exp()).collect();
        for word in &self.chosen {
            weights[*word as usize] = 0.0;
        }
        let sums = &mut self.sums[..shares.len().div_ceil(STRETCH) * hidden];
        threads.for_rows(sums, hidden, 1, |stretch, sum| {
            sum.fill(0.0);
            let mut row = vec![0.0; hidden];
            let stretch = stretch.start * STRETCH;
            for (word, weight) in (stretch..).zip(&weights[stretch..]).take(STRETCH) {
                if *weight > 0.0 {
                    head.add_row(path, first + word, *weight, sum, &mut row);
                }
            }
        });
        let total: f32 = weights.iter().sum();
        let mean = &mut self.rows[self.chosen.len() * hidden..][..hidden];
        mean.fill(0.0);
        for sum in sums.chunks_exact(hidden).filter(|_| total > 0.0) {
            mean.iter_mut().zip(sum).for_each(|(mean, sum)| *mean += sum / total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::TensorView;
    use crate::kernels::lanes::Precision;

    /// Word w of nine is (w, 10 w).
    fn head() -> Matrix {
        let values: Vec<f32> = (0..9).flat_map(|word| [word as f32, 10.0 * word as f32]).collect();
        let tensor = TensorView::of_floats(&[9, 2], &values);
        Matrix::new(&Threads::new(1).unwrap(), &tensor, Precision::F32)
    }

    fn choose(shares: &[f32], least: f32) -> Option<(Vec<u32>, Vec<f32>)> {
        let (head, mut selection) = (head(), Selection::default());
        let logarithms: Vec<f32> = shares.iter().map(|share| share.ln()).collect();
        let threads = Threads::new(2).unwrap();
        let words = 1..1 + shares.len();
        let context = (KernelPath::Portable, &threads);
        let (source, chosen) = selection.choose(context, (&head, words), Some(&logarithms), least);
        let chosen = chosen?.to_vec();
        let Values::F32(rows) = source.values else { panic!("a choice is in 32 bits") };
        assert_eq!((source.k(), source.n()), (chosen.len() + 1, 2));
        Some((chosen, rows.to_vec()))
    }

    #[test]
    fn rare_words_share_the_mean_of_their_rows() {
        let (chosen, rows) = choose(&[0.5, 0.02, 0.06, 0.1, 0.0, 0.02], 0.1).unwrap();
        assert_eq!(chosen, [0, 3]);
        assert_eq!(rows[..4], [1.0, 10.0, 4.0, 40.0]);
        let mean = (0.02 * 2.0 + 0.06 * 3.0 + 0.02 * 6.0) / 0.1;
        assert!((rows[4] - mean).abs() < 1e-5 && (rows[5] - 10.0 * mean).abs() < 1e-4, "{rows:?}");
    }

    #[test]
    fn words_that_no_row_gives_anything_have_no_mean() {
        assert_eq!(choose(&[0.0; 8], 0.1), Some((vec![], vec![0.0; 2])));
    }

    #[test]
    fn where_few_are_rare_all_are_multiplied() {
        assert_eq!(choose(&[0.2, 0.2, 0.3, 0.2, 0.01], 0.1), None);
        assert!(choose(&[0.2, 0.3, 0.2, 0.01, 0.02], 0.1).is_some());
    }
}
