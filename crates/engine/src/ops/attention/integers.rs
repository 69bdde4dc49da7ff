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
use super::{Attended, Heads, KeyRows, KeyedRows};
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

    /// Lays out what the forward reads of these sequences.
    pub(super) fn put_forward(
        &mut self,
        context: (KernelPath, &Threads),
        heads: Heads,
        sequences: &[Attended<'_>],
    ) {
        let count = |sequence: &Attended<'_>| sequence.past + sequence.rows.len();
        let counts: Vec<usize> = sequences.iter().map(count).collect();
        put_heads(&mut self.keys, context, heads, &counts, |place, head, token| {
            sequences[place].keys.row(heads, head, token)
        });
        self.put_pairs(context, heads, &counts, |place, head, token| {
            sequences[place].values.row(heads, head, token)
        });
    }

    /// Lays out what the backward reads of these sequences, whose `keys` and `values` are (tokens, key-value width).
    pub(super) fn put_backward(
        &mut self,
        context: (KernelPath, &Threads),
        heads: Heads,
        sequences: &[KeyedRows],
        (keys, values): (&[f32], &[f32]),
    ) {
        let count = |sequence: &KeyedRows| sequence.past + sequence.rows.len();
        let counts: Vec<usize> = sequences.iter().map(count).collect();
        let [key_of, value_of] = [keys, values].map(|values| {
            move |place: usize, head: usize, token: usize| {
                let row = sequences[place].first_key + token;
                KeyRows::Together(values).row(heads, head, row)
            }
        });
        put_heads(&mut self.keys, context, heads, &counts, key_of);
        put_heads(&mut self.values, context, heads, &counts, value_of);
        self.put_pairs(context, heads, &counts, key_of);
    }

    /// Lays out the pairs of sequences with so many tokens.
    fn put_pairs<'a>(
        &mut self,
        context: (KernelPath, &Threads),
        heads: Heads,
        counts: &[usize],
        find: impl Fn(usize, usize, usize) -> &'a [f32] + Sync,
    ) {
        let stride = heads.key_value * pair_lanes(heads.size);
        let (mut keys, mut pairs) = (0, 0);
        self.starts.clear();
        for count in counts {
            self.starts.push((keys, pairs));
            (keys, pairs) = (keys + count, pairs + count.div_ceil(2));
        }
        self.pairs.resize(self.pairs.len().max(pairs * stride), 0);
        for (place, (count, (_, first))) in counts.iter().zip(&self.starts).enumerate() {
            let lanes = &mut self.pairs[first * stride..][..count.div_ceil(2) * stride];
            put_pairs_of(context, heads, *count, |head, token| find(place, head, token), lanes);
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

/// Lays out the rows of all heads of sequences with so many tokens, token after token.
fn put_heads<'a>(
    buffer: &mut LeftBuffer,
    context: (KernelPath, &Threads),
    heads: Heads,
    counts: &[usize],
    find: impl Fn(usize, usize, usize) -> &'a [f32] + Sync,
) {
    let rows: Vec<usize> = counts.iter().map(|count| count * heads.key_value).collect();
    buffer.put_parts(context, Lane::I16Pair, (&rows, heads.size), |place, row| {
        find(place, row % heads.key_value, row / heads.key_value)
    });
}

/// Lanes of a pair of one head: its values, and two scales.
const fn pair_lanes(size: usize) -> usize {
    size + 2
}

/// Lays out the values of `keys` tokens of one sequence as pairs of all heads.
fn put_pairs_of<'a>(
    (path, threads): (KernelPath, &Threads),
    heads: Heads,
    keys: usize,
    find: impl Fn(usize, usize) -> &'a [f32] + Sync,
    lanes: &mut [u32],
) {
    let stride = heads.key_value * pair_lanes(heads.size);
    threads.for_rows(lanes, stride, TASK_PAIRS, |pairs, lanes| {
        let mut rows = vec![0; 2 * Lane::I16Pair.count(heads.size)];
        for (number, lanes) in pairs.zip(lanes.chunks_exact_mut(stride)) {
            for (head, lanes) in lanes.chunks_exact_mut(pair_lanes(heads.size)).enumerate() {
                let [low, high] = [2 * number, 2 * number + 1];
                let high = if high < keys { find(head, high) } else { &[] };
                put_pair(path, [find(head, low), high], &mut rows, lanes);
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
