//! [`Sequence`]: rows of a batch that follow one another, and those that they continue and share with other sequences.
//!
//! Attention reads a sequence's keys as one stretch, so where sequences share rows, keys and values are laid out for each
//! ([`Together`]), and their gradients added up again, in the order of the sequences.

use std::ops::Range;

use super::{Attended, Gradients, Heads, Kept, KeyRows, KeyedRows, Operands, backward, forward};
use crate::kernels::KernelPath;
use crate::kernels::lanes::Lane;
use crate::kernels::threads::Threads;
use crate::ops::shared::Shared;

/// Tokens of a batch that follow one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Its own rows.
    pub rows: Range<usize>,
    /// Rows of the tokens before these, from the first on; they belong to other sequences.
    pub before: Vec<Range<usize>>,
}

impl Sequence {
    /// Tokens before its own.
    pub fn past(&self) -> usize {
        self.before.iter().map(ExactSizeIterator::len).sum()
    }

    /// The rows of all its tokens.
    pub fn all_rows(&self) -> impl Iterator<Item = Range<usize>> {
        self.before.iter().chain([&self.rows]).cloned()
    }
}

/// Keys that are laid out for these sequences: none, if no rows are shared.
pub fn laid_out(sequences: &[Sequence]) -> usize {
    if sequences.iter().all(|sequence| sequence.before.is_empty()) {
        return 0;
    }
    sequences.iter().map(|sequence| sequence.past() + sequence.rows.len()).sum()
}

/// Keys that attention reads of each sequence, and their pairs: sums over the sequences.
pub fn keys_and_pairs(sequences: &[Sequence]) -> (usize, usize) {
    let lengths = sequences.iter().map(|sequence| sequence.past() + sequence.rows.len());
    lengths.fold((0, 0), |(keys, pairs), length| (keys + length, pairs + length.div_ceil(2)))
}

/// Keys and values of all sequences, one sequence after the other, and their gradients.
#[derive(Debug, Default)]
pub struct Together {
    key: Vec<f32>,
    value: Vec<f32>,
    d_key: Vec<f32>,
    d_value: Vec<f32>,
}

impl Together {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let Self { key, value, d_key, d_value } = self;
        [key, value, d_key, d_value].map(|values| values.len() * size_of::<f32>()).iter().sum()
    }

    /// As [`forward`], of sequences that may share rows: `query` (rows, query width), `key` and `value` (rows, key-value width).
    pub fn forward(
        &mut self,
        context: (KernelPath, &Threads),
        products: (Lane, &mut Operands),
        heads: Heads,
        sequences: &[Sequence],
        [query, key, value]: [&[f32]; 3],
        [out, log_sum_exp]: [&mut [f32]; 2],
    ) {
        let width = heads.key_value_width();
        let (key, value) = self.keys_and_values(context.1, width, sequences, key, value);
        let attended: Vec<Attended<'_>> = keyed_rows(sequences)
            .into_iter()
            .map(|KeyedRows { rows, past, first_key }| {
                let keys = first_key * width..(first_key + past + rows.len()) * width;
                let together = |values| KeyRows::Together(values);
                let (keys, values) = (together(&key[keys.clone()]), together(&value[keys]));
                Attended { rows, past, keys, values }
            })
            .collect();
        forward(context, products, heads, query, &attended, out, log_sum_exp);
    }

    /// As [`backward`], of sequences that may share rows.
    pub fn backward(
        &mut self,
        context: (KernelPath, &Threads),
        products: (Lane, &mut Operands),
        heads: Heads,
        sequences: &[Sequence],
        kept: Kept<'_>,
        d_out: &[f32],
        gradients: Gradients<'_>,
    ) {
        let (width, keyed) = (heads.key_value_width(), keyed_rows(sequences));
        if laid_out(sequences) == 0 {
            return backward(context, products, heads, kept, &keyed, d_out, gradients);
        }
        let Gradients { query, key, value } = gradients;
        key.fill(0.0);
        value.fill(0.0);
        self.keys_and_values(context.1, width, sequences, kept.key, kept.value);
        let Self { key: all_keys, value: all_values, d_key, d_value } = self;
        let length = laid_out(sequences) * width;
        for buffer in [&mut *d_key, &mut *d_value] {
            buffer.resize(buffer.len().max(length), 0.0);
        }
        let kept = Kept { key: all_keys, value: all_values, ..kept };
        let together =
            Gradients { query, key: &mut d_key[..length], value: &mut d_value[..length] };
        backward(context, products, heads, kept, &keyed, d_out, together);
        let (key, value) = (Shared::new(key), Shared::new(value));
        context.1.for_each(2, |which| {
            let (from, to) = [(&*d_key, &key), (&*d_value, &value)][which];
            add_up(sequences, width, from, to);
        });
    }

    /// The keys and values as attention reads them: those of the batch, or laid out.
    fn keys_and_values<'a>(
        &'a mut self,
        threads: &Threads,
        width: usize,
        sequences: &[Sequence],
        key: &'a [f32],
        value: &'a [f32],
    ) -> (&'a [f32], &'a [f32]) {
        let length = laid_out(sequences) * width;
        if length == 0 {
            return (key, value);
        }
        for buffer in [&mut self.key, &mut self.value] {
            buffer.resize(buffer.len().max(length), 0.0);
        }
        let (all_keys, all_values) = (Shared::new(&mut self.key), Shared::new(&mut self.value));
        threads.for_each(2, |which| {
            let (from, to) = [(key, &all_keys), (value, &all_values)][which];
            lay_out(sequences, width, from, to);
        });
        (&self.key, &self.value)
    }
}

/// Where each sequence's keys lie.
fn keyed_rows(sequences: &[Sequence]) -> Vec<KeyedRows> {
    let mut first_key = 0;
    let keyed = sequences.iter().map(|sequence| {
        let (rows, past) = (sequence.rows.clone(), sequence.past());
        let keyed = KeyedRows { rows, past, first_key };
        first_key += past + keyed.rows.len();
        keyed
    });
    keyed.collect()
}

fn lay_out(sequences: &[Sequence], width: usize, from: &[f32], to: &Shared<'_>) {
    let mut place = 0;
    for rows in sequences.iter().flat_map(Sequence::all_rows) {
        let (first, length) = (rows.start * width, rows.len() * width);
        to.part(place, length).copy_from_slice(&from[first..first + length]);
        place += length;
    }
}

/// Adds the gradients of the sequences' tokens to those of the rows, which are zero.
fn add_up(sequences: &[Sequence], width: usize, from: &[f32], to: &Shared<'_>) {
    let mut place = 0;
    for rows in sequences.iter().flat_map(Sequence::all_rows) {
        let (first, length) = (rows.start * width, rows.len() * width);
        let from = &from[place..place + length];
        to.part(first, length).iter_mut().zip(from).for_each(|(to, from)| *to += from);
        place += length;
    }
}
