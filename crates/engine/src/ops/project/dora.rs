//! DoRA's part of a projection (Liu et al. 2024), as PEFT computes it: y = W x + (g − 1) ∘ W x' + g ∘ s B A x', where x' is the
//! adapter's input after dropout and g = m / n.
//!
//! m are the magnitudes, n the lengths of the rows of W + s B A ([`row_norms`]), which count as constants in the backward.
//! Without dropout that is y = g ∘ z with z = (W + s B A) x. What is kept for the gradient of m is z of x'.

use super::{LowRank, Matrix};
use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, add_scaled, dispatch, dot};
use crate::kernels::threads::Threads;

/// One projection's magnitudes, and the row lengths that they replace.
#[derive(Debug, Clone, Copy)]
pub struct Magnitude<'a> {
    /// (out).
    pub values: &'a [f32],
    /// (out).
    pub norms: &'a [f32],
}

impl Magnitude<'_> {
    /// g = m / n of every row, into `gains` (out). A row of zeros has no direction, and stays as it is.
    pub(super) fn gains(&self, gains: &mut Vec<f32>) {
        let gain = |(value, norm): (&f32, &f32)| if *norm > 0.0 { value / norm } else { 1.0 };
        gains.clear();
        gains.extend(self.values.iter().zip(self.norms).map(gain));
    }
}

/// Stores in `norms` (out) the lengths of the rows of W + s B A; the factors are (A, B, s).
pub fn row_norms(
    (path, threads): (KernelPath, &Threads),
    matrix: &Matrix,
    (a, b, scale): (&[f32], &[f32], f32),
    norms: &mut [f32],
) {
    let rank = a.len() / matrix.input;
    threads.for_rows(norms, 1, 16, |rows, norms| {
        let mut weights = vec![0.0; matrix.input];
        for (row, norm) in rows.zip(norms) {
            matrix.row(row, &mut weights);
            let b = &b[row * rank..(row + 1) * rank];
            *norm = squared_length(path, &mut weights, a, b, scale).sqrt();
        }
    });
}

dispatch!(fn squared_length = squared_length_body(
    weights: &mut [f32], a: &[f32], b: &[f32], scale: f32
) -> f32);

#[inline(always)]
fn squared_length_body<A: Arithmetic>(
    weights: &mut [f32],
    a: &[f32],
    b: &[f32],
    scale: f32,
) -> f32 {
    for (b, a) in b.iter().zip(a.chunks_exact(weights.len())) {
        add_scaled::<A>(weights, scale * b, a);
    }
    dot::<A>(weights, weights)
}

/// Without dropout: keeps z, which stands in the adapter's rows of `y`, and makes it g ∘ z.
pub(super) fn stretch(
    threads: &Threads,
    adapter: &LowRank<'_>,
    gains: &[f32],
    y: &mut [f32],
    kept: Option<&mut [f32]>,
) {
    let out = gains.len();
    let y = &mut y[adapter.first_row * out..][..adapter.rows * out];
    if let Some(kept) = kept {
        kept[adapter.rows * adapter.rank..][..y.len()].copy_from_slice(y);
    }
    threads.for_rows(y, out, 16, |_, y| {
        for y in y.chunks_exact_mut(out) {
            y.iter_mut().zip(gains).for_each(|(y, gain)| *y *= gain);
        }
    });
}

/// With dropout: `y` holds W (x − x') and becomes that + g ∘ z; keeps z.
pub(super) fn add_stretched(
    threads: &Threads,
    adapter: &LowRank<'_>,
    (gains, z): (&[f32], &[f32]),
    y: &mut [f32],
    kept: Option<&mut [f32]>,
) {
    let out = gains.len();
    if let Some(kept) = kept {
        kept[adapter.rows * adapter.rank..][..z.len()].copy_from_slice(z);
    }
    let y = &mut y[adapter.first_row * out..][..adapter.rows * out];
    threads.for_rows(y, out, 16, |rows, y| {
        for (row, y) in rows.zip(y.chunks_exact_mut(out)) {
            for ((y, z), gain) in y.iter_mut().zip(&z[row * out..]).zip(gains) {
                *y += gain * z;
            }
        }
    });
}

/// `d_m` += Σ over rows of `d_y` ∘ z / n; both are (rows, out).
pub(super) fn magnitude_gradient(
    threads: &Threads,
    magnitude: Magnitude<'_>,
    (rows, d_y, z): (usize, &[f32], &[f32]),
    d_m: &mut [f32],
) {
    let out = magnitude.norms.len();
    threads.for_rows(d_m, 1, 64, |columns, d_m| {
        let mut sums = vec![0.0f32; columns.len()];
        for row in 0..rows {
            let part = row * out + columns.start..row * out + columns.end;
            for ((sum, d_y), z) in sums.iter_mut().zip(&d_y[part.clone()]).zip(&z[part]) {
                *sum += d_y * z;
            }
        }
        for ((d_m, sum), norm) in d_m.iter_mut().zip(sums).zip(&magnitude.norms[columns]) {
            *d_m += if *norm > 0.0 { sum / norm } else { 0.0 };
        }
    });
}
