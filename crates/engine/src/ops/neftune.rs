//! NEFTune (Jain et al. 2023): uniform noise on the embeddings of a training step.
//!
//! A sequence of L tokens of width d gets values in ±alpha / √(L d). Each is named by the sequence's stream, its token and its
//! place in the token, so neither the batch nor the threads have a part in it. The embedding is frozen and the noise is
//! added, so there is no backward.

use std::ops::Range;

use bioinstruct_core::random::Stream;

use crate::kernels::threads::Threads;

/// Adds the noise to the rows of each sequence of `x` (tokens, width).
pub fn add_noise(
    threads: &Threads,
    alpha: f32,
    sequences: &[(Range<usize>, Stream)],
    width: usize,
    x: &mut [f32],
) {
    for (rows, stream) in sequences {
        let bound = f64::from(alpha) / ((rows.len() * width) as f64).sqrt();
        let x = &mut x[rows.start * width..rows.end * width];
        threads.for_rows(x, width, 8, |tokens, x| {
            for (token, x) in tokens.zip(x.chunks_exact_mut(width)) {
                let mut draws = stream.at(token as u64);
                for value in x {
                    let unit = f64::from(draws.next_u32()) / f64::from(u32::MAX);
                    *value += ((2.0 * unit - 1.0) * bound) as f32;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_bounded_by_length_and_width_and_is_each_sequences_own() {
        let (width, alpha) = (40, 5.0);
        let streams = [Stream::new(1, "a"), Stream::new(1, "b")];
        let run = |threads: usize, sequences: &[(Range<usize>, Stream)], tokens: usize| {
            let mut x = vec![0.0f32; tokens * width];
            add_noise(&Threads::new(threads).unwrap(), alpha, sequences, width, &mut x);
            x
        };
        let both = [(0..10, streams[0]), (10..100, streams[1])];
        let x = run(2, &both, 101);
        for (rows, _) in &both {
            let bound = alpha / ((rows.len() * width) as f32).sqrt();
            let values = &x[rows.start * width..rows.end * width];
            let largest = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            assert!(largest <= bound && largest > 0.98 * bound, "{largest} of {bound}");
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            assert!(mean.abs() < 0.1 * bound, "{mean}");
        }
        assert!(x[100 * width..].iter().all(|value| *value == 0.0));
        assert_eq!(run(1, &[(0..90, streams[1])], 90), x[10 * width..100 * width]);
    }
}
