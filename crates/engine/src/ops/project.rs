//! Frozen linear layers with low-rank adapters: y = x Wᵀ + s · (drop(x) Aᵀ) Bᵀ.
//!
//! W is (out, in), A is (rank, in), B is (out, rank), as in PEFT (Hu et al. 2021). Layers that read the same x are computed
//! together ([`forward`], [`backward`]), and an adapter's part is a second term of its layer's product. Dropout acts on the
//! adapter's input only; its mask is computed again in the backward, so nothing of it is stored.

use std::ops::Range;

use bioinstruct_core::random::Stream;

use crate::format::TensorView;
use crate::kernels::KernelPath;
use crate::kernels::gemm::{LeftBuffer, Output, Product, Term, multiply};
use crate::kernels::lanes::{Lane, Precision, from_bf16, to_bf16};
use crate::kernels::source::{Direction, Source, Values};
use crate::kernels::threads::Threads;

/// Rows of a matrix that are read at once.
const READ_ROWS: usize = 64;

/// A frozen matrix (out, in), kept once for both directions.
#[derive(Debug)]
pub struct Matrix {
    /// Output features.
    pub out: usize,
    /// Input features.
    pub input: usize,
    stored: Stored,
}

/// The rows of a [`Matrix`].
#[derive(Debug)]
enum Stored {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    File(TensorView),
}

impl Matrix {
    /// Keeps the rows of a stored tensor.
    pub fn new(threads: &Threads, tensor: &TensorView, precision: Precision) -> Self {
        let (out, input) = (tensor.rows(), tensor.columns());
        let stored = match precision {
            Precision::F32 => {
                let mut values = vec![0.0; out * input];
                threads.for_rows(&mut values, input, READ_ROWS, |rows, values| {
                    for (row, values) in rows.zip(values.chunks_exact_mut(input)) {
                        tensor.row_to_f32(row, values);
                    }
                });
                Stored::F32(values)
            }
            Precision::Bf16 => {
                let mut values = vec![0; out * input];
                threads.for_rows(&mut values, input, READ_ROWS, |rows, values| {
                    let mut wide = vec![0.0; input];
                    for (row, values) in rows.zip(values.chunks_exact_mut(input)) {
                        tensor.row_to_f32(row, &mut wide);
                        for (value, wide) in values.iter_mut().zip(&wide) {
                            *value = to_bf16(*wide);
                        }
                    }
                });
                Stored::Bf16(values)
            }
            Precision::Stored => Stored::File(tensor.clone()),
        };
        Self { out, input, stored }
    }

    /// How its values are kept.
    pub fn precision(&self) -> Precision {
        match self.stored {
            Stored::F32(_) => Precision::F32,
            Stored::Bf16(_) => Precision::Bf16,
            Stored::File(_) => Precision::Stored,
        }
    }

    /// One row, as it is kept: an embedding.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let part = row * self.input..(row + 1) * self.input;
        match &self.stored {
            Stored::F32(values) => out.copy_from_slice(&values[part]),
            Stored::Bf16(values) => {
                for (out, value) in out.iter_mut().zip(&values[part]) {
                    *out = from_bf16(*value);
                }
            }
            Stored::File(tensor) => tensor.row_to_f32(row, out),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.stored {
            Stored::F32(values) => values.len() * 4,
            Stored::Bf16(values) => values.len() * 2,
            Stored::File(tensor) => tensor.stored_bytes().len(),
        }
    }

    /// The matrix as the right side of a product: transposed in the forward direction, as stored in the backward.
    pub fn source(&self, direction: Direction) -> Source<'_> {
        let values = match &self.stored {
            Stored::F32(values) => Values::F32(values),
            Stored::Bf16(values) => Values::Bf16(values),
            Stored::File(tensor) => Values::File(tensor),
        };
        Source::new(values, self.input, direction)
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
#[derive(Debug, Default)]
pub struct Scratch {
    x: LeftBuffer,
    adapters: Vec<AdapterScratch>,
}

/// Buffers of one adapter's part.
#[derive(Debug, Default)]
struct AdapterScratch {
    dropped: Vec<f32>,
    dropped_lanes: LeftBuffer,
    low: Vec<f32>,
    low_lanes: LeftBuffer,
    turned_lanes: LeftBuffer,
    d_y_lanes: LeftBuffer,
    kept_lanes: LeftBuffer,
    d_b: Vec<f32>,
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
    rows: usize,
    x: &[f32],
    layers: &mut [Forward<'_>],
) {
    let Some(first) = layers.first() else { return };
    let (lane, input) = (Lane::of(path, first.matrix.precision()), first.matrix.input);
    let x = &x[..rows * input];
    let count: usize = layers.iter().map(|layer| layer.adapters.len()).sum();
    scratch.adapters.resize_with(scratch.adapters.len().max(count), AdapterScratch::default);
    let Scratch { x: x_lanes, adapters: buffers } = scratch;
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

    let mut buffers = buffers.iter();
    let products = layers.iter_mut().map(|layer| {
        let right = layer.matrix.source(Direction::Transposed);
        let mut terms = vec![Term { left: x_lanes.left(), right, first_row: 0, rows }];
        for adapter in &layer.adapters {
            let Some(buffer) = buffers.next() else { break };
            if let Some(kept) = layer.kept.as_deref_mut() {
                kept.copy_from_slice(&buffer.low[..kept.len()]);
            }
            let right = Source::new(Values::F32(adapter.b), adapter.rank, Direction::Transposed);
            let LowRank { first_row, rows, .. } = *adapter;
            terms.push(Term { left: buffer.low_lanes.left(), right, first_row, rows });
        }
        let n = layer.matrix.out;
        Product { c: layer.y, n, rows, terms, output: Output::Store }
    });
    multiply((path, threads), lane, &mut products.collect::<Vec<_>>());
}

/// One layer of a backward call. An adapter acts on all rows.
#[derive(Debug)]
pub struct Backward<'a> {
    /// The frozen weights.
    pub matrix: &'a Matrix,
    /// (rows, out).
    pub d_y: &'a [f32],
    /// The adapter and what belongs to it.
    pub adapter: Option<AdapterBackward<'a>>,
}

impl<'a> Backward<'a> {
    fn factors(&self) -> Option<LowRank<'a>> {
        self.adapter.as_ref().map(|adapter| adapter.factors)
    }
}

/// The adapter's side of a backward call.
#[derive(Debug)]
pub struct AdapterBackward<'a> {
    /// The factors.
    pub factors: LowRank<'a>,
    /// What the forward kept (rows, rank).
    pub kept: &'a [f32],
    /// Receives, by addition, the gradient of A.
    pub d_a: &'a mut [f32],
    /// Receives, by addition, the gradient of B.
    pub d_b: &'a mut [f32],
}

/// Adds the gradients of the factors, and stores in `d_x` (rows, in), where one is wanted, the input gradient that all layers
/// together give.
pub fn backward(
    context: (KernelPath, &Threads),
    scratch: &mut Scratch,
    rows: usize,
    x: &[f32],
    layers: &mut [Backward<'_>],
    d_x: Option<&mut [f32]>,
) {
    let Some(first) = layers.first() else { return };
    let (path, input) = (context.0, first.matrix.input);
    let lane = Lane::of(path, first.matrix.precision());
    let x = &x[..rows * input];
    scratch.adapters.resize_with(scratch.adapters.len().max(layers.len()), AdapterScratch::default);
    let Scratch { x: x_lanes, adapters: buffers } = scratch;
    if layers.iter().any(|layer| layer.adapter.is_some()) {
        x_lanes.put(context, lane, x, input);
    }
    for (layer, buffer) in layers.iter().zip(&mut *buffers) {
        let out = layer.matrix.out;
        buffer.d_y_lanes.put(context, lane, &layer.d_y[..rows * out], out);
    }
    inner_gradients(context, lane, rows, layers, buffers);
    for (layer, buffer) in layers.iter().zip(&mut *buffers) {
        let Some(AdapterBackward { factors, kept, .. }) = &layer.adapter else { continue };
        let LowRank { rank, scale, .. } = *factors;
        let low = &mut buffer.low[..rows * rank];
        self::scale(low, scale);
        buffer.low_lanes.put(context, lane, low, rank);
        buffer.turned_lanes.put_transposed(path, lane, low, (rank, 1.0));
        buffer.kept_lanes.put_transposed(path, lane, &kept[..rows * rank], (rank, 1.0));
        buffer.drop_input(context, lane, factors, input, x);
    }
    factor_gradients(context, lane, rows, x_lanes, layers, buffers);
    if let Some(d_x) = d_x {
        input_gradient(context, lane, (rows, input), layers, buffers, d_x);
    }
}

/// `low` (rows, rank) = `d_y` B of each adapter.
fn inner_gradients(
    context: (KernelPath, &Threads),
    lane: Lane,
    rows: usize,
    layers: &[Backward<'_>],
    buffers: &mut [AdapterScratch],
) {
    let products = layers.iter().zip(buffers).filter_map(|(layer, buffer)| {
        let LowRank { b, rank, .. } = layer.adapter.as_ref()?.factors;
        let AdapterScratch { low, d_y_lanes, .. } = buffer;
        let right = Source::new(Values::F32(b), rank, Direction::AsStored);
        let terms = vec![Term { left: d_y_lanes.left(), right, first_row: 0, rows }];
        let c = resized(low, rows * rank);
        Some(Product { c, n: rank, rows, terms, output: Output::Store })
    });
    multiply(context, lane, &mut products.collect::<Vec<_>>());
}

/// `d_a` += lowᵀ drop(x), and `d_b` += `d_yᵀ` kept, computed as its transpose.
fn factor_gradients(
    context: (KernelPath, &Threads),
    lane: Lane,
    rows: usize,
    x_lanes: &LeftBuffer,
    layers: &mut [Backward<'_>],
    buffers: &mut [AdapterScratch],
) {
    let mut products = Vec::new();
    for (layer, buffer) in layers.iter_mut().zip(&mut *buffers) {
        let (out, input) = (layer.matrix.out, layer.matrix.input);
        let Some(AdapterBackward { factors, d_a, .. }) = &mut layer.adapter else { continue };
        let rank = factors.rank;
        let AdapterScratch { dropped_lanes, turned_lanes, kept_lanes, d_y_lanes, d_b, .. } = buffer;
        let x_lanes = if factors.dropout.is_some() { &*dropped_lanes } else { x_lanes };
        for (left, right, c, n, output) in [
            (&*turned_lanes, x_lanes.right(lane, rows, input), &mut **d_a, input, Output::Add),
            (
                &*kept_lanes,
                d_y_lanes.right(lane, rows, out),
                resized(d_b, out * rank),
                out,
                Output::Store,
            ),
        ] {
            let terms = vec![Term { left: left.left(), right, first_row: 0, rows: rank }];
            products.push(Product { c, n, rows: rank, terms, output });
        }
    }
    multiply(context, lane, &mut products);
    for (layer, buffer) in layers.iter_mut().zip(buffers) {
        let out = layer.matrix.out;
        let Some(AdapterBackward { factors, d_b, .. }) = &mut layer.adapter else { continue };
        for (row, gradient) in d_b.chunks_exact_mut(factors.rank).enumerate() {
            for (column, gradient) in gradient.iter_mut().enumerate() {
                *gradient += buffer.d_b[column * out + row];
            }
        }
    }
}

/// `d_x` = Σ `d_y` W + mask ∘ (low A).
fn input_gradient(
    context: (KernelPath, &Threads),
    lane: Lane,
    (rows, input): (usize, usize),
    layers: &[Backward<'_>],
    buffers: &mut [AdapterScratch],
    d_x: &mut [f32],
) {
    let mut terms = Vec::new();
    for (layer, buffer) in layers.iter().zip(&*buffers) {
        let right = layer.matrix.source(Direction::AsStored);
        terms.push(Term { left: buffer.d_y_lanes.left(), right, first_row: 0, rows });
    }
    for (layer, buffer) in layers.iter().zip(&*buffers) {
        let Some(factors) = layer.factors().filter(|factors| factors.dropout.is_none()) else {
            continue;
        };
        let right = Source::new(Values::F32(factors.a), input, Direction::AsStored);
        terms.push(Term { left: buffer.low_lanes.left(), right, first_row: 0, rows });
    }
    let product = Product { c: d_x, n: input, rows, terms, output: Output::Store };
    multiply(context, lane, &mut [product]);
    for (layer, buffer) in layers.iter().zip(buffers) {
        let Some(factors) = layer.factors() else { continue };
        let Some(dropout) = factors.dropout else { continue };
        let right = Source::new(Values::F32(factors.a), input, Direction::AsStored);
        let terms = vec![Term { left: buffer.low_lanes.left(), right, first_row: 0, rows }];
        let raw = resized(&mut buffer.dropped, rows * input);
        let product = Product { c: raw, n: input, rows, terms, output: Output::Store };
        multiply(context, lane, &mut [product]);
        let raw = &mut buffer.dropped[..rows * input];
        apply_dropout(context.1, dropout, 0, input, raw);
        d_x.iter_mut().zip(raw).for_each(|(sum, value)| *sum += *value);
    }
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
        let dropped = resized(&mut self.dropped, x.len());
        dropped.copy_from_slice(x);
        apply_dropout(context.1, dropout, adapter.first_row, input, dropped);
        self.dropped_lanes.put(context, lane, dropped, input);
    }
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
