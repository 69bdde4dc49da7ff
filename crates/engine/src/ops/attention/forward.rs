//! The forward of one [`Strip`].

use super::KeyRows;
use super::strip::{Places, Strip, gather, hide, scatter};
use super::tile::{add_weighted_rows, exp_of_difference, products};
use crate::kernels::simd::{Arithmetic, dispatch};
use crate::ops::shared::Shared;

/// Keys whose exponentials are summed before they join the row's total: blocks begin at multiples of it.
pub(super) const KEYS: usize = 64;

/// Scratch values that a strip needs which sees `keys` keys.
pub(super) fn scratch_length(size: usize, keys: usize) -> usize {
    // The first block begins up to a block before the first key that is seen.
    16 * (2 * size + KEYS + keys.next_multiple_of(8))
}

dispatch!(
    /// Writes the strip's rows of (first row of the sequence, `out`, `log_sum_exp`).
    ///
    /// `query` begins at the sequence's first row.
    pub(super) fn forward = forward_body(
        strip: &Strip, query: &[f32], keys: &KeyRows<'_>, values: &KeyRows<'_>, scratch: &mut [f32],
        output: (usize, &Shared<'_>, &Shared<'_>)
    )
);

#[inline(always)]
fn forward_body<A: Arithmetic>(
    strip: &Strip,
    query: &[f32],
    keys: &KeyRows<'_>,
    values: &KeyRows<'_>,
    scratch: &mut [f32],
    output: (usize, &Shared<'_>, &Shared<'_>),
) {
    if strip.wide && A::MANY_REGISTERS {
        forward_lanes::<A, 16, 8>(strip, query, keys, values, scratch, output);
    } else if strip.wide {
        forward_lanes::<A, 16, 4>(strip, query, keys, values, scratch, output);
    } else {
        forward_lanes::<A, 8, 8>(strip, query, keys, values, scratch, output);
    }
}

#[inline(always)]
fn forward_lanes<A: Arithmetic, const W: usize, const M: usize>(
    strip: &Strip,
    query: &[f32],
    keys: &KeyRows<'_>,
    values: &KeyRows<'_>,
    scratch: &mut [f32],
    output: (usize, &Shared<'_>, &Shared<'_>),
) {
    let (heads, size) = (strip.heads, strip.heads.size);
    let start = strip.first_key() / KEYS * KEYS;
    let places = strip.places::<W>();
    let seen = strip.seen(&places.rows, start);
    let count = strip.last_key() + 1 - start;
    let (panel, rest) = scratch.as_chunks_mut::<W>().0.split_at_mut(size);
    let (sums, rest) = rest.split_at_mut(size);
    let scores = &mut rest[..count.next_multiple_of(M)];

    gather::<A, W>(panel, &places.at, query, heads.scale());
    for (block, scores) in scores.chunks_mut(KEYS).enumerate() {
        let first = block * KEYS;
        let (keys, stride) = keys.of_head(heads, strip.shared_head, start + first);
        products::<A, W, M>(scores, (keys, stride, KEYS.min(count - first)), panel);
    }
    let scores = &mut scores[..count];
    hide(scores, 0, &seen);
    let greatest = greatest(scores);

    sums.fill([0.0; W]);
    let mut total = [0.0; W];
    for (block, weights) in scores.chunks_mut(KEYS).enumerate() {
        let first = block * KEYS;
        let mut part = [0.0; W];
        for weights in weights.iter_mut() {
            exp_of_difference::<A, W>(weights, &greatest);
            for lane in 0..W {
                part[lane] += weights[lane];
            }
        }
        for lane in 0..W {
            total[lane] += part[lane];
        }
        let rows = values.of_head(heads, strip.shared_head, start + first);
        add_weighted_rows::<A, W, M>(sums, rows, weights, (first, &seen));
    }

    let rows = panel.as_flattened_mut();
    write_rows::<A, W>((strip, &places), rows, sums, (&greatest, &total), output);
}

/// Writes the lanes' rows: their `sums`, turned in `rows`, over their `total`; and the log-sum-exp of their scores.
#[inline(always)]
pub(super) fn write_rows<A: Arithmetic, const W: usize>(
    (strip, places): (&Strip, &Places<W>),
    rows: &mut [f32],
    sums: &[[f32; W]],
    (greatest, total): (&[f32; W], &[f32; W]),
    (first_row, out, log_sum_exp): (usize, &Shared<'_>, &Shared<'_>),
) {
    let (heads, size) = (strip.heads, strip.heads.size);
    scatter::<A, W>(rows, sums, &total.map(|total| 1.0 / total));
    for (lane, row) in rows.chunks_exact(size).enumerate().take(strip.lanes) {
        out.part(first_row * heads.query_width() + places.at[lane], size).copy_from_slice(row);
        let at = (first_row + places.rows[lane]) * heads.query + places.heads[lane];
        log_sum_exp.part(at, 1)[0] = greatest[lane] + total[lane].ln();
    }
}

/// The greatest score of each lane.
#[inline(always)]
pub(super) fn greatest<const W: usize>(scores: &[[f32; W]]) -> [f32; W] {
    let mut greatest = [f32::NEG_INFINITY; W];
    for scores in scores {
        for lane in 0..W {
            greatest[lane] =
                if scores[lane] > greatest[lane] { scores[lane] } else { greatest[lane] };
        }
    }
    greatest
}
