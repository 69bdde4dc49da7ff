//! Attention in pairs of 16-bit integers ([`Operands`]), for models whose products are those (`kernels/lanes.rs`).
//!
//! The strips, blocks and order of sums are those of the 32-bit loops; what differs is that each product of a block is exact. Of
//! a block of keys, P v is Σ (P s) (v / s) with the scale s of each value: the factors P s of a row are made integers whose
//! magnitudes add up to what is the greatest length of a row of integers elsewhere, and so of the values that they are multiplied
//! by: no sum leaves 32 bits, not by the roundings of 64 keys either. They depend on the keys that the row sees and on no other.

mod backward;
mod forward;
mod panel;
mod tile;

pub(super) use self::backward::{Keyed, backward, scratch_lengths as backward_scratch};
pub(super) use self::forward::{forward, scratch_lengths as forward_scratch};
use super::{Attended, Heads};
use crate::kernels::KernelPath;
use crate::kernels::gemm::{Left, LeftBuffer, row_lanes};
use crate::kernels::lanes::{Lane, pair, put};
use crate::kernels::threads::Threads;

/// Pairs of keys of a task that lays them out.
const TASK_PAIRS: usize = 16;

/// Keys and values of some sequences as attention multiplies them, one sequence after the other; used again and again.
#[derive(Debug, Default)]
pub struct Operands {
    keys: LeftBuffer,
    values: LeftBuffer,
    /// Of values in the forward, of keys in the backward.
    pairs: Vec<u32>,
    /// The first key of each sequence, and its first pair.
    starts: Vec<(usize, usize)>,
}

/// Lanes that [`Operands`] hold of sequences with so many keys and pairs of them, for `heads` shared heads of `size` values; of
/// `gradient_keys` keys their values too, for the backward.
pub fn operand_lanes(
    path: KernelPath,
    (heads, size): (usize, usize),
    (keys, pairs): (usize, usize),
    gradient_keys: usize,
) -> usize {
    let row = row_lanes(path, Lane::I16Pair, size);
    heads * ((keys + gradient_keys) * row + pairs * pair_lanes(size))
}

impl Operands {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.values.bytes() + self.pairs.len() * size_of::<u32>()
    }

    /// Lays out what the forward reads of sequences with these keys and values.
    pub(super) fn put_forward(
        &mut self,
        context: (KernelPath, &Threads),
        heads: Heads,
        sequences: &[Attended<'_>],
    ) {
        let keys: Vec<&[f32]> =
            sequences.iter().flat_map(|sequence| sequence.keys.parts()).copied().collect();
        self.keys.put_parts(context, Lane::I16Pair, &keys, heads.size);
        let values: Vec<&[&[f32]]> =
            sequences.iter().map(|sequence| sequence.values.parts()).collect();
        self.put_pairs(context, heads, &values);
    }

    /// Lays out what the backward reads.
    pub(super) fn put_backward(
        &mut self,
        context: (KernelPath, &Threads),
        heads: Heads,
        (keys, values): (&[&[f32]], &[&[f32]]),
    ) {
        self.keys.put_parts(context, Lane::I16Pair, keys, heads.size);
        self.values.put_parts(context, Lane::I16Pair, values, heads.size);
        let keys: Vec<&[&[f32]]> = keys.iter().map(std::slice::from_ref).collect();
        self.put_pairs(context, heads, &keys);
    }

    /// Lays out the pairs of each sequence, whose rows lie in one part or in several, none of which ends within a pair.
    fn put_pairs(
        &mut self,
        context: (KernelPath, &Threads),
        heads: Heads,
        sequences: &[&[&[f32]]],
    ) {
        let stride = heads.key_value * pair_lanes(heads.size);
        let (mut keys, mut pairs) = (0, 0);
        self.starts.clear();
        for parts in sequences {
            self.starts.push((keys, pairs));
            let count =
                parts.iter().map(|part| part.len() / heads.key_value_width()).sum::<usize>();
            (keys, pairs) = (keys + count, pairs + count.div_ceil(2));
        }
        self.pairs.resize(self.pairs.len().max(pairs * stride), 0);
        let mut rest = &mut self.pairs[..];
        for values in sequences.iter().copied().flatten() {
            let count = (values.len() / heads.key_value_width()).div_ceil(2);
            let (lanes, after) = rest.split_at_mut(count * stride);
            put_pairs_of(context, heads, values, lanes);
            rest = after;
        }
    }

    /// The keys of a sequence from number `first` on, which is even, as one head has them.
    pub(super) fn keys(&self, place: usize, heads: Heads, head: usize, first: usize) -> Rows<'_> {
        Rows::new(self.keys.left(), heads, head, self.starts[place].0 + first)
    }

    /// Its values.
    pub(super) fn values(&self, place: usize, heads: Heads, head: usize, first: usize) -> Rows<'_> {
        Rows::new(self.values.left(), heads, head, self.starts[place].0 + first)
    }

    /// Its pairs of values, or of keys.
    pub(super) fn pairs(&self, place: usize, heads: Heads, head: usize, first: usize) -> Pairs<'_> {
        let stride = heads.key_value * pair_lanes(heads.size);
        let start = (self.starts[place].1 + first / 2) * stride + head * pair_lanes(heads.size);
        Pairs { lanes: &self.pairs[start..], stride, size: heads.size }
    }
}

/// Rows of one head, a lane for each two values.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    lanes: &'a [u32],
    stride: usize,
    /// Lanes of a row; its scale lies behind them.
    count: usize,
}

impl<'a> Rows<'a> {
    fn new(Left { lanes, stride }: Left<'a>, heads: Heads, head: usize, first: usize) -> Self {
        let (lanes, stride) =
            (&lanes[(first * heads.key_value + head) * stride..], heads.key_value * stride);
        Self { lanes, stride, count: Lane::I16Pair.count(heads.size) }
    }

    fn at_row(self, row: usize) -> Self {
        Self { lanes: &self.lanes[row * self.stride..], ..self }
    }

    fn scale(&self, row: usize) -> f32 {
        f32::from_bits(self.lanes[row * self.stride + self.count])
    }
}

/// Values of one head, a lane for the same value of two keys that follow one another.
#[derive(Clone, Copy)]
pub(super) struct Pairs<'a> {
    lanes: &'a [u32],
    stride: usize,
    /// Lanes of a pair; the scales of its two keys lie behind them.
    size: usize,
}

impl Pairs<'_> {
    /// `key` is even.
    fn at_key(self, key: usize) -> Self {
        Self { lanes: &self.lanes[key / 2 * self.stride..], ..self }
    }

    fn scale(&self, key: usize) -> f32 {
        f32::from_bits(self.lanes[key / 2 * self.stride + self.size + key % 2])
    }
}

/// Lanes of a pair of one head: its values, and two scales.
const fn pair_lanes(size: usize) -> usize {
    size + 2
}

/// Lays out `values` (keys, key-value width) of one sequence as pairs of all heads.
fn put_pairs_of(
    (path, threads): (KernelPath, &Threads),
    heads: Heads,
    values: &[f32],
    lanes: &mut [u32],
) {
    let width = heads.key_value_width();
    let keys = values.len() / width;
    let stride = heads.key_value * pair_lanes(heads.size);
    threads.for_rows(lanes, stride, TASK_PAIRS, |pairs, lanes| {
        let mut rows = vec![0; 2 * Lane::I16Pair.count(heads.size)];
        for (number, lanes) in pairs.zip(lanes.chunks_exact_mut(stride)) {
            for (head, lanes) in lanes.chunks_exact_mut(pair_lanes(heads.size)).enumerate() {
                let of_key = |key: usize| {
                    let inside = key < keys;
                    inside.then(|| &values[key * width + head * heads.size..][..heads.size])
                };
                let pair = [of_key(2 * number), of_key(2 * number + 1)];
                put_pair(path, pair.map(Option::unwrap_or_default), &mut rows, lanes);
            }
        }
    });
}

/// Lays out one pair of rows, of which the second may be none; `rows` has room for the lanes of both.
fn put_pair(path: KernelPath, pair_of: [&[f32]; 2], rows: &mut [u32], out: &mut [u32]) {
    let size = out.len() - 2;
    let (low, high) = rows.split_at_mut(Lane::I16Pair.count(size));
    let (out, scales) = out.split_at_mut(size);
    if pair_of[1].is_empty() {
        high.fill(0);
    }
    for ((values, row), scale) in pair_of.into_iter().zip([&mut *low, &mut *high]).zip(scales) {
        *scale = put(path, Lane::I16Pair, values, row).to_bits();
    }
    for (out, (low, high)) in out.chunks_mut(2).zip(low.iter().zip(&*high)) {
        out[0] = pair(*low as u16, *high as u16);
        if let Some(out) = out.get_mut(1) {
            *out = pair((low >> 16) as u16, (high >> 16) as u16);
        }
    }
}
