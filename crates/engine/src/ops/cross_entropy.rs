//! Softmax cross-entropy of one row of logits, forward and backward in one pass.

use crate::kernels::simd::{Arithmetic, LANES, dispatch, exp, fold, maximum};

dispatch!(
    /// Replaces a row of logits by `scale` · (softmax − one-hot of `target`); gives −ln softmax\[target\] in nats.
    pub fn loss_and_gradient = body(logits: &mut [f32], target: usize, scale: f32) -> f32
);

#[inline(always)]
fn body<A: Arithmetic>(logits: &mut [f32], target: usize, scale: f32) -> f32 {
    let at_target = logits[target];
    let greatest = maximum(logits);
    let mut lanes = [0.0f32; LANES];
    for block in logits.chunks_mut(LANES) {
        for (logit, lane) in block.iter_mut().zip(&mut lanes) {
            *logit = exp::<A>(*logit - greatest);
            *lane += *logit;
        }
    }
    let total = fold(lanes);
    let factor = scale / total;
    for value in logits.iter_mut() {
        *value *= factor;
    }
    logits[target] -= scale;
    greatest + total.ln() - at_target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KernelPath;
    use crate::ops::finite_difference::{check, random};

    #[test]
    fn backward_is_the_slope_of_forward() {
        let logits = random(37, "logits");
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let loss =
                |logits: &[f32]| f64::from(loss_and_gradient(path, &mut logits.to_vec(), 5, 1.0));
            let mut gradient = logits.clone();
            loss_and_gradient(path, &mut gradient, 5, 1.0);
            check("cross entropy", &logits, &gradient, loss);
        }
    }

    #[test]
    fn the_loss_of_even_logits_is_the_log_of_their_number() {
        let loss = loss_and_gradient(KernelPath::Portable, &mut [2.0; 8], 3, 1.0);
        assert!((loss - 8f32.ln()).abs() < 1e-6);
    }
}
