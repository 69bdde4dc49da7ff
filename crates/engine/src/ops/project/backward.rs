//! The backward of [`super::forward`].

use std::cell::RefCell;
use std::ops::Range;

use super::dropped::{Taken, take_from_gradients};
use super::{AdapterScratch, CHANGED_ROWS, Dropout, LowRank, Matrix, Scratch, dora, resized};
use crate::kernels::KernelPath;
use crate::kernels::gemm::{Output, Product, Term, multiply};
use crate::kernels::lanes::Lane;
use crate::kernels::source::{Direction, Source, Values};
use crate::kernels::threads::Threads;

/// Rows of the input gradient that pass through the masks at once.
const MASKED_ROWS: usize = 128;

thread_local! {
    /// What is about to pass through a mask.
    static MASKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
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

    /// The factors and the dropout that parts x.
    fn parted(&self) -> Option<(LowRank<'a>, Dropout<'a>)> {
        let factors = self.factors().filter(LowRank::is_parted)?;
        Some((factors, factors.dropout?))
    }
}

/// The adapter's side of a backward call.
#[derive(Debug)]
pub struct AdapterBackward<'a> {
    /// The factors.
    pub factors: LowRank<'a>,
    /// What the forward kept: (rows, rank), and with magnitudes then (rows, out).
    pub kept: &'a [f32],
    /// Receives, by addition, the gradient of A.
    pub d_a: &'a mut [f32],
    /// Receives, by addition, the gradient of B.
    pub d_b: &'a mut [f32],
    /// Receives, by addition, the gradient of the magnitudes, where there are some.
    pub d_magnitude: Option<&'a mut [f32]>,
}

/// Adds the gradients of the factors, and stores in `d_x` (rows, in), where one is wanted, the input gradient that all layers
/// together give.
pub fn backward(
    context: (KernelPath, &Threads),
    scratch: &mut Scratch,
    rows: usize,
    x: &[f32],
    layers: &mut [Backward<'_>],
    mut d_x: Option<&mut [f32]>,
) {
    let Some(first) = layers.first() else { return };
    let (lane, input) = (Lane::of(context.0, first.matrix.precision()), first.matrix.input);
    let x = &x[..rows * input];
    scratch.adapters.resize_with(scratch.adapters.len().max(layers.len()), AdapterScratch::default);
    let buffers = &mut scratch.adapters;
    for (layer, buffer) in layers.iter_mut().zip(&mut *buffers) {
        outer_gradients(context, lane, rows, layer, buffer);
    }
    inner_gradients(context, lane, rows, layers, buffers);
    for (layer, buffer) in layers.iter().zip(&mut *buffers) {
        let Some(adapter) = &layer.adapter else { continue };
        lay_out_inner(context, lane, rows, adapter, buffer);
        buffer.drop_input(context, &adapter.factors, (input, x));
    }
    factor_gradients(context, lane, (rows, x), layers, buffers);
    if let Some(d_x) = d_x.as_deref_mut() {
        input_gradient(context, lane, (rows, input), layers, buffers, d_x);
    }
    let taken = layers.iter_mut().zip(buffers).filter_map(|(layer, buffer)| {
        let AdapterBackward { factors, d_a, .. } = layer.adapter.as_mut()?;
        let (factors, dropout, d_a) = (*factors, factors.taken()?, &mut **d_a);
        let AdapterScratch { low, turned, taken: sums, .. } = buffer;
        Some(Taken { factors, dropout, low, turned, sums, d_a })
    });
    let mut taken: Vec<Taken<'_>> = taken.collect();
    if !taken.is_empty() {
        take_from_gradients(context, (rows, input, x), &mut taken, d_x);
    }
}

/// The gradients of W x, of the adapter's part and of W x', and that of the magnitudes.
fn outer_gradients(
    context: (KernelPath, &Threads),
    lane: Lane,
    rows: usize,
    layer: &mut Backward<'_>,
    buffer: &mut AdapterScratch,
) {
    let out = layer.matrix.out;
    let d_y = &layer.d_y[..rows * out];
    let AdapterScratch { gains, d_y_lanes, d_z_lanes, d_dropped_lanes, .. } = buffer;
    let adapter = layer.adapter.as_mut();
    let with = adapter.and_then(|adapter| Some((adapter.factors.magnitude?, adapter)));
    let Some((magnitude, adapter)) = with else {
        d_y_lanes.put(context, lane, d_y, out);
        return;
    };
    magnitude.gains(gains);
    let stretched = |_: usize, d_y: &[f32], out: &mut [f32]| {
        for ((out, d_y), gain) in out.iter_mut().zip(d_y).zip(&*gains) {
            *out = d_y * gain;
        }
    };
    if adapter.factors.is_parted() {
        d_y_lanes.put(context, lane, d_y, out);
        d_z_lanes.put_with(context, lane, CHANGED_ROWS, d_y, out, stretched);
        d_dropped_lanes.put_with(context, lane, CHANGED_ROWS, d_y, out, |_, d_y, out| {
            for ((out, d_y), gain) in out.iter_mut().zip(d_y).zip(&*gains) {
                *out = d_y * (gain - 1.0);
            }
        });
    } else {
        d_y_lanes.put_with(context, lane, CHANGED_ROWS, d_y, out, stretched);
    }
    let z = &adapter.kept[rows * adapter.factors.rank..][..rows * out];
    if let Some(d_m) = adapter.d_magnitude.as_deref_mut() {
        dora::magnitude_gradient(context.1, magnitude, (rows, d_y, z), d_m);
    }
}

/// `low` (rows, rank) = `d_z` B of each adapter.
fn inner_gradients(
    context: (KernelPath, &Threads),
    lane: Lane,
    rows: usize,
    layers: &[Backward<'_>],
    buffers: &mut [AdapterScratch],
) {
    let products = layers.iter().zip(buffers).filter_map(|(layer, buffer)| {
        let factors @ LowRank { b, rank, .. } = layer.adapter.as_ref()?.factors;
        let AdapterScratch { low, d_y_lanes, d_z_lanes, .. } = buffer;
        let d_z_lanes = if factors.is_parted() { d_z_lanes } else { d_y_lanes };
        let right = Source::new(Values::F32(b), rank, Direction::AsStored);
        let terms = vec![Term { left: d_z_lanes.left(), right, first_row: 0, rows }];
        let c = resized(low, rows * rank);
        Some(Product { c, n: rank, rows, terms, output: Output::Store })
    });
    multiply(context, lane, &mut products.collect::<Vec<_>>());
}

/// Scales `low`, and puts it and what the forward kept into lanes.
fn lay_out_inner(
    context: (KernelPath, &Threads),
    lane: Lane,
    rows: usize,
    AdapterBackward { factors, kept, .. }: &AdapterBackward<'_>,
    buffer: &mut AdapterScratch,
) {
    let length = rows * factors.rank;
    let low = &mut buffer.low[..length];
    super::scale(low, factors.gain());
    buffer.low_lanes.put(context, lane, low, factors.rank);
    buffer.turned_lanes.put_transposed(context.0, lane, low, factors.rank);
    buffer.kept_lanes.put_transposed(context.0, lane, &kept[..length], factors.rank);
}

/// `d_a` += lowᵀ x, with DoRA and dropout lowᵀ x', and `d_b` += `d_zᵀ` kept, computed as the transpose of `d_yᵀ` kept, which DoRA
/// stretches.
fn factor_gradients(
    context: (KernelPath, &Threads),
    lane: Lane,
    (rows, x): (usize, &[f32]),
    layers: &mut [Backward<'_>],
    buffers: &mut [AdapterScratch],
) {
    let mut products = Vec::new();
    for (layer, buffer) in layers.iter_mut().zip(&mut *buffers) {
        let (out, input) = (layer.matrix.out, layer.matrix.input);
        let Some(AdapterBackward { factors, d_a, .. }) = &mut layer.adapter else { continue };
        let AdapterScratch { dropped, turned_lanes, kept_lanes, d_b, .. } = buffer;
        let x = if factors.is_parted() { &dropped[..rows * input] } else { x };
        let d_b = resized(d_b, out * factors.rank);
        for (left, right, c, n, output) in [
            (turned_lanes, x, &mut **d_a, input, Output::Add),
            (kept_lanes, &layer.d_y[..rows * out], d_b, out, Output::Store),
        ] {
            let right = Source::new(Values::F32(right), n, Direction::AsStored);
            let terms = vec![Term { left: left.left(), right, first_row: 0, rows: factors.rank }];
            products.push(Product { c, n, rows: factors.rank, terms, output });
        }
    }
    multiply(context, lane, &mut products);
    for (layer, buffer) in layers.iter_mut().zip(buffers) {
        let out = layer.matrix.out;
        let Some(AdapterBackward { factors, d_b, .. }) = &mut layer.adapter else { continue };
        for (row, gradient) in d_b.chunks_exact_mut(factors.rank).enumerate() {
            let gain = factors.magnitude.map_or(1.0, |_| buffer.gains[row]);
            for (column, gradient) in gradient.iter_mut().enumerate() {
                *gradient += gain * buffer.d_b[column * out + row];
            }
        }
    }
}

/// `d_x` = Σ `d_y` W + low A, with DoRA and dropout Σ `d_y` W + mask ∘ (low A + (g − 1) ∘ `d_y` W).
pub(super) fn input_gradient(
    context: (KernelPath, &Threads),
    lane: Lane,
    (rows, input): (usize, usize),
    layers: &[Backward<'_>],
    buffers: &[AdapterScratch],
    d_x: &mut [f32],
) {
    let mut terms = Vec::new();
    for (layer, buffer) in layers.iter().zip(buffers) {
        let right = layer.matrix.source(Direction::AsStored);
        terms.push(Term { left: buffer.d_y_lanes.left(), right, first_row: 0, rows });
    }
    for (layer, buffer) in layers.iter().zip(buffers) {
        let Some(factors) = layer.factors().filter(|factors| !factors.is_parted()) else {
            continue;
        };
        let right = Source::new(Values::F32(factors.a), input, Direction::AsStored);
        terms.push(Term { left: buffer.low_lanes.left(), right, first_row: 0, rows });
    }
    let product = Product { c: &mut *d_x, n: input, rows, terms, output: Output::Store };
    multiply(context, lane, &mut [product]);
    if layers.iter().any(|layer| layer.parted().is_some()) {
        // What goes through a mask is computed for some rows at a time, so that it is still in the cache when it is added.
        context.1.for_rows(&mut d_x[..rows * input], input, MASKED_ROWS, |rows, d_x| {
            for (layer, buffer) in layers.iter().zip(buffers) {
                add_masked(context, lane, (rows.clone(), input), layer, buffer, d_x);
            }
        });
    }
}

/// Adds the part of the input gradient that goes through a layer's mask, if it has one, to some rows of `d_x`.
fn add_masked(
    context: (KernelPath, &Threads),
    lane: Lane,
    (rows, input): (Range<usize>, usize),
    layer: &Backward<'_>,
    buffer: &AdapterScratch,
    d_x: &mut [f32],
) {
    let Some((factors, dropout)) = layer.parted() else { return };
    let low = Source::new(Values::F32(factors.a), input, Direction::AsStored);
    let frozen = layer.matrix.source(Direction::AsStored);
    let operands = [(&buffer.low_lanes, low), (&buffer.d_dropped_lanes, frozen)];
    let terms = operands.map(|(lanes, right)| {
        let left = lanes.left().from_row(rows.start);
        Term { left, right, first_row: 0, rows: rows.len() }
    });
    let (terms, keep, mut places) = (terms.to_vec(), dropout.keep(), Vec::new());
    MASKED.with_borrow_mut(|masked| {
        let c = resized(masked, rows.len() * input);
        let product = Product { c, n: input, rows: rows.len(), terms, output: Output::Store };
        multiply(context, lane, &mut [product]);
        let parts = masked.chunks_exact_mut(input).zip(d_x.chunks_exact_mut(input));
        for (row, (masked, d_x)) in rows.zip(parts) {
            dropout.places(context.0, row, input, &mut places);
            for place in &places {
                masked[*place as usize] = 0.0;
            }
            d_x.iter_mut().zip(masked).for_each(|(d_x, masked)| *d_x += keep * *masked);
        }
    });
}
