//! The backward of one [`Strip`] with respect to some keys, in integers: as `super::super::backward`, product by product.

use super::super::backward::{KEYS, KeyGradients, Read, padded, write_d_query};
use super::super::strip::{Strip, gather, hide};
use super::super::tile::exp_of_difference;
use super::forward::{add_rows, products, scale_by_keys, whole};
use super::panel::{Scales, greater, put_pairs, put_panel, put_rows, scales_of};
use super::tile::{HALF, M, PairProducts, TileRows, W, dispatch_pairs};
use super::{Pairs, Rows};
use crate::kernels::simd::Arithmetic;
use crate::ops::shared::Shared;

/// Values and lanes of scratch that [`backward`] needs.
pub(in super::super) fn scratch_lengths(size: usize) -> (usize, usize) {
    (W * (3 * size + 2 * KEYS), W * (2 * size.div_ceil(2) + padded(size) + KEYS / 2) + HALF * KEYS)
}

/// Keys and values of the range that a strip reads, as the shared head has them.
#[derive(Clone, Copy)]
pub(in super::super) struct Keyed<'a> {
    pub(in super::super) keys: Rows<'a>,
    pub(in super::super) values: Rows<'a>,
    pub(in super::super) key_pairs: Pairs<'a>,
}

dispatch_pairs!(
    /// As [`super::super::backward::backward`].
    pub(in super::super) fn backward = backward_lanes(
        strip: &Strip, operands: (&Read<'_>, Keyed<'_>), scratch: (&mut [f32], &mut [u32]),
        gradients: &mut KeyGradients, d_query: (&Shared<'_>, usize, usize)
    )
);

#[inline(always)]
fn backward_lanes<A: Arithmetic, P: PairProducts>(
    strip: &Strip,
    (read, keyed): (&Read<'_>, Keyed<'_>),
    (scratch, lanes): (&mut [f32], &mut [u32]),
    gradients: &mut KeyGradients,
    d_query: (&Shared<'_>, usize, usize),
) {
    let (heads, kept) = (strip.heads, read.kept);
    let (size, scale) = (heads.size, heads.scale());
    let places = strip.places::<W>();
    let seen = strip.seen(&places.rows, read.range.start);
    let start = seen.from[0] as usize / KEYS * KEYS;
    let count = (seen.to[W - 1] as usize).min(read.range.len());
    let (panel, rest) = scratch.as_chunks_mut::<W>().0.split_at_mut(size);
    let (sums, rest) = rest.split_at_mut(size);
    let (weights, rest) = rest.split_at_mut(KEYS);
    let d_scores = &mut rest[..KEYS];
    let (coefficients, lanes) = lanes.split_at_mut(HALF * KEYS);
    let (query, rest) = lanes.as_chunks_mut::<W>().0.split_at_mut(size.div_ceil(2));
    let (d_out, rest) = rest.split_at_mut(size.div_ceil(2));
    let (query_rows, rest) = rest.split_at_mut(padded(size) / 2);
    let (d_out_rows, rest) = rest.split_at_mut(padded(size) / 2);
    let factors = &mut rest[..KEYS / 2];

    gather::<A, W>(panel, &places.at, kept.query, scale);
    let query_scales = put_panel::<A, P>(panel, query);
    gather::<A, W>(panel, &places.at, read.d_out, 1.0);
    let d_out_scales = put_panel::<A, P>(panel, d_out);
    let mut query_up = query_scales.up;
    for up in &mut query_up {
        *up *= scale;
    }
    put_rows::<P>(query_rows, (&places.at, size), kept.query, &query_up);
    put_rows::<P>(d_out_rows, (&places.at, size), read.d_out, &d_out_scales.up);
    let (log_sum_exp, shift) = read.of_lanes::<A, W>(heads, &places);

    sums.fill([0.0; W]);
    for first in (start..count).step_by(KEYS) {
        let keys = KEYS.min(count - first);
        let tiled = keys.next_multiple_of(M);
        let (weights, d_scores) = (&mut weights[..tiled], &mut d_scores[..tiled]);
        let (key_rows, value_rows) = (keyed.keys.at_row(first), keyed.values.at_row(first));
        let pairs = keyed.key_pairs.at_key(first);
        products::<P>(weights, (key_rows, keys), query, &query_scales.down);
        products::<P>(d_scores, (value_rows, keys), d_out, &d_out_scales.down);
        hide(weights, first, &seen);
        weights[keys..].fill([f32::NEG_INFINITY; W]);
        let (mut most_weight, mut most_d_score, mut sum) = ([0.0; W], [0.0; W], [0.0; W]);
        for (weight, d_score) in weights.iter_mut().zip(&mut *d_scores) {
            exp_of_difference::<A, W>(weight, &log_sum_exp);
            for lane in 0..W {
                d_score[lane] = weight[lane] * (d_score[lane] - shift[lane]);
                most_weight[lane] = greater(weight[lane], most_weight[lane]);
                most_d_score[lane] = greater(d_score[lane].abs(), most_d_score[lane]);
                sum[lane] += d_score[lane];
            }
        }
        // Zero, or no number where a gradient is none: integers cannot say so.
        let sound: f32 = whole(sum).iter().map(|sum| sum * 0.0).sum();
        let rows = gradients.keys;
        for (gradients, values, most, scales, panels) in [
            (&mut gradients.value, &*weights, whole(most_weight), &d_out_scales, &*d_out_rows),
            (&mut gradients.key, &*d_scores, whole(most_d_score), &query_scales, &*query_rows),
        ] {
            let gradients = gradients.as_chunks_mut::<W>().0;
            let limits = (&most, strip.lanes);
            let down = sound + put_coefficients::<P>(coefficients, values, limits, scales);
            for (column, panel) in panels.chunks_exact(HALF).enumerate() {
                let gradients = &mut gradients[column * rows + first..][..tiled];
                add_outer::<P>(gradients, coefficients, panel, down);
            }
        }
        let (factors, d_scores) = (&mut factors[..keys.div_ceil(2)], &mut d_scores[..keys]);
        let totals = scale_by_keys(d_scores, pairs);
        let (up, down) = scales_of(&totals);
        put_pairs::<P>(d_scores, &up, factors);
        add_rows::<P>(sums, pairs, factors, &down);
    }
    write_d_query::<A, W>((strip, &places), panel.as_flattened_mut(), sums, d_query);
}

/// Makes integers of values\[k]\[lane] · the scale of the lane's row, for the first `count` lanes, in which no magnitude is above
/// `most`: those of lanes j and j + 8 in out\[k · 8 + j]. Gives their scale, by which sums of them and integers of the rows leave
/// 32 bits nowhere.
#[inline(always)]
fn put_coefficients<P: PairProducts>(
    out: &mut [u32],
    values: &[[f32; W]],
    (most, count): (&[f32; W], usize),
    scales: &Scales,
) -> f32 {
    /// Less than 2³¹ by what sixteen roundings may add.
    const MOST: f32 = 2.14e9;
    let mut ups = scales.down;
    ups[count..].fill(0.0);
    let greatest =
        ups.iter().zip(most).fold(0.0, |greatest, (up, most)| greater(up * most, greatest));
    let limit = (MOST / (W as f32 * scales.greatest) - 0.5).min(32_767.0);
    let up = if greatest > 0.0 { limit / greatest } else { 0.0 };
    for factor in &mut ups {
        *factor *= up;
    }
    for (out, values) in out.as_chunks_mut::<HALF>().0.iter_mut().zip(values) {
        P::folded(values, &ups, out);
    }
    greatest / limit
}

/// gradients\[k]\[i] += scale · Σ over rows of coefficients\[k]\[row] · panel\[row]\[i].
#[inline(always)]
fn add_outer<P: PairProducts>(
    gradients: &mut [[f32; W]],
    coefficients: &[u32],
    panel: &[[u32; W]],
    scale: f32,
) {
    for (number, tile) in gradients.as_chunks_mut::<M>().0.iter_mut().enumerate() {
        let mut at = [0; M];
        for (m, at) in at.iter_mut().enumerate() {
            *at = (number * M + m) * HALF;
        }
        let rows = TileRows { lanes: coefficients, at, step: 1 };
        P::multiply::<M>(tile, rows, panel, &[scale; W], None);
    }
}
