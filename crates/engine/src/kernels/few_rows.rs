//! Products of few rows, which is what writing a token takes: [`multiply_few`] reads each stored row of the weights once from
//! memory and multiplies it with all rows of x.
//!
//! Bound by memory, so no strip is filled and nothing is rounded: x is multiplied in 32 bits with what is stored. A dot product is
//! sixteen chains over k and a fixed fold, whatever the number of rows; four are made at once, one stored row with four rows of x,
//! or one row of x with four stored rows.

use std::array::from_fn;
use std::ops::Range;

use super::KernelPath;
use super::lanes::Widen;
use super::simd::{Arithmetic, FOUR, LANES, dispatch, dot_four, prefetch};
use super::source::{Source, Values};
use super::threads::Threads;
use crate::ops::shared::Shared;

/// Stored rows of one task.
const TASK_ROWS: usize = 32;
/// Bytes that the processor takes from memory at once.
const CACHE_LINE: usize = 64;

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
        let x = (&x[..rows * right.width], rows);
        match right.values {
            Values::F32(values) => dots(path, x, (values, right), outputs, y),
            Values::Bf16(values) => dots(path, x, (values, right), outputs, y),
            Values::File(_) => unreachable!("a matrix that `can_be` does not take"),
        }
    });
}

dispatch!(fn dots<T: Widen> = dots_body(
    x: (&[f32], usize), right: (&[T], &Source<'_>), outputs: &Range<usize>, y: &Shared<'_>
));

/// Every row of x with the stored rows `outputs`.
#[inline(always)]
fn dots_body<A: Arithmetic>(
    (x, rows): (&[f32], usize),
    (values, right): (&[impl Widen], &Source<'_>),
    outputs: &Range<usize>,
    y: &Shared<'_>,
) {
    let (n, k) = (right.rows, right.width);
    let stored = |output: usize| &values[output * right.stride..][..k];
    let from = |output: usize| values.get(output * right.stride..).unwrap_or(&[]);
    let x = |row: usize| &x[row * k..][..k];
    let in_fours = rows / FOUR * FOUR;
    for first in outputs.clone().step_by(FOUR) {
        let group = first..(first + FOUR).min(outputs.end);
        for output in group.clone() {
            for row in (0..in_fours).step_by(FOUR) {
                let four = from_fn(|at| x(row + at));
                // The first rows of x ask for what the next group reads.
                let next = if row == 0 { from(output + FOUR) } else { &[] };
                let found =
                    dot_four::<A, _, _>(stored(output), four, |block| ask_for(next, 1, block));
                for (at, found) in found.into_iter().enumerate() {
                    y.part((row + at) * n + output, 1)[0] = found;
                }
            }
        }
        for row in in_fours..rows {
            // A last group may be smaller: then its last row is taken again.
            let four = from_fn(|at| stored((first + at).min(group.end - 1)));
            let next = if row == 0 { from(group.end) } else { &[] };
            let found = dot_four::<A, _, _>(x(row), four, |block| ask_for(next, FOUR, block));
            y.part(row * n + first, group.len()).copy_from_slice(&found[..group.len()]);
        }
    }
}

/// Asks for what follows in `next` when block `block` of `stored` rows is multiplied.
#[inline(always)]
fn ask_for<T>(next: &[T], stored: usize, block: usize) {
    let values = stored * LANES;
    for at in (0..values).step_by(CACHE_LINE / size_of::<T>()) {
        prefetch(next, block * values + at);
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
