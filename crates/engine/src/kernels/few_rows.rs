//! Products of few rows, which is what writing a token takes: [`multiply_few`] reads each stored row of the weights once, as one
//! long dot product, and multiplies it with all rows of x.
//!
//! Bound by memory: no strip is filled. A dot product is sixteen chains over k and a fixed fold, whatever the number of rows.

#![expect(unsafe_code, reason = "registers are loaded through pointers whose extents are checked")]

use std::ops::Range;

use super::KernelPath;
use super::gemm::Left;
use super::lanes::{Lane, from_bf16};
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

/// Runs all products with the same `x` (`rows` rows of lanes).
pub fn multiply_few(
    (path, threads): (KernelPath, &Threads),
    lane: Lane,
    x: Left<'_>,
    rows: usize,
    products: &mut [FewRows<'_>],
) {
    let mut tasks: Vec<(usize, Range<usize>)> = Vec::new();
    for (number, product) in products.iter().enumerate() {
        let (n, lanes) = (product.right.rows, lane.count(product.right.width));
        assert!(product.y.len() >= rows * n && lanes <= x.stride, "the shapes fit");
        assert!(rows == 0 || x.lanes.len() >= (rows - 1) * x.stride + lanes, "x holds its rows");
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
            dots(path, lane, x, x_rows.clone(), right, outputs.clone(), &mut found);
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
fn dots(
    path: KernelPath,
    lane: Lane,
    x: Left<'_>,
    x_rows: Range<usize>,
    right: &Source<'_>,
    outputs: Range<usize>,
    found: &mut [[f32; X_ROWS]; TASK_ROWS],
) {
    let lanes = lane.count(right.width);
    let stored = |output: usize| output * right.stride..output * right.stride + right.width;
    let x_row = |row: usize| &x.lanes[row * x.stride..row * x.stride + lanes];
    match (lane, right.values) {
        #[cfg(target_arch = "x86_64")]
        (Lane::Bf16Pair, Values::Bf16(values)) if path == KernelPath::Avx512Bf16 => {
            let x: [&[u32]; X_ROWS] =
                std::array::from_fn(|at| x_row((x_rows.start + at).min(x_rows.end - 1)));
            for (output, found) in outputs.zip(found) {
                let weights = &values[stored(output)];
                // SAFETY: the path was found on this processor; every row of x has the lanes of the stored row.
                unsafe {
                    match x_rows.len() {
                        1 => pairs::<1>(&x, weights, found),
                        2 => pairs::<2>(&x, weights, found),
                        3 => pairs::<3>(&x, weights, found),
                        _ => pairs::<4>(&x, weights, found),
                    }
                }
            }
        }
        (Lane::F32, Values::F32(values)) => {
            for (output, found) in outputs.zip(found) {
                for (row, found) in x_rows.clone().zip(found) {
                    *found = dot_f32(path, x_row(row), &values[stored(output)]);
                }
            }
        }
        (Lane::F32, Values::Bf16(values)) => {
            for (output, found) in outputs.zip(found) {
                for (row, found) in x_rows.clone().zip(found) {
                    *found = dot_bf16(path, x_row(row), &values[stored(output)]);
                }
            }
        }
        (lane, _) => unreachable!("{lane:?} of a matrix that `can_be` does not take"),
    }
}

dispatch!(fn dot_f32 = dot_f32_body(x: &[u32], weights: &[f32]) -> f32);

#[inline(always)]
fn dot_f32_body<A: Arithmetic>(x: &[u32], weights: &[f32]) -> f32 {
    dot_with::<A, f32>(x, weights, |weight| weight)
}

dispatch!(fn dot_bf16 = dot_bf16_body(x: &[u32], weights: &[u16]) -> f32);

#[inline(always)]
fn dot_bf16_body<A: Arithmetic>(x: &[u32], weights: &[u16]) -> f32 {
    dot_with::<A, u16>(x, weights, from_bf16)
}

#[inline(always)]
fn dot_with<A: Arithmetic, T: Copy>(x: &[u32], weights: &[T], widen: impl Fn(T) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (x_blocks, x_rest) = x.as_chunks::<LANES>();
    let (blocks, rest) = weights.as_chunks::<LANES>();
    for (x, weights) in x_blocks.iter().zip(blocks) {
        for at in 0..LANES {
            sums[at] = A::multiply_add(f32::from_bits(x[at]), widen(weights[at]), sums[at]);
        }
    }
    for ((sum, x), weight) in sums.iter_mut().zip(x_rest).zip(rest) {
        *sum = A::multiply_add(f32::from_bits(*x), widen(*weight), *sum);
    }
    fold(sums)
}

/// Dot products of one stored row with `ROWS` rows of x.
///
/// # Safety
/// The processor has AVX-512 BF16; each row of x has half as many lanes as there are weights, rounded up.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pairs<const ROWS: usize>(
    x: &[&[u32]; X_ROWS],
    weights: &[u16],
    found: &mut [f32; X_ROWS],
) {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_maskz_loadu_epi16,
        _mm512_setzero_ps, _mm512_storeu_ps,
    };
    let step = |sum, x: __m512i, weights: __m512i| {
        // SAFETY: both types are 64 plain bytes.
        let (x, weights) = unsafe {
            (
                std::mem::transmute::<__m512i, __m512bh>(x),
                std::mem::transmute::<__m512i, __m512bh>(weights),
            )
        };
        _mm512_dpbf16_ps(sum, x, weights)
    };
    // Two chains of registers hide the instruction's latency.
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    let whole = weights.len() / 32;
    // SAFETY, of both loads: block < whole, so 32 weights and 16 lanes of each x lie from there on.
    let weights_at =
        |block: usize| unsafe { _mm512_loadu_si512(weights.as_ptr().add(32 * block).cast()) };
    let x_at =
        |x: &[u32], block: usize| unsafe { _mm512_loadu_si512(x.as_ptr().add(16 * block).cast()) };
    for block in (0..whole & !1).step_by(2) {
        let (even, odd) = (weights_at(block), weights_at(block + 1));
        for (sums, x) in sums.iter_mut().zip(x) {
            sums[0] = step(sums[0], x_at(x, block), even);
            sums[1] = step(sums[1], x_at(x, block + 1), odd);
        }
    }
    if whole % 2 == 1 {
        let last = weights_at(whole - 1);
        for (sums, x) in sums.iter_mut().zip(x) {
            sums[0] = step(sums[0], x_at(x, whole - 1), last);
        }
    }
    let rest = weights.len() % 32;
    if rest > 0 {
        let mask = (1u32 << rest) - 1;
        // SAFETY: the masks admit only what is left of the weights, and the lanes of x that pair with it.
        unsafe {
            let values = _mm512_maskz_loadu_epi16(mask, weights.as_ptr().add(32 * whole).cast());
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = _mm512_maskz_loadu_epi16(mask, x.as_ptr().add(16 * whole).cast());
                sums[0] = step(sums[0], x, values);
            }
        }
    }
    for (found, [even, odd]) in found.iter_mut().zip(sums) {
        let (mut lanes, mut more) = ([0.0; LANES], [0.0; LANES]);
        // SAFETY: both arrays are sixteen floats.
        unsafe {
            _mm512_storeu_ps(lanes.as_mut_ptr(), even);
            _mm512_storeu_ps(more.as_mut_ptr(), odd);
        }
        for (lane, more) in lanes.iter_mut().zip(more) {
            *lane += more;
        }
        *found = fold(lanes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::gemm::LeftBuffer;
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
                let paired = path == KernelPath::Avx512Bf16;
                for (lane, values) in [
                    (Lane::F32, Values::F32(&weights)),
                    (if paired { Lane::Bf16Pair } else { Lane::F32 }, Values::Bf16(&halves)),
                ] {
                    let run = |rows: Range<usize>, count: usize| {
                        let threads = Threads::new(count).unwrap();
                        let mut left = LeftBuffer::default();
                        left.put((path, &threads), lane, &x[rows.start * k..rows.end * k], k);
                        let mut y = vec![0.0; rows.len() * n];
                        let right = Source::new(values, k, Direction::Transposed);
                        assert!(can_be(&right));
                        let product = FewRows { right, y: &mut y };
                        multiply_few(
                            (path, &threads),
                            lane,
                            left.left(),
                            rows.len(),
                            &mut [product],
                        );
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
