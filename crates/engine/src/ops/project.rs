//! Frozen linear layers with low-rank adapters: y = x Wᵀ + s · (drop(x) Aᵀ) Bᵀ.
//!
//! W is (out, in), A is (rank, in), B is (out, rank), as in PEFT (Hu et al. 2021). Layers that read the same x are computed
//! together ([`forward`], [`backward`]), and an adapter's part is a second term of its layer's product. Dropout acts on the
//! adapter's input only; its mask is computed again in the backward, so nothing of it is stored.

mod backward;
mod dropout;
mod few;
mod matrix;

pub use self::backward::{AdapterBackward, Backward, backward};
pub use self::dropout::Dropout;
use self::few::{few_blocks, few_floats};
pub use self::matrix::Matrix;
use crate::backend::Phase;
use crate::kernels::KernelPath;
use crate::kernels::gemm::{LeftBuffer, Output, Product, Term, multiply};
use crate::kernels::lanes::Lane;
use crate::kernels::quantised::QuantisedRows;
use crate::kernels::source::{Direction, Source, Values};
use crate::kernels::threads::Threads;

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
#[derive(Debug, Default)]
pub struct Scratch {
    x: LeftBuffer,
    quantised: QuantisedRows,
    stored: Vec<f32>,
    adapters: Vec<AdapterScratch>,
}

/// Buffers of one adapter's part.
#[derive(Debug, Default)]
struct AdapterScratch {
    /// The part of the input gradient that goes through the mask.
    masked: Vec<f32>,
    dropped_lanes: LeftBuffer,
    low: Vec<f32>,
    low_lanes: LeftBuffer,
    turned_lanes: LeftBuffer,
    d_y_lanes: LeftBuffer,
    kept_lanes: LeftBuffer,
    d_b: Vec<f32>,
}

impl Scratch {
    /// Bytes that training holds in it.
    pub fn bytes(&self) -> usize {
        let adapter = |buffers: &AdapterScratch| {
            let AdapterScratch { masked, low, d_b, .. } = buffers;
            let AdapterScratch { dropped_lanes, low_lanes, turned_lanes, .. } = buffers;
            let lanes =
                [dropped_lanes, low_lanes, turned_lanes, &buffers.d_y_lanes, &buffers.kept_lanes];
            let values = masked.len() + low.len() + d_b.len();
            values * size_of::<f32>() + lanes.map(LeftBuffer::bytes).iter().sum::<usize>()
        };
        self.x.bytes() + self.adapters.iter().map(adapter).sum::<usize>()
    }
}

/// One layer of a forward call.
#[derive(Debug)]
pub struct Forward<'a> {
    /// The frozen weights.
    pub matrix: &'a Matrix,
    /// Adapters, each on rows of its own.
    pub adapters: Vec<LowRank<'a>>,
    /// (rows, out).
    pub y: &'a mut [f32],
    /// Receives s · drop(x) Aᵀ (rows, rank) of the only adapter, for the backward.
    pub kept: Option<&'a mut [f32]>,
}

/// Computes layers that read the same `x` (rows, in).
pub fn forward(
    (path, threads): (KernelPath, &Threads),
    scratch: &mut Scratch,
    phase: Phase,
    (rows, x): (usize, &[f32]),
    layers: &mut [Forward<'_>],
) {
    let Some(first) = layers.first() else { return };
    let (lane, input) = (Lane::of(path, first.matrix.precision()), first.matrix.input);
    let x = &x[..rows * input];
    let count: usize = layers.iter().map(|layer| layer.adapters.len()).sum();
    scratch.adapters.resize_with(scratch.adapters.len().max(count), AdapterScratch::default);
    let Scratch { x: x_lanes, quantised, stored, adapters: buffers } = scratch;
    x_lanes.put((path, threads), lane, x, input);

    let adapters: Vec<LowRank<'_>> =
        layers.iter().flat_map(|layer| layer.adapters.iter().copied()).collect();
    for (adapter, buffer) in adapters.iter().zip(&mut *buffers) {
        buffer.drop_input((path, threads), lane, adapter, input, x);
    }
    let inner = adapters.iter().zip(&mut *buffers).map(|(adapter, buffer)| {
        let AdapterScratch { dropped_lanes, low, .. } = buffer;
        let left = match adapter.dropout {
            None => x_lanes.left().from_row(adapter.first_row),
            Some(_) => dropped_lanes.left(),
        };
        let right = Source::new(Values::F32(adapter.a), input, Direction::Transposed);
        let terms = vec![Term { left, right, first_row: 0, rows: adapter.rows }];
        let LowRank { rank, rows, .. } = *adapter;
        Product { c: resized(low, rows * rank), n: rank, rows, terms, output: Output::Store }
    });
    multiply((path, threads), lane, &mut inner.collect::<Vec<_>>());
    for (adapter, buffer) in adapters.iter().zip(&mut *buffers) {
        let low = &mut buffer.low[..adapter.rows * adapter.rank];
        scale(low, adapter.scale);
        buffer.low_lanes.put((path, threads), lane, low, adapter.rank);
    }

    let few = phase == Phase::Decode
        && (few_floats((path, threads), lane, x_lanes, rows, layers)
            || few_blocks((path, threads), (quantised, stored), rows, x, layers));
    let mut buffers = buffers.iter();
    let products = layers.iter_mut().map(|layer| {
        let right = layer.matrix.source(Direction::Transposed);
        let frozen = Term { left: x_lanes.left(), right, first_row: 0, rows };
        let mut terms = if few { Vec::new() } else { vec![frozen] };
        for adapter in &layer.adapters {
            let Some(buffer) = buffers.next() else { break };
            if let Some(kept) = layer.kept.as_deref_mut() {
                kept.copy_from_slice(&buffer.low[..kept.len()]);
            }
            let right = Source::new(Values::F32(adapter.b), adapter.rank, Direction::Transposed);
            let LowRank { first_row, rows, .. } = *adapter;
            terms.push(Term { left: buffer.low_lanes.left(), right, first_row, rows });
        }
        let (n, output) = (layer.matrix.out, if few { Output::Add } else { Output::Store });
        Product { c: layer.y, n, rows, terms, output }
    });
    multiply((path, threads), lane, &mut products.collect::<Vec<_>>());
}

impl AdapterScratch {
    /// Puts the adapter's input after dropout into lanes, where there is dropout.
    fn drop_input(
        &mut self,
        context: (KernelPath, &Threads),
        lane: Lane,
        adapter: &LowRank<'_>,
        input: usize,
        x: &[f32],
    ) {
        let Some(dropout) = adapter.dropout else { return };
        let x = &x[adapter.first_row * input..][..adapter.rows * input];
        self.dropped_lanes.put_with(context, lane, x, input, |row, values| {
            dropout.mask(context.0, adapter.first_row + row, values);
        });
    }
}

fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

fn resized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

#[cfg(test)]
mod tests;
