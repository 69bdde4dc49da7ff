//! The output head with softmax cross-entropy, forward and backward in one walk through the vocabulary.
//!
//! With z = W x the logits of a row and t its label, the loss is ln Σ exp z − z of t, and its gradient by x is Σ p W over the
//! other words − (1 − p of t) W of t. Logits exist for some words at a time only. What has been summed so far is relative to
//! the greatest logit so far, and is multiplied down when a greater one comes (Milakov & Gimelshein 2018). The label stays out
//! of these sums: what a sure row has left to learn is what the other words get, which would be lost in 1 − p.
//!
//! Most words get next to nothing from any row. Unless the head's precision is [`Precision::F32`], the gradient takes those
//! together (`rare.rs`), and so a row's depends on the rows of the same call; losses do not.

mod rare;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use self::rare::{LEAST_SHARE, Selection};
use super::project::Matrix;
use super::shared::Shared;
use crate::kernels::KernelPath;
use crate::kernels::gemm::{LeftBuffer, Output, Product, Term, multiply, put_computed};
use crate::kernels::lanes::{Lane, Precision};
use crate::kernels::simd::{Arithmetic, LANES, dispatch, exp, fold, maximum};
use crate::kernels::source::Direction;
use crate::kernels::threads::Threads;

/// Most words whose logits exist at once: enough for every thread.
pub const WORDS: usize = 4608;
/// Most rows at once, so that the logits stay in the last cache; and the more rows, the fewer words are rare for all.
pub const ROWS: usize = 512;
/// Values that are kept of each row on the way.
pub const ROW: usize = 4;
/// Rows of one task.
const TASK: usize = 8;

/// Buffers that calls share.
#[derive(Debug, Default)]
pub struct Scratch {
    x: LeftBuffer,
    logits: Vec<f32>,
    weights: LeftBuffer,
    rows: Vec<f32>,
    selection: Selection,
}

impl Scratch {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let values = self.logits.len() + self.rows.len() + self.selection.values();
        values * size_of::<f32>() + self.x.bytes() + self.weights.bytes()
    }
}

/// How the vocabulary is walked through.
#[derive(Debug, Clone, Copy)]
struct Walk {
    /// Words whose logits exist at once.
    words: usize,
    /// The least share of a row's softmax with which a word is multiplied for itself in the backward.
    least_share: f32,
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
    /// What of `others` the last words are.
    here: f32,
}

impl Row {
    const NOTHING: [f32; ROW] = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 0.0];

    fn read(values: &[f32]) -> Self {
        Self { greatest: values[0], others: values[1], at_label: values[2], here: values[3] }
    }

    fn write(self, values: &mut [f32]) {
        values.copy_from_slice(&[self.greatest, self.others, self.at_label, self.here]);
    }

    /// What exponents are relative to.
    fn shift(&self) -> f32 {
        // Nothing but labels so far, or no numbers: those stay what they are.
        if self.greatest == f32::NEG_INFINITY { 0.0 } else { self.greatest }
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

/// Values that the gradient holds to take rare words together.
pub fn choice_values(precision: Precision, words: usize, hidden: usize) -> usize {
    if least_share(precision) > 0.0 { rare::values(words, hidden) } else { 0 }
}

/// The least share of a row's softmax with which a word is multiplied for itself.
fn least_share(precision: Precision) -> f32 {
    if precision == Precision::F32 { 0.0 } else { LEAST_SHARE }
}

/// Cross-entropy in nats of each row of `x` (labels, hidden) for its label; where `d_x` is given, it becomes the gradient of
/// `scale` · Σ losses.
pub fn head_loss(
    context: (KernelPath, &Threads),
    scratch: &mut Scratch,
    head: &Matrix,
    (x, labels): (&[f32], &[u32]),
    scale: f32,
    mut d_x: Option<&mut [f32]>,
) -> Vec<f32> {
    let walk = Walk { words: WORDS, least_share: least_share(head.precision()) };
    let mut losses = Vec::with_capacity(labels.len());
    // Parts as equal as can be: one of a few rows would lay out the whole head for them.
    let rows = labels.len().div_ceil(labels.len().div_ceil(ROWS).max(1)).max(1);
    for (number, labels) in labels.chunks(rows).enumerate() {
        let start = number * rows * head.input;
        let part = start..start + labels.len() * head.input;
        let d_x = d_x.as_deref_mut().map(|d_x| &mut d_x[part.clone()]);
        losses.extend(in_parts(context, scratch, head, (&x[part], labels), (scale, walk), d_x));
    }
    losses
}

/// As [`head_loss`], with a given walk.
fn in_parts(
    context: (KernelPath, &Threads),
    scratch: &mut Scratch,
    head: &Matrix,
    (x, labels): (&[f32], &[u32]),
    (scale, walk): (f32, Walk),
    mut d_x: Option<&mut [f32]>,
) -> Vec<f32> {
    let (hidden, rows) = (head.input, labels.len());
    let lane = Lane::of(context.0, head.precision());
    let Scratch { x: x_lanes, logits, weights, rows: known, selection } = scratch;
    x_lanes.put(context, lane, x, hidden);
    known.clear();
    known.extend(Row::NOTHING.repeat(rows));
    for first in (0..head.out).step_by(walk.words) {
        let words = first..(first + walk.words).min(head.out);
        let count = words.len();
        logits.resize(logits.len().max(rows * count), 0.0);
        let logits = &mut logits[..rows * count];
        let right = head.source(Direction::Transposed).of_rows(words.clone());
        let terms = vec![Term { left: x_lanes.left(), right, first_row: 0, rows }];
        let product = Product { c: logits, n: count, rows, terms, output: Output::Store };
        multiply(context, lane, &mut [product]);
        take_labels(labels, &words, logits, known);

        let wants_shares = d_x.is_some() && walk.least_share > 0.0;
        let sums = d_x.as_deref_mut().filter(|_| first > 0);
        let shares = next_words(context, (logits, count), known, sums, wants_shares);
        let Some(d_x) = d_x.as_deref_mut() else { continue };
        let (right, chosen) =
            selection.choose(context, (head, words), shares.as_deref(), walk.least_share);
        put_computed([&mut *weights], context, lane, TASK, (rows, right.k()), |row, [weights]| {
            let (known, logits) = (&known[row * ROW..][..ROW], &logits[row * count..][..count]);
            weigh(context.0, &Row::read(known), logits, chosen, weights);
        });
        let terms = vec![Term { left: weights.left(), right, first_row: 0, rows }];
        let output = if first == 0 { Output::Store } else { Output::Add };
        multiply(context, lane, &mut [Product { c: d_x, n: hidden, rows, terms, output }]);
    }
    let ends: Vec<_> = known.chunks_exact(ROW).map(|known| Row::read(known).end()).collect();
    if let Some(d_x) = d_x {
        end_gradients(context.1, head, (labels, &ends), scale, d_x);
    }
    ends.into_iter().map(|(loss, ..)| loss).collect()
}

/// Makes the sums over words in `d_x` the gradients of rows with these [ends](Row::end).
fn end_gradients(
    threads: &Threads,
    head: &Matrix,
    (labels, ends): (&[u32], &[(f32, f32, f32)]),
    scale: f32,
    d_x: &mut [f32],
) {
    threads.for_rows(d_x, head.input, TASK, |rows, d_x| {
        let mut word = vec![0.0; head.input];
        for (row, d_x) in rows.zip(d_x.chunks_exact_mut(head.input)) {
            let (_, others, missing) = ends[row];
            head.row(labels[row] as usize, &mut word);
            for (d_x, word) in d_x.iter_mut().zip(&word) {
                *d_x = scale * (others * *d_x - missing * word);
            }
        }
    });
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

/// Takes the logits of the next words, `count` a row. Where sums over the words before are given, each row's is multiplied
/// down to what they are relative to now. Gives, where they are wanted, the logarithm of the greatest share that each of the
/// words has in any row's softmax so far.
fn next_words(
    (path, threads): (KernelPath, &Threads),
    (logits, count): (&[f32], usize),
    known: &mut [f32],
    sums: Option<&mut [f32]>,
    wants_shares: bool,
) -> Option<Vec<f32>> {
    let rows = known.len() / ROW;
    let width = sums.as_ref().map_or(0, |sums| sums.len() / rows.max(1));
    let (known, sums) = (Shared::new(known), sums.map(Shared::new));
    let greatest = wants_shares.then(|| Mutex::new(vec![f32::NEG_INFINITY; count]));
    threads.for_each(rows.div_ceil(TASK), |task| {
        let mut shares = greatest.as_ref().map(|_| vec![f32::NEG_INFINITY; count]);
        for row in task * TASK..((task + 1) * TASK).min(rows) {
            let (known, logits) = (known.part(row * ROW, ROW), &logits[row * count..][..count]);
            let mut softmax = Row::read(known);
            let down = take_logits(path, &mut softmax, logits);
            softmax.write(known);
            if let Some(shares) = &mut shares {
                raise_to(path, shares, logits, softmax.shift() + softmax.others.ln());
            }
            if let Some(sums) = sums.as_ref().filter(|_| down < 1.0) {
                sums.part(row * width, width).iter_mut().for_each(|sum| *sum *= down);
            }
        }
        // The greatest of all is the same in whatever order the tasks end.
        if let (Some(greatest), Some(shares)) = (&greatest, &shares) {
            let mut greatest = greatest.lock().unwrap_or_else(PoisonError::into_inner);
            raise_to(path, &mut greatest, shares, 0.0);
        }
    });
    greatest.map(|greatest| greatest.into_inner().unwrap_or_else(PoisonError::into_inner))
}

dispatch!(fn raise_to = raise_to_body(greatest: &mut [f32], values: &[f32], less: f32));

/// Raises `greatest` to the values, less `less`, where these are greater; what is no number is not.
#[inline(always)]
fn raise_to_body<A: Arithmetic>(greatest: &mut [f32], values: &[f32], less: f32) {
    for (greatest, value) in greatest.iter_mut().zip(values) {
        let value = A::multiply_add(less, -1.0, *value);
        *greatest = if value > *greatest { value } else { *greatest };
    }
}

dispatch!(fn take_logits = take_logits_body(row: &mut Row, logits: &[f32]) -> f32);

/// Takes the logits of a row's next words. Gives what sums over the words before are multiplied by.
#[inline(always)]
fn take_logits_body<A: Arithmetic>(row: &mut Row, logits: &[f32]) -> f32 {
    let before = row.greatest;
    row.greatest = maximum(logits).max(before);
    let shift = row.shift();
    let down = exp::<A>(before - shift);
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = logits.as_chunks::<LANES>();
    for logits in blocks {
        for (lane, logit) in lanes.iter_mut().zip(logits) {
            *lane += exp::<A>(*logit - shift);
        }
    }
    for (lane, logit) in lanes.iter_mut().zip(rest) {
        *lane += exp::<A>(*logit - shift);
    }
    row.here = fold(lanes);
    row.others = row.others * down + row.here;
    down
}

dispatch!(fn weigh = weigh_body(
    row: &Row, logits: &[f32], chosen: Option<&[u32]>, weights: &mut [f32]
));

/// `weights` become exp (z − greatest) of the words, or of those that are chosen and, behind them, of all others together.
#[inline(always)]
fn weigh_body<A: Arithmetic>(
    row: &Row,
    logits: &[f32],
    chosen: Option<&[u32]>,
    weights: &mut [f32],
) {
    let shift = row.shift();
    let Some(chosen) = chosen else {
        for (weight, logit) in weights.iter_mut().zip(logits) {
            *weight = exp::<A>(*logit - shift);
        }
        return;
    };
    let (weights, together) = weights.split_at_mut(chosen.len());
    for (weight, word) in weights.iter_mut().zip(chosen) {
        *weight = logits[*word as usize] - shift;
    }
    let mut lanes = [0.0f32; LANES];
    for block in weights.chunks_mut(LANES) {
        for (weight, lane) in block.iter_mut().zip(&mut lanes) {
            *weight = exp::<A>(*weight);
            *lane += *weight;
        }
    }
    // Both sums are rounded, and the others' share may be less than that. Of a row that is no number this makes zero; its
    // gradient is none all the same, by the end of the row.
    together[0] = (row.here - fold(lanes)).max(0.0);
}

#[cfg(test)]
mod tests;
