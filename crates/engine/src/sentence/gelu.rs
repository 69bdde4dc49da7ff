//! GELU in its exact form, x · Φ(x), with the bias before it (Hendrycks & Gimpel 2016).

use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, dispatch, exp};
use crate::kernels::threads::Threads;

/// Rows of one task.
const ROWS: usize = 8;

/// `values` (tokens, width) = gelu(`values` + `bias`).
pub(super) fn add_bias_and_gelu(
    (path, threads): (KernelPath, &Threads),
    values: &mut [f32],
    bias: &[f32],
) {
    threads.for_rows(values, bias.len(), ROWS, |_, values| {
        for row in values.chunks_exact_mut(bias.len()) {
            row_of(path, row, bias);
        }
    });
}

dispatch!(fn row_of = row_body(values: &mut [f32], bias: &[f32]));

#[inline(always)]
fn row_body<A: Arithmetic>(values: &mut [f32], bias: &[f32]) {
    for (value, bias) in values.iter_mut().zip(bias) {
        let x = *value + bias;
        *value = x * normal_distribution::<A>(x);
    }
}

/// Φ(x) to 2e-7, by Abramowitz and Stegun 7.1.26 for erfc. Without branches, so that loops over it are vectorised.
#[inline(always)]
fn normal_distribution<A: Arithmetic>(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / A::multiply_add(0.327_591_1, z, 1.0);
    let mut p = 1.061_405_4_f32;
    p = A::multiply_add(p, t, -1.453_152_1);
    p = A::multiply_add(p, t, 1.421_413_8);
    p = A::multiply_add(p, t, -0.284_496_72);
    p = A::multiply_add(p, t, 0.254_829_6);
    // Half of erfc(|x| / √2): what lies beyond |x| on one side.
    let beyond = 0.5 * p * t * exp::<A>(-z * z);
    if x < 0.0 { beyond } else { 1.0 - beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    dispatch!(fn distribution = normal_distribution(x: f32) -> f32);

    /// Φ by Simpson's rule.
    fn reference(x: f64) -> f64 {
        let (steps, low) = (20_000, -12.0);
        let width = (x - low) / f64::from(steps);
        let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let sum: f64 = (0..=steps)
            .map(|step| {
                let weight = match step {
                    0 => 1.0,
                    _ if step == steps => 1.0,
                    _ if step % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                weight * density(low + width * f64::from(step))
            })
            .sum();
        sum * width / 3.0
    }

    #[test]
    fn the_normal_distribution_is_right_to_seven_places() {
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for step in -120..=120 {
                let x = step as f32 * 0.05;
                let found = f64::from(distribution(path, x));
                assert!((found - reference(f64::from(x))).abs() < 3e-7, "{path:?} {x}: {found}");
            }
            assert_eq!(distribution(path, f32::INFINITY), 1.0);
            assert_eq!(distribution(path, f32::NEG_INFINITY), 0.0);
        }
    }
}
