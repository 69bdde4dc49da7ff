//! Rotary position embedding in the rotate-half form: pairs (i, i + size/2) of each head turn by position · frequency.
//!
//! Su et al. 2021; the frequencies come from [`ModelConfig::rope_frequencies`].

use crate::format::ModelConfig;
use crate::kernels::threads::Threads;

/// Rows of one task.
const ROWS: usize = 32;

/// Cosines and sines of every position: (positions, size/2) each.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    half: usize,
    cosine: Vec<f32>,
    sine: Vec<f32>,
}

impl RotaryTable {
    /// The table of a model for `positions` positions.
    pub fn new(config: &ModelConfig, positions: usize) -> Self {
        let half = config.head_size / 2;
        let frequencies = config.rope_frequencies();
        let (mut cosine, mut sine) =
            (Vec::with_capacity(positions * half), Vec::with_capacity(positions * half));
        for position in 0..positions {
            for &frequency in &frequencies {
                // The angle is rounded to 32 bits before the sine is taken, as the reference does.
                let angle = f64::from(position as f32 * frequency);
                cosine.push(angle.cos() as f32);
                sine.push(angle.sin() as f32);
            }
        }
        Self { half, cosine, sine }
    }

    /// How many positions it covers.
    pub fn positions(&self) -> usize {
        self.cosine.len() / self.half.max(1)
    }
}

/// Direction of the turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Into the position.
    Forward,
    /// Back: the gradient of a rotation is the opposite rotation.
    Backward,
}

/// Turns every head of `x` (tokens, heads · size) in place.
pub fn rotate(
    threads: &Threads,
    table: &RotaryTable,
    positions: &[u32],
    width: usize,
    x: &mut [f32],
    turn: Turn,
) {
    let half = table.half;
    threads.for_rows(x, width, ROWS, |rows, x| {
        for (row, x) in rows.zip(x.chunks_exact_mut(width)) {
            let at = positions[row] as usize * half;
            let (cosine, sine) = (&table.cosine[at..at + half], &table.sine[at..at + half]);
            for head in x.chunks_exact_mut(2 * half) {
                let (first, second) = head.split_at_mut(half);
                for (((first, second), cosine), sine) in
                    first.iter_mut().zip(second).zip(cosine).zip(sine)
                {
                    let sine = if turn == Turn::Forward { *sine } else { -sine };
                    let (a, b) = (*first, *second);
                    *first = a * cosine - b * sine;
                    *second = b * cosine + a * sine;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::finite_difference::{check, random, weighted};

    fn table() -> RotaryTable {
        let cosine: Vec<f32> = (0..40).map(|at| (at as f32 * 0.7).cos()).collect();
        let sine: Vec<f32> = (0..40).map(|at| (at as f32 * 0.7).sin()).collect();
        RotaryTable { half: 4, cosine, sine }
    }

    #[test]
    fn backward_is_the_slope_of_forward_and_undoes_it() {
        let threads = Threads::new(2).unwrap();
        let (positions, width) = ([0u32, 3, 7], 16);
        let x = random(3 * width, "x");
        let d_out = random(3 * width, "d_out");
        let run = |x: &[f32], turn| {
            let mut x = x.to_vec();
            rotate(&threads, &table(), &positions, width, &mut x, turn);
            x
        };
        check("rope", &x, &run(&d_out, Turn::Backward), |x| {
            weighted(&d_out, &run(x, Turn::Forward))
        });
        let there_and_back = run(&run(&x, Turn::Forward), Turn::Backward);
        assert!(x.iter().zip(there_and_back).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
