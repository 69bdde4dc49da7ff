//! The inner products of attention, as tiles of sums that stay in registers.
//!
//! A tile is `M` rows of `W` lanes. Each sum is one chain of multiply-adds in ascending order, and the next call continues
//! it; so neither how a chain is cut into calls nor the shape of the tiles shows in its bits.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::strip::Seen;
use crate::kernels::simd::{Arithmetic, exp_parts, power_of_two};

/// Steps of a chain between two checks of the rows' bounds.
const STEPS: usize = 4;

/// sums\[m]\[lane] += Σᵢ rows\[m]\[i] · panel\[i]\[lane].
#[inline(always)]
pub(super) fn add_products<A: Arithmetic, const W: usize, const M: usize>(
    sums: &mut [[f32; W]; M],
    rows: [&[f32]; M],
    panel: &[[f32; W]],
) {
    #[cfg(target_arch = "x86_64")]
    if A::MANY_REGISTERS && W == 16 {
        return avx512::add_products(sums.as_flattened_mut(), rows, panel.as_flattened());
    }
    let mut held = *sums;
    let (blocks, rest) = panel.as_chunks::<STEPS>();
    for (number, block) in blocks.iter().enumerate() {
        let mut values = [&[0.0; STEPS]; M];
        for m in 0..M {
            let Some(chunk) = rows[m][number * STEPS..].first_chunk() else { return };
            values[m] = chunk;
        }
        for step in 0..STEPS {
            for m in 0..M {
                add_scaled_row::<A, W>(&mut held[m], values[m][step], &block[step]);
            }
        }
    }
    for (i, panel) in rest.iter().enumerate() {
        for m in 0..M {
            add_scaled_row::<A, W>(&mut held[m], rows[m][blocks.len() * STEPS + i], panel);
        }
    }
    *sums = held;
}

#[inline(always)]
fn add_scaled_row<A: Arithmetic, const W: usize>(sums: &mut [f32; W], factor: f32, row: &[f32; W]) {
    for lane in 0..W {
        sums[lane] = A::multiply_add(factor, row[lane], sums[lane]);
    }
}

/// products\[k]\[lane] = Σᵢ rows\[k]\[i] · panel\[i]\[lane]; past the last of `count` rows, that row again.
#[inline(always)]
pub(super) fn products<A: Arithmetic, const W: usize, const M: usize>(
    products: &mut [[f32; W]],
    (rows, stride, count): (&[f32], usize, usize),
    panel: &[[f32; W]],
) {
    for (number, tile) in products.as_chunks_mut::<M>().0.iter_mut().enumerate() {
        let mut tile_rows = [rows; M];
        for (m, row) in tile_rows.iter_mut().enumerate() {
            *row = &rows[(number * M + m).min(count - 1) * stride..][..panel.len()];
        }
        *tile = [[0.0; W]; M];
        add_products::<A, W, M>(tile, tile_rows, panel);
    }
}

/// sums\[i]\[lane] += Σₖ rows\[k]\[i] · weights\[k]\[lane] over the keys that the lane sees; `weights` begins at key `first`.
#[inline(always)]
pub(super) fn add_weighted_rows<A: Arithmetic, const W: usize, const M: usize>(
    sums: &mut [[f32; W]],
    (rows, stride): (&[f32], usize),
    weights: &[[f32; W]],
    (first, seen): (usize, &Seen<W>),
) {
    let (tiles, rest) = sums.as_chunks_mut::<M>();
    let done = tiles.len() * M;
    for (number, tile) in tiles.iter_mut().enumerate() {
        let rows = &rows[number * M..];
        add_weighted_columns::<A, W, M>(tile, (rows, stride), weights, (first, seen));
    }
    for (number, sum) in rest.iter_mut().enumerate() {
        let (sum, rows) = (std::array::from_mut(sum), &rows[done + number..]);
        add_weighted_columns::<A, W, 1>(sum, (rows, stride), weights, (first, seen));
    }
}

/// The keys that all lanes see, and before and after them those that only some do.
#[inline(always)]
fn add_weighted_columns<A: Arithmetic, const W: usize, const M: usize>(
    sums: &mut [[f32; W]; M],
    (rows, stride): (&[f32], usize),
    weights: &[[f32; W]],
    (first, seen): (usize, &Seen<W>),
) {
    let Range { start, end } = seen.by_all(first, weights.len());
    if start > 0 {
        add_weighted_seen::<A, W, M>(sums, (rows, stride), &weights[..start], (first, seen));
    }
    if start < end {
        let rows = &rows[start * stride..];
        add_weighted::<A, W, M>(sums, (rows, stride), &weights[start..end]);
    }
    if end < weights.len() {
        let rows = &rows[end * stride..];
        add_weighted_seen::<A, W, M>(sums, (rows, stride), &weights[end..], (first + end, seen));
    }
}

#[inline(always)]
fn add_weighted<A: Arithmetic, const W: usize, const M: usize>(
    sums: &mut [[f32; W]; M],
    (rows, stride): (&[f32], usize),
    weights: &[[f32; W]],
) {
    #[cfg(target_arch = "x86_64")]
    if A::MANY_REGISTERS && W == 16 {
        let weights = weights.as_flattened();
        return avx512::add_weighted::<M>(sums.as_flattened_mut(), (rows, stride), weights);
    }
    let mut held = *sums;
    for (k, weights) in weights.iter().enumerate() {
        let Some(row) = rows[k * stride..].first_chunk::<M>() else { return };
        for m in 0..M {
            add_scaled_row::<A, W>(&mut held[m], row[m], weights);
        }
    }
    *sums = held;
}

/// Keys that not every lane sees: what is hidden is not even multiplied by zero.
#[inline(always)]
fn add_weighted_seen<A: Arithmetic, const W: usize, const M: usize>(
    sums: &mut [[f32; W]; M],
    (rows, stride): (&[f32], usize),
    weights: &[[f32; W]],
    (first, seen): (usize, &Seen<W>),
) {
    #[cfg(target_arch = "x86_64")]
    if A::MANY_REGISTERS && W == 16 {
        let (weights, seen) = (weights.as_flattened(), (first, &seen.from[..], &seen.to[..]));
        return avx512::add_weighted_seen::<M>(
            sums.as_flattened_mut(),
            (rows, stride),
            weights,
            seen,
        );
    }
    let mut held = *sums;
    for (k, weights) in weights.iter().enumerate() {
        let Some(row) = rows[k * stride..].first_chunk::<M>() else { return };
        let sees = seen.mask(first + k);
        for m in 0..M {
            let mut sum = held[m];
            add_scaled_row::<A, W>(&mut sum, row[m], weights);
            // By bits, which become one vector instruction where a choice would become branches.
            for lane in 0..W {
                let bits = sum[lane].to_bits() & sees[lane] | held[m][lane].to_bits() & !sees[lane];
                held[m][lane] = f32::from_bits(bits);
            }
        }
    }
    *sums = held;
}

/// e^(value − shift) of each lane, for differences that exceed zero at most by rounding; zero below -87.
///
/// [`crate::kernels::simd::exp`] without the steps for greater arguments.
#[inline(always)]
pub(super) fn exp_of_difference<A: Arithmetic, const W: usize>(
    values: &mut [f32; W],
    shift: &[f32; W],
) {
    const LOW: f32 = -87.0;
    for lane in 0..W {
        let x = values[lane] - shift[lane];
        let (value, n) = exp_parts::<A>(if x < LOW { LOW } else { x });
        values[lane] = if x < LOW { 0.0 } else { value * power_of_two(n) };
    }
}
