//! Products of few rows, which is what writing a token takes: [`multiply_few`] reads each stored row of the weights once, as one
//! long dot product, and multiplies it with all rows of x.
//!
//! Bound by memory, so no strip is filled and nothing is rounded: x is multiplied in 32 bits with what is stored. A dot product is
//! thirty-two chains over k and a fixed fold, whatever the number of rows.

use std::ops::Range;

use super::KernelPath;
use super::lanes::Widen;
use super::simd::{Arithmetic, LANES, dispatch, fold};
use super::source::{Source, Values};
use super::threads::Threads;
use crate::ops::shared::Shared;

/// Stored rows of one task.
const TASK_ROWS: usize = 32;
/// Rows of x that meet a stored row while it is in the registers.
const X_ROWS: usize = 4;

/// One product: `y` (rows, n) = x · Mᵀ.
#[derive(Debug)]
pub struct FewRows<'a> {
    /// M, multiplied as its transpose; floats, not blocks of a file.
    pub right: Source<'a>,
    /// Row after row.
    pub y: &'a mut [f32],
}

/// Whether this matrix can be multiplied here.
pub fn can_be(right: &Source<'_>) -> bool {
    matches!(right.values, Values::F32(_) | Values::Bf16(_))
}

/// Runs all products with the same `x` (rows, k).
pub fn multiply_few(
    (path, threads): (KernelPath, &Threads),
    x: &[f32],
    rows: usize,
    products: &mut [FewRows<'_>],
) {
    let mut tasks: Vec<(usize, Range<usize>)> = Vec::new();
    for (number, product) in products.iter().enumerate() {
        let (n, k) = (product.right.rows, product.right.width);
        assert!(product.y.len() >= rows * n && x.len() >= rows * k, "the shapes fit");
        let starts = (0..n).step_by(TASK_ROWS);
        tasks.extend(starts.map(|start| (number, start..(start + TASK_ROWS).min(n))));
    }
    let products: Vec<(Source<'_>, Shared<'_>)> =
        products.iter_mut().map(|product| (product.right, Shared::new(product.y))).collect();
    threads.for_each(tasks.len(), |task| {
        let (number, outputs) = &tasks[task];
        let (right, y) = &products[*number];
        for first in (0..rows).step_by(X_ROWS) {
            let x_rows = first..(first + X_ROWS).min(rows);
            let mut found = [[0.0; X_ROWS]; TASK_ROWS];
            let x = &x[x_rows.start * right.width..x_rows.end * right.width];
            match right.values {
                Values::F32(values) => dots(path, x, (values, right), outputs, &mut found),
                Values::Bf16(values) => dots(path, x, (values, right), outputs, &mut found),
                Values::File(_) => unreachable!("a matrix that `can_be` does not take"),
            }
            for (at, row) in x_rows.enumerate() {
                let y = y.part(row * right.rows + outputs.start, outputs.len());
                for (y, found) in y.iter_mut().zip(&found) {
                    *y = found[at];
                }
            }
        }
    });
}

/// `found[o][r]` = row r of x · stored row o.
type Found = [[f32; X_ROWS]; TASK_ROWS];

dispatch!(fn dots<T: Widen> = dots_body(
    x: &[f32], right: (&[T], &Source<'_>), outputs: &Range<usize>, found: &mut Found
));

#[inline(always)]
fn dots_body<A: Arithmetic>(
    x: &[f32],
    (values, right): (&[impl Widen], &Source<'_>),
    outputs: &Range<usize>,
    found: &mut Found,
) {
    for (output, found) in outputs.clone().zip(found) {
        let weights = &values[output * right.stride..][..right.width];
        match x.len() / right.width.max(1) {
            1 => dot_rows::<A, _, 1>(x, weights, found),
            2 => dot_rows::<A, _, 2>(x, weights, found),
            3 => dot_rows::<A, _, 3>(x, weights, found),
            _ => dot_rows::<A, _, 4>(x, weights, found),
        }
    }
}

/// Dot products of one stored row with `ROWS` rows of x.
#[inline(always)]
fn dot_rows<A: Arithmetic, T: Widen, const ROWS: usize>(
    x: &[f32],
    weights: &[T],
    found: &mut [f32; X_ROWS],
) {
    const BLOCK: usize = 2 * LANES;
    let k = weights.len();
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * k..(row + 1) * k]);
    // Two registers of chains hide the latency of an addition.
    let mut sums = [[0.0f32; BLOCK]; ROWS];
    let (blocks, rest) = weights.as_chunks::<BLOCK>();
    for (number, block) in blocks.iter().enumerate() {
        let mut wide = [0.0f32; BLOCK];
        for at in 0..BLOCK {
            wide[at] = block[at].widen();
        }
        for (sums, x) in sums.iter_mut().zip(rows) {
            let x = &x[number * BLOCK..][..BLOCK];
            for at in 0..BLOCK {
                sums[at] = A::multiply_add(x[at], wide[at], sums[at]);
            }
        }
    }
    for ((sums, x), found) in sums.iter_mut().zip(rows).zip(found) {
        let x = &x[k - rest.len()..];
        for ((sum, x), weight) in sums.iter_mut().zip(x).zip(rest) {
            *sum = A::multiply_add(*x, weight.widen(), *sum);
        }
        let mut lanes = [0.0; LANES];
        for at in 0..LANES {
            lanes[at] = sums[at] + sums[LANES + at];
        }
        *found = fold(lanes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::lanes::to_bf16;
    use crate::kernels::source::Direction;
    use bioinstruct_core::random::Stream;

    #[test]
    fn dot_products_are_right_and_the_same_in_any_company() {
        let mut draws = Stream::new(1, "few").at(0);
        for (n, k) in [(1, 1), (33, 31), (70, 64), (40, 577)] {
            // Values that bfloat16 holds exactly.
            let mut random = |length: usize| -> Vec<f32> {
                (0..length).map(|_| draws.below(200) as f32 / 64.0 - 1.5).collect()
            };
            let (x, weights) = (random(9 * k), random(n * k));
            let halves: Vec<u16> = weights.iter().map(|value| to_bf16(*value)).collect();
            for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
                for values in [Values::F32(&weights), Values::Bf16(&halves)] {
                    let run = |rows: Range<usize>, count: usize| {
                        let threads = Threads::new(count).unwrap();
                        let mut y = vec![0.0; rows.len() * n];
                        let right = Source::new(values, k, Direction::Transposed);
                        assert!(can_be(&right));
                        let product = FewRows { right, y: &mut y };
                        let x = &x[rows.start * k..rows.end * k];
                        multiply_few((path, &threads), x, rows.len(), &mut [product]);
                        y
                    };
                    let all = run(0..9, 2);
                    for row in 0..9 {
                        for output in 0..n {
                            let expected: f64 = (0..k)
                                .map(|i| {
                                    f64::from(x[row * k + i]) * f64::from(weights[output * k + i])
                                })
                                .sum();
                            let found = f64::from(all[row * n + output]);
                            assert!((found - expected).abs() < 1e-3, "{path:?} {n} {k}");
                        }
                        assert_eq!(run(row..row + 1, 1), all[row * n..(row + 1) * n]);
                    }
                }
            }
        }
    }
}
