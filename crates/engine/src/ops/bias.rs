//! Bias of a linear layer: y += b, the same for every token.
//!
//! Biases are frozen, and the gradient of y passes through unchanged; so there is no backward to compute.

use crate::kernels::threads::Threads;

/// Rows of one task.
const ROWS: usize = 32;

/// Adds `bias` (out) to each row of `y` (tokens, out).
pub fn add(threads: &Threads, bias: &[f32], y: &mut [f32]) {
    threads.for_rows(y, bias.len(), ROWS, |_, rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::finite_difference::{check, random, weighted};

    #[test]
    fn every_row_gets_the_bias_and_the_gradient_passes_through() {
        let (tokens, out) = (67, 5);
        let (y, bias, d_out) =
            (random(tokens * out, "y"), random(out, "bias"), random(tokens * out, "d_out"));
        let run = |y: &[f32], threads: usize| {
            let mut y = y.to_vec();
            add(&Threads::new(threads).unwrap(), &bias, &mut y);
            y
        };
        let found = run(&y, 2);
        for (at, value) in found.iter().enumerate() {
            assert_eq!(value.to_bits(), (y[at] + bias[at % out]).to_bits(), "value {at}");
        }
        assert_eq!(found, run(&y, 1));
        check("bias", &y, &d_out, |y| weighted(&d_out, &run(y, 2)));
    }
}
