//! A frozen linear layer with low-rank adapters: y = x Wᵀ + s · (drop(x) Aᵀ) Bᵀ.
//!
//! W is (out, in), A is (rank, in), B is (out, rank), as in PEFT (Hu et al. 2021). Dropout acts on the adapter's input
//! only; its mask is computed again in the backward, so nothing of it is stored.

use std::ops::Range;

use bioinstruct_core::random::Stream;

use crate::kernels::KernelPath;
use crate::kernels::gemm::{Output, Strided, gemm};
use crate::kernels::panels::{Panels, Precision, STRIP};
use crate::kernels::threads::Threads;

/// A frozen matrix (out, in), packed for the directions it is used in.
#[derive(Debug)]
pub struct Matrix {
    /// Output features.
    pub out: usize,
    /// Input features.
    pub input: usize,
    forward: Panels,
    backward: Option<Panels>,
}

impl Matrix {
    /// Packs a matrix whose rows `read` delivers; `with_backward` packs it a second time, for input gradients.
    pub fn pack<E: Send>(
        threads: &Threads,
        (out, input): (usize, usize),
        (precision, with_backward): (Precision, bool),
        read: impl Fn(usize, &mut [f32]) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        let mut forward = Panels::zeros(input, out, precision);
        let mut backward = with_backward.then(|| Panels::zeros(out, input, precision));
        // A group of strips is read in parallel, then packed.
        let group = STRIP * 4 * threads.count();
        let mut rows = vec![0.0; group.min(out) * input];
        for first in (0..out).step_by(group) {
            let count = group.min(out - first);
            let failure = std::sync::Mutex::new(None);
            threads.for_rows(&mut rows[..count * input], input, STRIP, |part, values| {
                for (row, values) in part.zip(values.chunks_exact_mut(input)) {
                    if let Err(error) = read(first + row, values) {
                        *failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                            Some(error);
                    }
                }
            });
            if let Some(error) =
                failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
            {
                return Err(error);
            }
            forward.set_columns(threads, first, &rows[..count * input]);
            if let Some(backward) = &mut backward {
                for (row, values) in rows[..count * input].chunks_exact(input).enumerate() {
                    backward.set_row(first + row, values);
                }
            }
        }
        Ok(Self { out, input, forward, backward })
    }

    /// One row, as it is kept: an embedding.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        self.forward.column(row, out);
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.forward.bytes() + self.backward.as_ref().map_or(0, Panels::bytes)
    }

    /// `y` (rows, out) = `x` (rows, in) · Wᵀ.
    pub fn forward(
        &self,
        (path, threads): (KernelPath, &Threads),
        rows: usize,
        x: &[f32],
        y: &mut [f32],
    ) {
        gemm(
            path,
            threads,
            rows,
            Strided::rows(x, self.input),
            &self.forward,
            y,
            (1.0, Output::Store),
        );
    }

    /// `d_x` (rows, in) = or += `d_y` (rows, out) · W. The matrix must have been packed with its backward.
    pub fn backward(
        &self,
        (path, threads): (KernelPath, &Threads),
        rows: usize,
        d_y: &[f32],
        d_x: &mut [f32],
        output: Output,
    ) {
        let panels =
            self.backward.as_ref().expect("a model loaded for training packs both directions");
        gemm(path, threads, rows, Strided::rows(d_y, self.out), panels, d_x, (1.0, output));
    }
}

/// Dropout of an adapter's input; each sequence has a stream of its own.
#[derive(Debug, Clone, Copy)]
pub struct Dropout<'a> {
    /// Share of values set to zero.
    pub probability: f32,
    /// Rows of the batch and the stream of each sequence, for this layer and projection.
    pub sequences: &'a [(Range<usize>, Stream)],
}

/// One adapter's factors of one projection, and the rows of the batch it acts on.
#[derive(Debug, Clone, Copy)]
pub struct LowRank<'a> {
    /// (rank, in).
    pub a: &'a [f32],
    /// (out, rank).
    pub b: &'a [f32],
    /// Inner size.
    pub rank: usize,
    /// alpha / rank.
    pub scale: f32,
    /// First row.
    pub first_row: usize,
    /// Number of rows.
    pub rows: usize,
    /// In training only.
    pub dropout: Option<Dropout<'a>>,
}

/// Buffers that calls share, so that no step allocates.
#[derive(Debug)]
pub struct Scratch {
    panels: Panels,
    low: Vec<f32>,
    dropped: Vec<f32>,
    transposed: Vec<f32>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            panels: Panels::zeros(0, 0, Precision::F32),
            low: Vec::new(),
            dropped: Vec::new(),
            transposed: Vec::new(),
        }
    }
}

/// Adds the adapter's part to `y` (tokens, out); `kept` receives drop(x) Aᵀ (rows, rank) for the backward.
pub fn low_rank_forward(
    (path, threads): (KernelPath, &Threads),
    scratch: &mut Scratch,
    adapter: &LowRank<'_>,
    x: &[f32],
    y: &mut [f32],
    kept: Option<&mut [f32]>,
) {
    let Scratch { panels, low, dropped, .. } = scratch;
    let LowRank { rank, rows, first_row, .. } = *adapter;
    let (input, out) = (adapter.a.len() / rank, adapter.b.len() / rank);
    let x = &x[first_row * input..][..rows * input];
    let x = dropped_input(adapter, threads, input, x, dropped);
    let low = match kept {
        Some(kept) => kept,
        None => resized(low, rows * rank),
    };
    panels.pack(input, rank, adapter.a, 1, input);
    gemm(path, threads, rows, Strided::rows(x, input), panels, low, (1.0, Output::Store));
    panels.pack(rank, out, adapter.b, 1, rank);
    let y = &mut y[first_row * out..][..rows * out];
    gemm(path, threads, rows, Strided::rows(low, rank), panels, y, (adapter.scale, Output::Add));
}

/// Adds the gradients of A to `d_a` and of B to `d_b`, and the adapter's part of the input gradient to `d_x` where one is
/// wanted.
pub fn low_rank_backward(
    (path, threads): (KernelPath, &Threads),
    scratch: &mut Scratch,
    adapter: &LowRank<'_>,
    (x, kept): (&[f32], &[f32]),
    d_y: &[f32],
    (d_a, d_b): (&mut [f32], &mut [f32]),
    d_x: Option<&mut [f32]>,
) {
    let Scratch { panels, low, dropped, transposed } = scratch;
    let LowRank { rank, rows, first_row, scale, .. } = *adapter;
    let (input, out) = (adapter.a.len() / rank, adapter.b.len() / rank);
    let d_y = &d_y[first_row * out..][..rows * out];
    // d_b (out, rank) += s · d_yᵀ kept
    panels.pack(rows, rank, kept, rank, 1);
    gemm(path, threads, out, Strided::transposed(d_y, out), panels, d_b, (scale, Output::Add));
    // low (rows, rank) = s · d_y B
    let low = resized(low, rows * rank);
    panels.pack(out, rank, adapter.b, rank, 1);
    gemm(path, threads, rows, Strided::rows(d_y, out), panels, low, (scale, Output::Store));
    // d_aᵀ (in, rank) = drop(x)ᵀ low
    let x = &x[first_row * input..][..rows * input];
    let x = dropped_input(adapter, threads, input, x, dropped);
    let transposed = resized(transposed, input * rank);
    panels.pack(rows, rank, low, rank, 1);
    gemm(
        path,
        threads,
        input,
        Strided::transposed(x, input),
        panels,
        transposed,
        (1.0, Output::Store),
    );
    for (column, values) in transposed.chunks_exact(rank).enumerate() {
        for (row, value) in values.iter().enumerate() {
            d_a[row * input + column] += value;
        }
    }
    // d_x += mask ∘ (low A)
    let Some(d_x) = d_x else { return };
    let d_x = &mut d_x[first_row * input..][..rows * input];
    panels.pack(rank, input, adapter.a, input, 1);
    match adapter.dropout {
        None => {
            gemm(path, threads, rows, Strided::rows(low, rank), panels, d_x, (1.0, Output::Add));
        }
        Some(dropout) => {
            let raw = resized(dropped, rows * input);
            gemm(path, threads, rows, Strided::rows(low, rank), panels, raw, (1.0, Output::Store));
            apply_dropout(threads, dropout, first_row, input, raw);
            d_x.iter_mut().zip(raw).for_each(|(sum, value)| *sum += *value);
        }
    }
}

/// The adapter's input after dropout: `x` itself where there is none.
fn dropped_input<'a>(
    adapter: &LowRank<'_>,
    threads: &Threads,
    input: usize,
    x: &'a [f32],
    buffer: &'a mut Vec<f32>,
) -> &'a [f32] {
    let Some(dropout) = adapter.dropout else {
        return x;
    };
    let buffer = resized(buffer, x.len());
    buffer.copy_from_slice(x);
    apply_dropout(threads, dropout, adapter.first_row, input, buffer);
    buffer
}

/// Multiplies by the mask: zero with the given probability, 1 / (1 − p) otherwise.
///
/// The draw of a value is named by its sequence's stream, its token in the sequence and its place in the token: batch,
/// threads and padding have no part in it.
fn apply_dropout(
    threads: &Threads,
    dropout: Dropout<'_>,
    first_row: usize,
    width: usize,
    values: &mut [f32],
) {
    let threshold = (f64::from(dropout.probability) * 4_294_967_296.0) as u32;
    let keep = 1.0 / (1.0 - dropout.probability);
    threads.for_rows(values, width, 8, |rows, values| {
        for (row, values) in rows.zip(values.chunks_exact_mut(width)) {
            let row = row + first_row;
            let Some((sequence, stream)) =
                dropout.sequences.iter().find(|(rows, _)| rows.contains(&row))
            else {
                continue;
            };
            let blocks = width.div_ceil(4) as u64;
            let token = (row - sequence.start) as u64;
            for (block, values) in values.chunks_mut(4).enumerate() {
                let words = stream.words(token * blocks + block as u64);
                for (value, word) in values.iter_mut().zip(words) {
                    *value = if word < threshold { 0.0 } else { *value * keep };
                }
            }
        }
    });
}

fn resized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::finite_difference::{check, random, weighted};

    const ROWS: usize = 5;
    const INPUT: usize = 24;
    const OUT: usize = 40;
    const RANK: usize = 3;

    fn forward(
        path: KernelPath,
        x: &[f32],
        a: &[f32],
        b: &[f32],
        dropout: Option<Dropout<'_>>,
    ) -> (Vec<f32>, Vec<f32>) {
        let threads = Threads::new(2).unwrap();
        let context = (path, &threads);
        let matrix = matrix(&threads);
        let mut y = vec![0.0; ROWS * OUT];
        matrix.forward(context, ROWS, x, &mut y);
        let adapter =
            LowRank { a, b, rank: RANK, scale: 2.0, first_row: 1, rows: ROWS - 1, dropout };
        let mut kept = vec![0.0; (ROWS - 1) * RANK];
        low_rank_forward(context, &mut Scratch::default(), &adapter, x, &mut y, Some(&mut kept));
        (y, kept)
    }

    fn matrix(threads: &Threads) -> Matrix {
        let weight = random(OUT * INPUT, "weight");
        Matrix::pack(threads, (OUT, INPUT), (Precision::F32, true), |row, out| {
            out.copy_from_slice(&weight[row * INPUT..(row + 1) * INPUT]);
            Ok::<(), ()>(())
        })
        .unwrap()
    }

    #[test]
    fn backward_is_the_slope_of_forward_with_and_without_dropout() {
        let threads = Threads::new(2).unwrap();
        let (x, a, b) =
            (random(ROWS * INPUT, "x"), random(RANK * INPUT, "a"), random(OUT * RANK, "b"));
        let d_y = random(ROWS * OUT, "d_y");
        let sequences = [(0..2, Stream::new(1, "a")), (2..ROWS, Stream::new(1, "b"))];
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for dropout in [None, Some(Dropout { probability: 0.3, sequences: &sequences })] {
                let (_, kept) = forward(path, &x, &a, &b, dropout);
                let adapter = LowRank {
                    a: &a,
                    b: &b,
                    rank: RANK,
                    scale: 2.0,
                    first_row: 1,
                    rows: ROWS - 1,
                    dropout,
                };
                let (mut d_a, mut d_b, mut d_x) =
                    (vec![0.0; a.len()], vec![0.0; b.len()], vec![0.0; x.len()]);
                matrix(&threads).backward((path, &threads), ROWS, &d_y, &mut d_x, Output::Store);
                low_rank_backward(
                    (path, &threads),
                    &mut Scratch::default(),
                    &adapter,
                    (&x, &kept),
                    &d_y,
                    (&mut d_a, &mut d_b),
                    Some(&mut d_x),
                );
                check("x", &x, &d_x, |x| weighted(&d_y, &forward(path, x, &a, &b, dropout).0));
                check("a", &a, &d_a, |a| weighted(&d_y, &forward(path, &x, a, &b, dropout).0));
                check("b", &b, &d_b, |b| weighted(&d_y, &forward(path, &x, &a, b, dropout).0));
            }
        }
    }

    #[test]
    fn dropout_zeroes_its_share_and_keeps_the_mean() {
        let threads = Threads::new(2).unwrap();
        let sequences = [(0..100, Stream::new(1, "mask"))];
        let mut values = vec![1.0; 100 * 64];
        apply_dropout(
            &threads,
            Dropout { probability: 0.25, sequences: &sequences },
            0,
            64,
            &mut values,
        );
        let zeros = values.iter().filter(|value| **value == 0.0).count() as f64 / 6400.0;
        let mean = values.iter().sum::<f32>() / 6400.0;
        assert!((zeros - 0.25).abs() < 0.02 && (mean - 1.0).abs() < 0.03, "{zeros} {mean}");
    }
}
