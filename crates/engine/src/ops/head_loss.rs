//! The output head with softmax cross-entropy, forward and backward in one walk through the vocabulary.
//!
//! With z = W x the logits of a row and t its label, the loss is ln Σ exp z − z of t, and its gradient by x is Σ p W over the
//! other words − (1 − p of t) W of t. Logits exist for some words at a time only. What has been summed so far is relative to
//! the greatest logit so far, and is multiplied down when a greater one comes (Milakov & Gimelshein 2018). The label stays out
//! of these sums: what a sure row has left to learn is what the other words get, which would be lost in 1 − p.

use std::ops::Range;

use super::project::Matrix;
use super::shared::Shared;
use crate::kernels::KernelPath;
use crate::kernels::gemm::{LeftBuffer, Output, Product, Term, multiply};
use crate::kernels::lanes::Lane;
use crate::kernels::simd::{Arithmetic, LANES, dispatch, exp, fold, maximum};
use crate::kernels::source::Direction;
use crate::kernels::threads::Threads;

/// Words whose logits exist at once: enough for every thread, and few enough that their logits stay in the cache.
pub const WORDS: usize = 2304;
/// Values that are kept of each row on the way.
pub const ROW: usize = 3;
/// Rows of one task.
const TASK: usize = 8;

/// Buffers that calls share.
#[derive(Debug, Default)]
pub struct Scratch {
    x: LeftBuffer,
    logits: Vec<f32>,
    weights: LeftBuffer,
    rows: Vec<f32>,
}

impl Scratch {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let values = self.logits.len() + self.rows.len();
        values * size_of::<f32>() + self.x.bytes() + self.weights.bytes()
    }
}

/// What is known of a row's softmax after some words.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// The greatest logit of any word but the label.
    greatest: f32,
    /// Σ exp (z − greatest) over these words.
    others: f32,
    /// The label's logit.
    at_label: f32,
}

impl Row {
    fn read(values: &[f32]) -> Self {
        Self { greatest: values[0], others: values[1], at_label: values[2] }
    }

    fn write(self, values: &mut [f32]) {
        values.copy_from_slice(&[self.greatest, self.others, self.at_label]);
    }

    /// The loss in nats; what the summed gradient is multiplied by; and 1 − p of the label.
    fn end(self) -> (f32, f32, f32) {
        let greatest = if self.at_label > self.greatest { self.at_label } else { self.greatest };
        let down = (self.greatest - greatest).exp();
        let others = self.others * down;
        let total = others + (self.at_label - greatest).exp();
        let loss = if self.at_label == greatest {
            // What is added is zero, or no number if the logits are infinite.
            (others + (self.at_label - greatest)).ln_1p()
        } else {
            greatest + total.ln() - self.at_label
        };
        (loss, down / total, others / total)
    }
}

/// Cross-entropy in nats of each row of `x` (labels, hidden) for its label; where `d_x` is given, it becomes the gradient of
/// `scale` · Σ losses.
pub fn head_loss(
    context: (KernelPath, &Threads),
    scratch: &mut Scratch,
    head: &Matrix,
    (x, labels): (&[f32], &[u32]),
    scale: f32,
    d_x: Option<&mut [f32]>,
) -> Vec<f32> {
    in_parts(context, scratch, head, (x, labels), (scale, WORDS), d_x)
}

/// As [`head_loss`], with so many words at once.
fn in_parts(
    context: (KernelPath, &Threads),
    scratch: &mut Scratch,
    head: &Matrix,
    (x, labels): (&[f32], &[u32]),
    (scale, at_once): (f32, usize),
    mut d_x: Option<&mut [f32]>,
) -> Vec<f32> {
    let (hidden, rows) = (head.input, labels.len());
    let lane = Lane::of(context.0, head.precision());
    let Scratch { x: x_lanes, logits, weights, rows: known } = scratch;
    x_lanes.put(context, lane, &x[..rows * hidden], hidden);
    known.clear();
    known.extend([f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY].repeat(rows));
    for first in (0..head.out).step_by(at_once) {
        let words = first..(first + at_once).min(head.out);
        let count = words.len();
        if logits.len() < rows * count {
            logits.resize(rows * count, 0.0);
        }
        let logits = &mut logits[..rows * count];
        let right = head.source(Direction::Transposed).of_rows(words.clone());
        let terms = vec![Term { left: x_lanes.left(), right, first_row: 0, rows }];
        let product = Product { c: logits, n: count, rows, terms, output: Output::Store };
        multiply(context, lane, &mut [product]);

        take_labels(labels, &words, logits, known);
        let (logits, known) = (&*logits, Shared::new(known));
        let sums = d_x.as_deref_mut().map(Shared::new);
        weights.put_with(context, lane, TASK, logits, count, |row, logits, weights| {
            let known = known.part(row * ROW, ROW);
            let mut softmax = Row::read(known);
            let down = next_words(context.0, &mut softmax, logits, weights);
            softmax.write(known);
            if let Some(sums) = sums.as_ref().filter(|_| first > 0 && down < 1.0) {
                let sums = sums.part(row * hidden, hidden);
                for sum in sums {
                    *sum *= down;
                }
            }
        });

        let Some(d_x) = d_x.as_deref_mut() else { continue };
        let right = head.source(Direction::AsStored).of_rows(words);
        let terms = vec![Term { left: weights.left(), right, first_row: 0, rows }];
        let output = if first == 0 { Output::Store } else { Output::Add };
        let product = Product { c: d_x, n: hidden, rows, terms, output };
        multiply(context, lane, &mut [product]);
    }
    let ends: Vec<_> = known.chunks_exact(ROW).map(|known| Row::read(known).end()).collect();
    if let Some(d_x) = d_x {
        context.1.for_rows(&mut d_x[..rows * hidden], hidden, TASK, |rows, d_x| {
            let mut word = vec![0.0; hidden];
            for (row, d_x) in rows.zip(d_x.chunks_exact_mut(hidden)) {
                let (_, others, missing) = ends[row];
                head.row(labels[row] as usize, &mut word);
                for (d_x, word) in d_x.iter_mut().zip(&word) {
                    *d_x = scale * (others * *d_x - missing * word);
                }
            }
        });
    }
    ends.into_iter().map(|(loss, ..)| loss).collect()
}

/// Keeps the logits of the labels that are among these words, and makes them such as no word can have.
fn take_labels(labels: &[u32], words: &Range<usize>, logits: &mut [f32], known: &mut [f32]) {
    let rows = logits.chunks_exact_mut(words.len()).zip(known.chunks_exact_mut(ROW));
    for (label, (logits, known)) in labels.iter().zip(rows) {
        let label = *label as usize;
        if words.contains(&label) {
            let at_label = std::mem::replace(&mut logits[label - words.start], f32::NEG_INFINITY);
            Row { at_label, ..Row::read(known) }.write(known);
        }
    }
}

dispatch!(fn next_words = next_words_body(
    row: &mut Row, logits: &[f32], weights: &mut [f32]
) -> f32);

/// Takes the logits of the next words: `weights` become exp (z − greatest). Gives what sums over the words before are multiplied
/// by.
#[inline(always)]
fn next_words_body<A: Arithmetic>(row: &mut Row, logits: &[f32], weights: &mut [f32]) -> f32 {
    let greatest = maximum(logits).max(row.greatest);
    // Nothing but labels so far, or no numbers: those stay what they are.
    let shift = if greatest == f32::NEG_INFINITY { 0.0 } else { greatest };
    let down = exp::<A>(row.greatest - shift);
    let mut lanes = [0.0f32; LANES];
    for (block, logits) in weights.chunks_mut(LANES).zip(logits.chunks(LANES)) {
        for ((weight, logit), lane) in block.iter_mut().zip(logits).zip(&mut lanes) {
            *weight = exp::<A>(*logit - shift);
            *lane += *weight;
        }
    }
    row.others = row.others * down + fold(lanes);
    row.greatest = greatest;
    down
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::TensorView;
    use crate::kernels::lanes::Precision;
    use crate::ops::finite_difference::{check, random, weighted};

    const HIDDEN: usize = 20;
    const VOCABULARY: usize = 37;

    fn head(values: &[f32]) -> Matrix {
        let tensor = TensorView::of_floats(&[values.len() / HIDDEN, HIDDEN], values);
        Matrix::new(&Threads::new(1).unwrap(), &tensor, Precision::F32)
    }

    fn run(
        path: KernelPath,
        head: &Matrix,
        (x, labels): (&[f32], &[u32]),
        words: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let (threads, mut d_x) = (Threads::new(2).unwrap(), vec![7.0; x.len()]);
        let (context, scratch) = ((path, &threads), &mut Scratch::default());
        let losses = in_parts(context, scratch, head, (x, labels), (2.0, words), Some(&mut d_x));
        assert_eq!(losses, in_parts(context, scratch, head, (x, labels), (2.0, words), None));
        (losses, d_x)
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        let head = head(&random(VOCABULARY * HIDDEN, "head"));
        let (x, labels) = (random(4 * HIDDEN, "x"), [0, 36, 8, 8]);
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for words in [8, 12, 36, 100] {
                let loss =
                    |x: &[f32]| weighted(&[2.0; 4], &run(path, &head, (x, &labels), words).0);
                let (_, d_x) = run(path, &head, (&x, &labels), words);
                check("head loss", &x, &d_x, loss);
            }
        }
    }

    /// Against softmax in 64 bits, in particular where the label's word is all but certain, or all but impossible.
    #[test]
    fn losses_and_gradients_are_those_of_softmax() {
        let values = random(VOCABULARY * HIDDEN, "head");
        let head = head(&values);
        for factor in [0.1f32, 1.0, 8.0, 40.0] {
            let x: Vec<f32> = values[5 * HIDDEN..6 * HIDDEN].iter().map(|x| x * factor).collect();
            let logits: Vec<f64> =
                values.chunks_exact(HIDDEN).map(|word| weighted(word, &x)).collect();
            for label in 0..VOCABULARY {
                let relative = |word: usize| (logits[word] - logits[label]).exp();
                let others = || (0..VOCABULARY).filter(|word| *word != label);
                let rest: f64 = others().map(relative).sum();
                let expected: Vec<f64> = (0..HIDDEN)
                    .map(|at| {
                        let value = |word: usize| f64::from(values[word * HIDDEN + at]);
                        let term = |word: usize| relative(word) * (value(word) - value(label));
                        2.0 * others().map(term).sum::<f64>() / (1.0 + rest)
                    })
                    .collect();
                let size = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
                for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
                    let (losses, d_x) = run(path, &head, (&x, &[label as u32]), 10);
                    let loss = f64::from(losses[0]);
                    let what = format!("{path:?}, {factor}, {label}");
                    assert!((loss - rest.ln_1p()).abs() <= 1e-4 * rest.ln_1p(), "{what}: {loss}");
                    for (found, expected) in d_x.iter().zip(&expected) {
                        let error = (f64::from(*found) - expected).abs();
                        assert!(error <= 1e-4 * size, "{what}: {found}, {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_loss_of_even_logits_is_the_log_of_their_number() {
        let x = vec![0.0; HIDDEN];
        let (losses, _) =
            run(KernelPath::Portable, &head(&random(8 * HIDDEN, "head")), (&x, &[3]), 4);
        assert!((losses[0] - 8f32.ln()).abs() < 1e-6);
        let (losses, d_x) =
            run(KernelPath::Portable, &head(&random(HIDDEN, "word")), (&x, &[0]), 4);
        assert_eq!((losses, d_x), (vec![0.0], vec![0.0; HIDDEN]), "the only word");
    }

    #[test]
    fn what_is_no_number_is_no_loss() {
        let head = head(&random(VOCABULARY * HIDDEN, "head"));
        let mut x = random(2 * HIDDEN, "x");
        for (bad, words) in [(f32::NAN, 8), (f32::INFINITY, 8), (f32::NAN, 100)] {
            x[HIDDEN + 3] = bad;
            for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
                let (losses, _) = run_without_comparison(path, &head, &x, words);
                assert!(losses[0].is_finite() && !losses[1].is_finite(), "{path:?}: {losses:?}");
            }
        }
    }

    fn run_without_comparison(
        path: KernelPath,
        head: &Matrix,
        x: &[f32],
        words: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let (threads, mut d_x) = (Threads::new(1).unwrap(), vec![0.0; x.len()]);
        let (context, scratch) = ((path, &threads), &mut Scratch::default());
        let rows = (x, &[1, 2][..]);
        let losses = in_parts(context, scratch, head, rows, (1.0, words), Some(&mut d_x));
        (losses, d_x)
    }
}
