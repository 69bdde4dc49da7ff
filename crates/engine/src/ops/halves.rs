//! Values that are kept in 16 bits, as bfloat16: [`round`] keeps them, [`widen`] reads them again.

use crate::kernels::KernelPath;
use crate::kernels::lanes::{from_bf16, to_bf16};
use crate::kernels::simd::{Arithmetic, dispatch};
use crate::kernels::threads::Threads;

/// Values of one task.
const VALUES: usize = 8192;

/// The nearest bfloat16 of each of `values`, ties to even.
pub fn round((path, threads): (KernelPath, &Threads), values: &[f32], halves: &mut [u16]) {
    threads.for_rows(halves, 1, VALUES, |part, halves| round_part(path, &values[part], halves));
}

dispatch!(fn round_part = round_body(values: &[f32], halves: &mut [u16]));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn round_body<A: Arithmetic>(values: &[f32], halves: &mut [u16]) {
    for (half, value) in halves.iter_mut().zip(values) {
        *half = to_bf16(*value);
    }
}

/// The values of `halves`.
pub fn widen((path, threads): (KernelPath, &Threads), halves: &[u16], values: &mut [f32]) {
    threads.for_rows(values, 1, VALUES, |part, values| widen_part(path, &halves[part], values));
}

dispatch!(fn widen_part = widen_body(halves: &[u16], values: &mut [f32]));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn widen_body<A: Arithmetic>(halves: &[u16], values: &mut [f32]) {
    for (value, half) in values.iter_mut().zip(halves) {
        *value = from_bf16(*half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::finite_difference::random;

    #[test]
    fn what_is_kept_is_near_and_the_same_on_every_path() {
        let mut values = random(3 * VALUES + 5, "values");
        values[..4].copy_from_slice(&[0.0, -1.5, f32::INFINITY, f32::MIN_POSITIVE]);
        let threads = Threads::new(2).unwrap();
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let mut halves = vec![0; values.len()];
            round((path, &threads), &values, &mut halves);
            assert!(halves.iter().zip(&values).all(|(half, value)| *half == to_bf16(*value)));
            let mut again = vec![0.0; values.len()];
            widen((path, &threads), &halves, &mut again);
            let near = |(again, value): (&f32, &f32)| {
                again == value || (again - value).abs() <= value.abs() / 256.0
            };
            assert!(again.iter().zip(&values).all(near), "{}", path.name());
        }
    }
}
