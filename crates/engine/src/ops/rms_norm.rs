//! Root-mean-square norm, fused with the residual addition before it: y = x / rms(x) · w.

use super::shared::Shared;
use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, LANES, dispatch, fold, sum_of_squares};
use crate::kernels::threads::Threads;

/// Rows of one task.
const ROWS: usize = 16;

/// `stream` (tokens, hidden) += `delta` where there is one, then `out` = norm of `stream`. Keeps 1 / rms per token.
pub fn forward(
    (path, threads): (KernelPath, &Threads),
    stream: &mut [f32],
    delta: Option<&[f32]>,
    (weight, epsilon): (&[f32], f32),
    out: &mut [f32],
    inverse_rms: &mut [f32],
) {
    let hidden = weight.len();
    norm_rows(threads, hidden, stream, out, inverse_rms, |row, stream, out| {
        let delta = delta.map_or(&[][..], |delta| &delta[row * hidden..][..hidden]);
        forward_row(path, stream, delta, weight, epsilon, out)
    });
}

/// `stream` (tokens, hidden) = the sum of both `parts`, then as [`forward`].
pub fn forward_of_sum(
    (path, threads): (KernelPath, &Threads),
    parts: [&[f32]; 2],
    stream: &mut [f32],
    (weight, epsilon): (&[f32], f32),
    out: &mut [f32],
    inverse_rms: &mut [f32],
) {
    let hidden = weight.len();
    norm_rows(threads, hidden, stream, out, inverse_rms, |row, stream, out| {
        let [before, delta] = parts.map(|part| &part[row * hidden..][..hidden]);
        sum_row(path, before, delta, stream, weight, epsilon, out)
    });
}

/// Calls `norm` with each row's number, its stream and its output, and keeps the 1 / rms that it gives.
fn norm_rows(
    threads: &Threads,
    hidden: usize,
    stream: &mut [f32],
    out: &mut [f32],
    inverse_rms: &mut [f32],
    norm: impl Fn(usize, &mut [f32], &mut [f32]) -> f32 + Sync,
) {
    let (out, inverse_rms) = (Shared::new(out), Shared::new(inverse_rms));
    threads.for_rows(stream, hidden, ROWS, |rows, stream| {
        for (row, stream) in rows.zip(stream.chunks_exact_mut(hidden)) {
            inverse_rms.part(row, 1)[0] = norm(row, stream, out.part(row * hidden, hidden));
        }
    });
}

dispatch!(fn forward_row = forward_row_body(
    stream: &mut [f32], delta: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]
) -> f32);

#[inline(always)]
fn forward_row_body<A: Arithmetic>(
    stream: &mut [f32],
    delta: &[f32],
    weight: &[f32],
    epsilon: f32,
    out: &mut [f32],
) -> f32 {
    for (value, delta) in stream.iter_mut().zip(delta) {
        *value += delta;
    }
    norm_row::<A>(stream, weight, epsilon, out)
}

dispatch!(fn sum_row = sum_row_body(
    before: &[f32], delta: &[f32], stream: &mut [f32], weight: &[f32], epsilon: f32, out: &mut [f32]
) -> f32);

#[inline(always)]
fn sum_row_body<A: Arithmetic>(
    before: &[f32],
    delta: &[f32],
    stream: &mut [f32],
    weight: &[f32],
    epsilon: f32,
    out: &mut [f32],
) -> f32 {
    for ((value, before), delta) in stream.iter_mut().zip(before).zip(delta) {
        *value = before + delta;
    }
    norm_row::<A>(stream, weight, epsilon, out)
}

#[inline(always)]
fn norm_row<A: Arithmetic>(stream: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) -> f32 {
    let mean_square = sum_of_squares::<A>(stream) / stream.len() as f32;
    let inverse = 1.0 / (mean_square + epsilon).sqrt();
    for ((out, value), weight) in out.iter_mut().zip(stream.iter()).zip(weight) {
        *out = value * inverse * weight;
    }
    inverse
}

/// The norm of `stream` once more, for a backward that did not keep it: the same bits as [`forward`]'s.
pub fn again(
    (path, threads): (KernelPath, &Threads),
    stream: &[f32],
    (weight, epsilon): (&[f32], f32),
    out: &mut [f32],
) {
    let hidden = weight.len();
    threads.for_rows(&mut out[..stream.len()], hidden, ROWS, |rows, out| {
        for (row, out) in rows.zip(out.chunks_exact_mut(hidden)) {
            again_row(path, &stream[row * hidden..][..hidden], weight, epsilon, out);
        }
    });
}

dispatch!(fn again_row = norm_row(stream: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) -> f32);

/// Adds the gradient of the norm's input to `d_stream`.
///
/// With g = `d_out` · w and x̂ = x / rms: dx = (g − x̂ · mean(g x̂)) / rms.
pub fn backward(
    (path, threads): (KernelPath, &Threads),
    (stream, inverse_rms): (&[f32], &[f32]),
    weight: &[f32],
    d_out: &[f32],
    d_stream: &mut [f32],
) {
    let hidden = weight.len();
    threads.for_rows(d_stream, hidden, ROWS, |rows, d_stream| {
        for (row, d_stream) in rows.zip(d_stream.chunks_exact_mut(hidden)) {
            let part = row * hidden..(row + 1) * hidden;
            backward_row(
                path,
                &stream[part.clone()],
                inverse_rms[row],
                weight,
                &d_out[part],
                d_stream,
            );
        }
    });
}

dispatch!(fn backward_row = backward_row_body(
    stream: &[f32], inverse: f32, weight: &[f32], d_out: &[f32], d_stream: &mut [f32]
));

#[inline(always)]
fn backward_row_body<A: Arithmetic>(
    stream: &[f32],
    inverse: f32,
    weight: &[f32],
    d_out: &[f32],
    d_stream: &mut [f32],
) {
    let mut lanes = [0.0f32; LANES];
    for ((d_out, weight), stream) in
        d_out.chunks(LANES).zip(weight.chunks(LANES)).zip(stream.chunks(LANES))
    {
        for (lane, ((d_out, weight), stream)) in d_out.iter().zip(weight).zip(stream).enumerate() {
            lanes[lane] = A::multiply_add(d_out * weight, *stream, lanes[lane]);
        }
    }
    let shrink = fold(lanes) * inverse * inverse * inverse / stream.len() as f32;
    for (((d_stream, d_out), weight), stream) in
        d_stream.iter_mut().zip(d_out).zip(weight).zip(stream)
    {
        *d_stream += A::multiply_add(d_out * weight, inverse, -(shrink * stream));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::finite_difference::{check, random, weighted};

    #[test]
    fn backward_is_the_slope_of_forward() {
        let threads = Threads::new(2).unwrap();
        let (tokens, hidden) = (3, 37);
        let x = random(tokens * hidden, "x");
        let weight = random(hidden, "weight");
        let d_out = random(tokens * hidden, "d_out");
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let run = |x: &[f32]| {
                let (mut stream, mut out, mut inverse) =
                    (x.to_vec(), vec![0.0; x.len()], vec![0.0; tokens]);
                forward(
                    (path, &threads),
                    &mut stream,
                    None,
                    (&weight, 1e-5),
                    &mut out,
                    &mut inverse,
                );
                (out, inverse)
            };
            let (_, inverse) = run(&x);
            let mut gradient = vec![0.0; x.len()];
            backward((path, &threads), (&x, &inverse), &weight, &d_out, &mut gradient);
            check("rms_norm", &x, &gradient, |x| weighted(&d_out, &run(x).0));
        }
    }

    #[test]
    fn the_residual_is_added_first() {
        let threads = Threads::new(1).unwrap();
        let (mut stream, delta) = (vec![1.0, 2.0], vec![2.0, 2.0]);
        let (mut out, mut inverse) = (vec![0.0; 2], vec![0.0]);
        forward(
            (KernelPath::Portable, &threads),
            &mut stream,
            Some(&delta),
            (&[1.0, 1.0], 0.0),
            &mut out,
            &mut inverse,
        );
        assert_eq!(stream, [3.0, 4.0]);
        let rms = 12.5f32.sqrt();
        assert!((out[0] - 3.0 / rms).abs() < 1e-6 && (inverse[0] - 1.0 / rms).abs() < 1e-7);
        let (mut sum, mut again, mut inverse_again) = (vec![0.0; 2], vec![0.0; 2], vec![0.0]);
        forward_of_sum(
            (KernelPath::Portable, &threads),
            [&[1.0, 2.0], &delta],
            &mut sum,
            (&[1.0, 1.0], 0.0),
            &mut again,
            &mut inverse_again,
        );
        assert_eq!((sum, again, inverse_again), (stream, out, inverse));
    }
}
