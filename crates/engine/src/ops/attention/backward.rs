//! The backward of one [`Strip`] with respect to some keys.

use std::ops::Range;

use super::strip::{Places, Strip, gather, hide, scatter};
use super::tile::{add_products, add_weighted_rows, exp_of_difference, products};
use super::{Heads, Kept};
use crate::kernels::simd::{Arithmetic, dispatch, dot};
use crate::ops::shared::Shared;

/// Keys whose scores are recomputed at once: they stay in the first cache.
pub(super) const KEYS: usize = 64;

/// Values of a head padded to whole vectors.
pub(super) fn padded(size: usize) -> usize {
    size.next_multiple_of(16)
}

/// Scratch values that [`backward`] needs.
pub(super) fn scratch_length(size: usize) -> usize {
    16 * (3 * size + 2 * padded(size) + 2 * KEYS)
}

/// Gradients of some keys and values of one head, laid out for the tiles: for each `W` of a row's values, the keys' rows.
#[derive(Debug)]
pub(super) struct KeyGradients {
    pub(super) key: Vec<f32>,
    pub(super) value: Vec<f32>,
    pub(super) keys: usize,
    width: usize,
}

impl KeyGradients {
    /// Zero, for `keys` keys.
    pub(super) fn new(size: usize, keys: usize, wide: bool) -> Self {
        let (keys, width) = (keys.next_multiple_of(KEYS), if wide { 16 } else { 8 });
        let length = keys * padded(size);
        Self { key: vec![0.0; length], value: vec![0.0; length], keys, width }
    }

    /// Copies the gradients of one key and its value out.
    pub(super) fn copy_to(&self, at: usize, key: &mut [f32], value: &mut [f32]) {
        for (from, to) in [(&self.key, key), (&self.value, value)] {
            for (column, to) in to.chunks_mut(self.width).enumerate() {
                let from = &from[(column * self.keys + at) * self.width..];
                to.copy_from_slice(&from[..to.len()]);
            }
        }
    }
}

/// What a strip reads: everything begins at the sequence's first row, keys and values at the first of `range` and at the
/// shared head.
pub(super) struct Read<'a> {
    pub(super) kept: Kept<'a>,
    pub(super) d_out: &'a [f32],
    pub(super) range: Range<usize>,
}

impl Read<'_> {
    /// The lanes' log-sum-exp, and dO·out.
    #[inline(always)]
    pub(super) fn of_lanes<A: Arithmetic, const W: usize>(
        &self,
        heads: Heads,
        places: &Places<W>,
    ) -> ([f32; W], [f32; W]) {
        let (mut log_sum_exp, mut shift) = ([0.0; W], [0.0; W]);
        for lane in 0..W {
            let values = places.at[lane]..places.at[lane] + heads.size;
            let at = places.rows[lane] * heads.query + places.heads[lane];
            log_sum_exp[lane] = self.kept.log_sum_exp[at];
            shift[lane] = dot::<A>(&self.d_out[values.clone()], &self.kept.out[values]);
        }
        (log_sum_exp, shift)
    }
}

dispatch!(
    /// Adds the strip's part to the gradients of the keys, and writes the gradients of its queries that are due to these
    /// keys into `d_query`: (matrix, where its rows of this sequence begin, rows of the sequence that it leaves out).
    pub(super) fn backward = backward_body(
        strip: &Strip, read: &Read<'_>, scratch: &mut [f32], gradients: &mut KeyGradients,
        d_query: (&Shared<'_>, usize, usize)
    )
);

#[inline(always)]
fn backward_body<A: Arithmetic>(
    strip: &Strip,
    read: &Read<'_>,
    scratch: &mut [f32],
    gradients: &mut KeyGradients,
    d_query: (&Shared<'_>, usize, usize),
) {
    if strip.wide && A::MANY_REGISTERS {
        backward_lanes::<A, 16, 8>(strip, read, scratch, gradients, d_query);
    } else if strip.wide {
        backward_lanes::<A, 16, 4>(strip, read, scratch, gradients, d_query);
    } else {
        backward_lanes::<A, 8, 8>(strip, read, scratch, gradients, d_query);
    }
}

#[inline(always)]
fn backward_lanes<A: Arithmetic, const W: usize, const M: usize>(
    strip: &Strip,
    read: &Read<'_>,
    scratch: &mut [f32],
    gradients: &mut KeyGradients,
    d_query: (&Shared<'_>, usize, usize),
) {
    let (heads, kept) = (strip.heads, read.kept);
    let (size, stride, scale) = (heads.size, heads.key_value_width(), heads.scale());
    let places = strip.places::<W>();
    let seen = strip.seen(&places.rows, read.range.start);
    let start = seen.from[0] as usize / KEYS * KEYS;
    let count = (seen.to[W - 1] as usize).min(read.range.len());
    let columns = size.div_ceil(W);
    let (query, rest) = scratch.as_chunks_mut::<W>().0.split_at_mut(size);
    let (d_out, rest) = rest.split_at_mut(size);
    let (sums, rest) = rest.split_at_mut(size);
    let (query_rows, rest) = rest.split_at_mut(columns * W);
    let (d_out_rows, rest) = rest.split_at_mut(columns * W);
    let (weights, rest) = rest.split_at_mut(KEYS);
    let d_scores = &mut rest[..KEYS];

    gather::<A, W>(query, &places.at, kept.query, scale);
    gather::<A, W>(d_out, &places.at, read.d_out, 1.0);
    copy_rows(query_rows, (&places.at[..strip.lanes], size), kept.query, scale);
    copy_rows(d_out_rows, (&places.at[..strip.lanes], size), read.d_out, 1.0);
    let (log_sum_exp, shift) = read.of_lanes::<A, W>(heads, &places);

    sums.fill([0.0; W]);
    for first in (start..count).step_by(KEYS) {
        let keys = KEYS.min(count - first);
        let (key, value) = (&kept.key[first * stride..], &kept.value[first * stride..]);
        let tiled = keys.next_multiple_of(M);
        let (weights, d_scores) = (&mut weights[..tiled], &mut d_scores[..tiled]);
        products::<A, W, M>(weights, (key, stride, keys), query);
        products::<A, W, M>(d_scores, (value, stride, keys), d_out);
        hide(weights, first, &seen);
        weights[keys..].fill([f32::NEG_INFINITY; W]);
        for (weight, d_score) in weights.iter_mut().zip(d_scores.iter_mut()) {
            exp_of_difference::<A, W>(weight, &log_sum_exp);
            for lane in 0..W {
                d_score[lane] = weight[lane] * (d_score[lane] - shift[lane]);
            }
        }
        add_weighted_rows::<A, W, M>(sums, (key, stride), &d_scores[..keys], (first, &seen));
        let rows = gradients.keys;
        for (gradients, coefficients, panels) in [
            (&mut gradients.value, &*weights, &*d_out_rows),
            (&mut gradients.key, &*d_scores, &*query_rows),
        ] {
            let gradients = gradients.as_chunks_mut::<W>().0;
            for (column, panel) in panels.chunks_exact(W).enumerate() {
                let gradients = &mut gradients[column * rows + first..][..tiled];
                add_outer::<A, W, M>(gradients, coefficients, &panel[..strip.lanes]);
            }
        }
    }
    write_d_query::<A, W>((strip, &places), query.as_flattened_mut(), sums, d_query);
}

/// Writes the gradients of the lanes' queries: their `sums`, turned in `rows`.
#[inline(always)]
pub(super) fn write_d_query<A: Arithmetic, const W: usize>(
    (strip, places): (&Strip, &Places<W>),
    rows: &mut [f32],
    sums: &[[f32; W]],
    (d_query, first_row, skipped): (&Shared<'_>, usize, usize),
) {
    let (heads, size) = (strip.heads, strip.heads.size);
    scatter::<A, W>(rows, sums, &[heads.scale(); W]);
    for (lane, from) in rows.chunks_exact(size).enumerate().take(strip.lanes) {
        let row = first_row + places.rows[lane] - skipped;
        let at = row * heads.query_width() + places.heads[lane] * size;
        d_query.part(at, size).copy_from_slice(from);
    }
}

/// The strip's rows, scaled: panels\[column · W + lane]\[j] is value column · W + j of the lane; zero past the last value.
#[inline(always)]
fn copy_rows<const W: usize>(
    panels: &mut [[f32; W]],
    (places, size): (&[usize], usize),
    values: &[f32],
    factor: f32,
) {
    for (lane, at) in places.iter().enumerate() {
        let values = &values[*at..][..size];
        for (column, values) in values.chunks(W).enumerate() {
            let panel = &mut panels[column * W + lane];
            *panel = [0.0; W];
            for (panel, value) in panel.iter_mut().zip(values) {
                *panel = value * factor;
            }
        }
    }
}

/// gradients\[k]\[j] += Σ over lanes of coefficients\[k]\[lane] · panel\[lane]\[j].
#[inline(always)]
fn add_outer<A: Arithmetic, const W: usize, const M: usize>(
    gradients: &mut [[f32; W]],
    coefficients: &[[f32; W]],
    panel: &[[f32; W]],
) {
    let tiles = gradients.as_chunks_mut::<M>().0.iter_mut();
    for (tile, coefficients) in tiles.zip(coefficients.as_chunks::<M>().0) {
        let mut rows: [&[f32]; M] = [&[]; M];
        for m in 0..M {
            rows[m] = &coefficients[m];
        }
        add_products::<A, W, M>(tile, rows, panel);
    }
}
