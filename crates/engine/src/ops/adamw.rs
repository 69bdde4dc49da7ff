//! AdamW (Loshchilov and Hutter 2019) as `torch.optim.AdamW` computes it, and the gradient's norm.

use serde::{Deserialize, Serialize};

use super::shared::Shared;
use crate::kernels::threads::Threads;

/// Values of one task.
const VALUES: usize = 1 << 14;

/// The settings of one update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the mean.
    pub beta1: f64,
    /// Decay of the mean square.
    pub beta2: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// Decoupled: parameters shrink by `learning_rate * weight_decay` before the step.
    pub weight_decay: f64,
    /// Counted from one.
    pub step: u64,
    /// The gradient is multiplied by this first: clipping.
    pub gradient_scale: f32,
}

/// One update of `parameters`; `mean` and `square` are the optimizer's state. All have the same length.
pub fn update(
    threads: &Threads,
    settings: AdamW,
    parameters: &mut [f32],
    gradient: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
) {
    let AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale } =
        settings;
    let correction1 = 1.0 - beta1.powf(step as f64);
    let correction2 = (1.0 - beta2.powf(step as f64)).sqrt();
    let size = (learning_rate / correction1) as f32;
    let shrink = (1.0 - learning_rate * weight_decay) as f32;
    let (keep1, new1) = (beta1 as f32, (1.0 - beta1) as f32);
    let (keep2, new2) = (beta2 as f32, (1.0 - beta2) as f32);
    let (correction2, epsilon) = (correction2 as f32, epsilon as f32);
    let (mean, square) = (Shared::new(mean), Shared::new(square));
    threads.for_rows(parameters, 1, VALUES, |part, parameters| {
        let (mean, square) =
            (mean.part(part.start, part.len()), square.part(part.start, part.len()));
        let state = mean.iter_mut().zip(square.iter_mut());
        for ((parameter, gradient), (mean, square)) in
            parameters.iter_mut().zip(&gradient[part]).zip(state)
        {
            let gradient = gradient * gradient_scale;
            *parameter *= shrink;
            *mean = keep1 * *mean + new1 * gradient;
            *square = keep2 * *square + new2 * gradient * gradient;
            *parameter -= size * *mean / (square.sqrt() / correction2 + epsilon);
        }
    });
}

/// The Euclidean norm, summed in 64 bits in the order of the values.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_moves_by_the_learning_rate() {
        let threads = Threads::new(1).unwrap();
        let settings = AdamW {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            step: 1,
            gradient_scale: 1.0,
        };
        let (mut parameters, gradient) = (vec![1.0, 1.0, 1.0], vec![3.0, -0.5, 0.0]);
        let (mut mean, mut square) = (vec![0.0; 3], vec![0.0; 3]);
        update(&threads, settings, &mut parameters, &gradient, &mut mean, &mut square);
        let expected = [0.9, 1.1, 1.0];
        assert!(
            parameters.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6),
            "{parameters:?}"
        );
        assert!((norm(&[3.0, 4.0]) - 5.0).abs() < 1e-12);
    }
}
