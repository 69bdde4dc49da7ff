//! Root-mean-square norm of each head of queries or keys: y = x / rms(x) · w over the values of one head.
//!
//! Qwen3's query-key norm (Yang et al. 2025; after Dehghani et al. 2023), which comes before the rotation. The weight (head
//! size) is frozen and shared by all heads. The backward computes 1 / rms again from x, so that nothing but x is kept.

use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, dispatch, dot, sum_of_squares};
use crate::kernels::threads::Threads;

/// Values of one task, roughly.
const TASK_VALUES: usize = 1 << 13;

/// Norms the heads of `x` (tokens · heads, size) in place.
pub fn forward(
    (path, threads): (KernelPath, &Threads),
    (weight, epsilon): (&[f32], f32),
    x: &mut [f32],
) {
    let size = weight.len();
    threads.for_rows(x, size, (TASK_VALUES / size).max(1), |_, heads| {
        forward_heads(path, heads, weight, epsilon);
    });
}

dispatch!(fn forward_heads = forward_heads_body(heads: &mut [f32], weight: &[f32], epsilon: f32));

#[inline(always)]
fn forward_heads_body<A: Arithmetic>(heads: &mut [f32], weight: &[f32], epsilon: f32) {
    for head in heads.chunks_exact_mut(weight.len()) {
        let inverse = inverse_rms::<A>(head, epsilon);
        for (value, weight) in head.iter_mut().zip(weight) {
            *value = *value * inverse * weight;
        }
    }
}

#[inline(always)]
fn inverse_rms<A: Arithmetic>(head: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum_of_squares::<A>(head) / head.len() as f32 + epsilon).sqrt()
}

/// Turns the gradient of the norm's output into that of its input `x`, in place.
///
/// With g = `d_x` · w and x̂ = x / rms: dx = (g − x̂ · mean(g x̂)) / rms.
pub fn backward(
    (path, threads): (KernelPath, &Threads),
    (weight, epsilon): (&[f32], f32),
    x: &[f32],
    d_x: &mut [f32],
) {
    let size = weight.len();
    threads.for_rows(d_x, size, (TASK_VALUES / size).max(1), |heads, d_x| {
        let x = &x[heads.start * size..heads.end * size];
        backward_heads(path, x, weight, epsilon, d_x);
    });
}

dispatch!(fn backward_heads = backward_heads_body(
    x: &[f32], weight: &[f32], epsilon: f32, d_x: &mut [f32]
));

#[inline(always)]
fn backward_heads_body<A: Arithmetic>(x: &[f32], weight: &[f32], epsilon: f32, d_x: &mut [f32]) {
    let size = weight.len();
    for (x, d_x) in x.chunks_exact(size).zip(d_x.chunks_exact_mut(size)) {
        let inverse = inverse_rms::<A>(x, epsilon);
        for (d_x, weight) in d_x.iter_mut().zip(weight) {
            *d_x *= weight;
        }
        let shrink = dot::<A>(d_x, x) * inverse * inverse * inverse / size as f32;
        for (d_x, x) in d_x.iter_mut().zip(x) {
            *d_x = A::multiply_add(*d_x, inverse, -(shrink * x));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::finite_difference::{check, random, weighted};

    fn paths() -> impl Iterator<Item = KernelPath> {
        KernelPath::ALL.into_iter().filter(|path| path.available())
    }

    fn run(path: KernelPath, threads: usize, weight: &[f32], x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        forward((path, &Threads::new(threads).unwrap()), (weight, 1e-6), &mut x);
        x
    }

    #[test]
    fn each_head_is_normed_by_itself() {
        let size = 40;
        let (x, weight) = (random(9 * size, "x"), random(size, "weight"));
        for path in paths() {
            let found = run(path, 2, &weight, &x);
            for (head, found) in x.chunks(size).zip(found.chunks(size)) {
                let mean: f64 =
                    head.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / size as f64;
                for ((value, weight), found) in head.iter().zip(&weight).zip(found) {
                    let expected = f64::from(*value) / (mean + 1e-6).sqrt() * f64::from(*weight);
                    assert!((f64::from(*found) - expected).abs() < 1e-6, "{path:?}");
                }
            }
        }
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        for size in [5, 16, 37] {
            let (x, weight) = (random(6 * size, "x"), random(size, "weight"));
            let d_out = random(6 * size, "d_out");
            for path in paths() {
                let mut gradient = d_out.clone();
                let threads = Threads::new(2).unwrap();
                backward((path, &threads), (&weight, 1e-6), &x, &mut gradient);
                check("head_norm", &x, &gradient, |x| weighted(&d_out, &run(path, 2, &weight, x)));
            }
        }
    }

    #[test]
    fn threads_and_other_heads_change_no_bit() {
        let size = 64;
        let heads = 3 * TASK_VALUES / size + 5;
        let (x, weight) = (random(heads * size, "x"), random(size, "weight"));
        let d_out = random(heads * size, "d_out");
        for path in paths() {
            let back = |threads: usize, range: std::ops::Range<usize>| {
                let mut gradient = d_out[range.clone()].to_vec();
                let threads = Threads::new(threads).unwrap();
                backward((path, &threads), (&weight, 1e-6), &x[range], &mut gradient);
                gradient
            };
            let (one, one_back) = (run(path, 1, &weight, &x), back(1, 0..x.len()));
            for threads in [2, 4] {
                assert_eq!(one, run(path, threads, &weight, &x), "{path:?}");
                assert_eq!(one_back, back(threads, 0..x.len()), "{path:?}");
            }
            let alone = 7 * size..8 * size;
            assert_eq!(one[alone.clone()], run(path, 1, &weight, &x[alone.clone()]), "{path:?}");
            assert_eq!(one_back[alone.clone()], back(1, alone), "{path:?}");
        }
    }
}
