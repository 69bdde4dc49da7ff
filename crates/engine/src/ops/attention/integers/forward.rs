//! The forward of one [`Strip`] in integers: as `super::super::forward`, product by product.

use super::super::forward::{KEYS, greatest, write_rows};
use super::super::strip::{Seen, Strip, gather, hide};
use super::super::tile::exp_of_difference;
use super::panel::{put_pairs, put_panel, scales_of};
use super::tile::{M, PairProducts, TileRows, W, dispatch_pairs};
use super::{Pairs, Rows};
use crate::kernels::simd::Arithmetic;
use crate::ops::shared::Shared;

/// Values and lanes of scratch that a strip needs which sees `keys` keys.
pub(in super::super) fn scratch_lengths(size: usize, keys: usize) -> (usize, usize) {
    (W * (2 * size + KEYS + keys.next_multiple_of(M)), W * (size.div_ceil(2) + KEYS / 2))
}

dispatch_pairs!(
    /// As [`super::super::forward::forward`].
    pub(in super::super) fn forward = forward_lanes(
        strip: &Strip, query: &[f32], operands: (Rows<'_>, Pairs<'_>),
        scratch: (&mut [f32], &mut [u32]), output: (usize, &Shared<'_>, &Shared<'_>)
    )
);

#[inline(always)]
fn forward_lanes<A: Arithmetic, P: PairProducts>(
    strip: &Strip,
    query: &[f32],
    (keys, values): (Rows<'_>, Pairs<'_>),
    (scratch, lanes): (&mut [f32], &mut [u32]),
    output: (usize, &Shared<'_>, &Shared<'_>),
) {
    let size = strip.heads.size;
    let start = strip.first_key() / KEYS * KEYS;
    let places = strip.places::<W>();
    let seen = strip.seen(&places.rows, start);
    let count = strip.last_key() + 1 - start;
    let (keys, values) = (keys.at_row(start), values.at_key(start));
    let (panel, rest) = scratch.as_chunks_mut::<W>().0.split_at_mut(size);
    let (sums, rest) = rest.split_at_mut(size);
    let scores = &mut rest[..count.next_multiple_of(M)];
    let (query_lanes, weight_lanes) = lanes.as_chunks_mut::<W>().0.split_at_mut(size.div_ceil(2));

    gather::<A, W>(panel, &places.at, query, strip.heads.scale());
    let query_scales = put_panel::<A, P>(panel, query_lanes);
    products::<P>(scores, (keys, count), query_lanes, &query_scales.down);
    let scores = &mut scores[..count];
    hide(scores, 0, &seen);
    let greatest = whole(greatest(scores));

    sums.fill([0.0; W]);
    let mut total = [0.0; W];
    for (block, weights) in scores.chunks_mut(KEYS).enumerate() {
        let first = block * KEYS;
        let values = values.at_key(first);
        let (part, totals) = weigh::<A>(weights, &greatest, values, (first, &seen));
        for lane in 0..W {
            total[lane] += part[lane];
        }
        let (up, down) = scales_of(&totals);
        let weight_lanes = &mut weight_lanes[..weights.len().div_ceil(2)];
        put_pairs::<P>(weights, &up, weight_lanes);
        add_rows::<P>(sums, values, weight_lanes, &down);
    }

    let rows = panel.as_flattened_mut();
    write_rows::<A, W>((strip, &places), rows, sums, (&greatest, &total), output);
}

/// products\[k]\[lane] = rows\[k] · the lane's row; past the last of `count` rows, that row again.
#[inline(always)]
pub(super) fn products<P: PairProducts>(
    products: &mut [[f32; W]],
    (rows, count): (Rows<'_>, usize),
    panel: &[[u32; W]],
    scales: &[f32; W],
) {
    for (number, tile) in products.as_chunks_mut::<M>().0.iter_mut().enumerate() {
        let (mut at, mut row_scales) = ([0; M], [0.0; M]);
        for m in 0..M {
            let row = (number * M + m).min(count - 1);
            at[m] = row * rows.stride;
            row_scales[m] = rows.scale(row);
        }
        let tile_rows = TileRows { lanes: rows.lanes, at, step: 1 };
        P::multiply::<M>(tile, tile_rows, panel, scales, Some(&row_scales));
    }
}

/// sums\[i]\[lane] += scales\[lane] · Σₖ value i of key k · the lane's factor of it.
#[inline(always)]
pub(super) fn add_rows<P: PairProducts>(
    sums: &mut [[f32; W]],
    pairs: Pairs<'_>,
    factors: &[[u32; W]],
    scales: &[f32; W],
) {
    let (tiles, rest) = sums.as_chunks_mut::<M>();
    let done = tiles.len() * M;
    let rows = TileRows { lanes: pairs.lanes, at: [0; M], step: pairs.stride };
    for (number, tile) in tiles.iter_mut().enumerate() {
        let mut rows = rows;
        for m in 0..M {
            rows.at[m] = number * M + m;
        }
        P::multiply::<M>(tile, rows, factors, scales, None);
    }
    for (number, sum) in rest.iter_mut().enumerate() {
        let rows = TileRows { lanes: rows.lanes, at: [done + number], step: rows.step };
        P::multiply::<1>(std::array::from_mut(sum), rows, factors, scales, None);
    }
}

/// Makes scores exponentials times their values' scales; gives the sums of the exponentials and of the products.
#[inline(always)]
fn weigh<A: Arithmetic>(
    scores: &mut [[f32; W]],
    greatest: &[f32; W],
    values: Pairs<'_>,
    (first, seen): (usize, &Seen<W>),
) -> ([f32; W], [f32; W]) {
    let mut part = [0.0; W];
    for weights in &mut *scores {
        exp_of_difference::<A, W>(weights, greatest);
        for lane in 0..W {
            part[lane] += weights[lane];
        }
    }
    let part = whole(part);
    let by_all = seen.by_all(first, scores.len());
    let totals = scale_by_keys(scores, values);
    if by_all.len() == scores.len() {
        return (part, totals);
    }
    // What is no number times zero is none; and what is not seen must be nothing.
    let mut totals = [0.0; W];
    for (key, weights) in scores.iter_mut().enumerate() {
        let sees = seen.mask(first + key);
        for lane in 0..W {
            weights[lane] = f32::from_bits(weights[lane].to_bits() & sees[lane]);
            totals[lane] += weights[lane];
        }
    }
    (part, whole(totals))
}

/// Multiplies what is due to each key by the key's scale; gives the sums of the magnitudes.
#[inline(always)]
pub(super) fn scale_by_keys(due: &mut [[f32; W]], pairs: Pairs<'_>) -> [f32; W] {
    let mut totals = [0.0; W];
    for (key, due) in due.iter_mut().enumerate() {
        let scale = pairs.scale(key);
        for lane in 0..W {
            due[lane] *= scale;
            totals[lane] += due[lane].abs();
        }
    }
    whole(totals)
}

/// The same lanes, through memory: else what becomes of each of them cuts the loop that made them into small registers.
#[inline(always)]
pub(super) fn whole<T>(lanes: [T; W]) -> [T; W] {
    std::hint::black_box(lanes)
}
